// What every emitted program begins with: formats, the vocabulary, random bits, and how threads share the work.
// No header is included, which keeps a build at a fraction of a second. F is the type of the arithmetic.

typedef __UINT16_TYPE__ u16;
typedef __UINT32_TYPE__ u32;
typedef __UINT64_TYPE__ u64;
typedef __INT32_TYPE__ i32;
typedef __INT64_TYPE__ i64;

#define INLINE static inline __attribute__((always_inline))

// One call: the tensors of one group, cut into pieces. Laid out as `_Work` in fused.py.
struct Work {
  void *const *operands;       // [operand][tensor]
  const i64 *pieces;           // [piece][tensor, start, stop]
  const double *scalars;       // [name], those that all tensors share
  double *numbers;             // [tensor][name], those that differ
  double *sums;                // [piece][reduction]
  const i64 *const *elements;  // [tensor] numbers of its elements in the whole tensor; null: their positions
  const u64 *rounding;         // seed, step, then the number of each parameter
  i64 *next;                   // [thread][8] pieces that the thread's share has given away, on cache lines of their own
  int (*thread)(void);         // number of the calling thread, or null
  i64 num_tensors, num_pieces, num_threads;
};

// Each thread begins with its own share, the same at every step, and then helps the others: which thread runs a piece
// changes nothing.
template <void (*run)(const Work &, i64)> INLINE void share(Work &work) {
  const i64 threads = work.num_threads;
  const i64 first = work.thread ? work.thread() : 0;
  for (i64 k = 0; k < threads; k++) {
    const i64 own = (first + k) % threads;
    const i64 begin = work.num_pieces * own / threads, end = work.num_pieces * (own + 1) / threads;
    for (;;) {
      const i64 piece = begin + __atomic_fetch_add(work.next + 8 * own, 1, __ATOMIC_RELAXED);
      if (piece >= end) break;
      run(work, piece);
    }
  }
}

// Adds the sums over pieces in their order, whatever the threads did, to numbers[tensor][column[k]], which are 0 before.
INLINE void add_up(Work &work, i64 num_sums, i64 num_numbers, const i64 *column) {
  for (i64 own = 0; own < work.num_threads; own++) work.next[8 * own] = 0;
  for (i64 piece = 0; piece < work.num_pieces; piece++)
    for (i64 k = 0; k < num_sums; k++)
      work.numbers[work.pieces[3 * piece] * num_numbers + column[k]] += work.sums[piece * num_sums + k];
}

// Loops run in blocks, each of which asks for memory that a later one needs: more operands stream by than a processor
// follows by itself.
enum : i64 { BLOCK = 128, AHEAD = 256 };
template <class T> INLINE void prefetch(const T *here) {
  const char *there = (const char *)(here + AHEAD);  // beyond the end it is ignored
  for (i64 k = 0; k < BLOCK * i64(sizeof(T)); k += 64) __builtin_prefetch(there + k);
}

template <class To, class From> INLINE To bits_as(From x) {
  static_assert(sizeof(To) == sizeof(From), "");
  To y;
  __builtin_memcpy(&y, &x, sizeof y);
  return y;
}

// ---- formats: to the nearest, ties to even, NaN stays NaN, as torch converts

struct bfloat16 { u16 bits; };
struct float16 { u16 bits; };

INLINE float loaded(float x) { return x; }
INLINE double loaded(double x) { return x; }
INLINE float loaded(bfloat16 x) { return bits_as<float>(u32(x.bits) << 16); }
INLINE float loaded(float16 x) {
  const u32 magnitude = x.bits & 0x7fffu, sign = u32(x.bits & 0x8000u) << 16;
  const u32 normal = (magnitude << 13) + (112u << 23);
  const u32 subnormal = bits_as<u32>(float(i32(magnitude)) * 0x1p-24f);
  const u32 not_finite = (magnitude << 13) | 0x7f800000u;
  return bits_as<float>((magnitude >= 0x7c00u ? not_finite : magnitude < 0x400u ? subnormal : normal) | sign);
}

INLINE void store(float &y, double x) { y = float(x); }
INLINE void store(float &y, float x) { y = x; }
INLINE void store(double &y, double x) { y = x; }
INLINE void store(bfloat16 &y, float x) {
  const u32 b = bits_as<u32>(x);
  y.bits = u16(x != x ? 0x7fc0u | (b >> 16) : (b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
}
INLINE void store(bfloat16 &y, double x) { store(y, float(x)); }
INLINE void store(float16 &y, float x) {
  const u32 b = bits_as<u32>(x), sign = (b >> 16) & 0x8000u, magnitude = b & 0x7fffffffu;
  const u32 normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
  const u32 subnormal = bits_as<u32>(bits_as<float>(magnitude) + 0.5f) - bits_as<u32>(0.5f);
  const u32 large = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  y.bits = u16((magnitude >= 0x47800000u ? large : magnitude < 0x38800000u ? subnormal : normal) | sign);
}
INLINE void store(float16 &y, double x) { store(y, float(x)); }

// ---- stochastic rounding, with the bits of storage.py

INLINE u64 mixed(u64 state, u64 number) {
  state += number + 0x9E3779B97F4A7C15u;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
  return state ^ (state >> 31);
}
INLINE u64 key_of(const Work &work, i64 tensor, const char *name) {
  u64 key = mixed(mixed(mixed(0, work.rounding[0]), work.rounding[1]), work.rounding[2 + tensor]);
  for (; *name; name++) key = mixed(key, u64((unsigned char)*name));
  return key;
}
INLINE u32 hashed(u32 x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}
INLINE u32 random_bits(u64 element, u64 key) {
  const u32 x = hashed(u32(element) ^ u32(key)) ^ u32(key >> 32) ^ u32(element >> 32);
  return hashed(x) & 0xffffu;
}
template <class To, class F> INLINE void store_stochastically(To &y, F x, u32 random) {
  const u32 b = bits_as<u32>(float(x));
  const bool is_finite = (b & 0x7f800000u) != 0x7f800000u;
  store(y, bits_as<float>(is_finite ? (b + random) & 0xffff0000u : b));
}

// ---- the vocabulary: each as torch computes it, so that a result is that of `loop` or its neighbor

#if defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__ARM_FEATURE_FMA)
INLINE float multiply_add(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
INLINE double multiply_add(double x, double y, double z) { return __builtin_fma(x, y, z); }
#else
template <class F> INLINE F multiply_add(F x, F y, F z) { return x * y + z; }
#endif

INLINE float root(float x) { return __builtin_sqrtf(x); }
INLINE double root(double x) { return __builtin_sqrt(x); }
INLINE float magnitude(float x) { return __builtin_fabsf(x); }
INLINE double magnitude(double x) { return __builtin_fabs(x); }
template <class F> INLINE F sign(F x) { return x > F(0) ? F(1) : x < F(0) ? F(-1) : F(0); }
template <class F> INLINE F larger(F x, F y) { return ((x > y) | (x != x)) ? x : y; }   // never std::max: a call
template <class F> INLINE F smaller(F x, F y) { return ((x < y) | (x != x)) ? x : y; }  // keeps a loop scalar
template <class F> INLINE F at_least(F x, F low) { return ((x < low) | (low != low)) ? low : x; }
template <class F> INLINE F at_most(F x, F high) { return ((x > high) | (high != high)) ? high : x; }
template <class F> INLINE F number(bool holds) { return holds ? F(1) : F(0); }
template <class F> INLINE F lerp(F x, F y, F weight) {
  const bool is_small = magnitude(weight) < F(0.5);
  return multiply_add(is_small ? weight : weight - F(1), y - x, is_small ? x : y);
}

INLINE double exponential(double x) { return __builtin_exp(x); }
INLINE double logarithm(double x) { return __builtin_log(x); }

// exp(x) = 2^k e^r with abs(r) <= ln(2) / 2. 2^k comes in two factors, so that neither overflows and the last product
// rounds to a subnormal number once.
INLINE float exponential(float x) {
  float bounded = x > 89.0f ? 89.0f : x;  // NaN passes both
  bounded = bounded < -104.0f ? -104.0f : bounded;
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const float shifted = multiply_add(bounded, 1.44269504f, shift), k = shifted - shift;
  const float r = multiply_add(k, -1.42860677e-06f, multiply_add(k, -0.693145752f, bounded)), z = r * r;
  const float p01 = multiply_add(r, 0x1.555492p-3f, 0x1.fffffcp-2f), p23 = multiply_add(r, 0x1.123982p-7f, 0x1.5558aep-5f);
  const float p = multiply_add(z, multiply_add(z, multiply_add(z, 0x1.6a4eeep-10f, p23), p01), r);
  const i32 exponent = i32(bits_as<u32>(shifted) - bits_as<u32>(shift)), half = exponent >> 1;
  const float low = bits_as<float>(u32(half + 127) << 23), high = bits_as<float>(u32(exponent - half + 127) << 23);
  return multiply_add(p, low, low) * high;
}

// ln(x) = e ln(2) + ln(m) for normal x, with m in [sqrt(1/2), sqrt(2)). The polynomial is summed in pairs: in a rule
// the wait for a chain of additions costs more than a few of them.
INLINE float logarithm_of_normal(float x, float e) {
  const u32 b = bits_as<u32>(x);
  const i32 exponent = i32(b - 0x3f3504f3u) >> 23;
  const float f = bits_as<float>(b - (u32(exponent) << 23)) - 1.0f;
  e += float(exponent);
  const float z = f * f, z2 = z * z;
  const float p01 = multiply_add(f, -2.4999993993e-1f, 3.3333331174e-1f);
  const float p23 = multiply_add(f, -1.6668057665e-1f, 2.0000714765e-1f);
  const float p45 = multiply_add(f, -1.2420140846e-1f, 1.4249322787e-1f);
  const float p67 = multiply_add(f, -1.1514610310e-1f, 1.1676998740e-1f);
  const float p03 = multiply_add(z, p23, p01), p47 = multiply_add(z, p67, p45);
  const float p = multiply_add(z2, multiply_add(z2, 7.0376836292e-2f, p47), p03);
  const float rest = multiply_add(-0.5f, z, multiply_add(e, -2.12194440e-4f, p * (f * z)));
  return multiply_add(e, 0.693359375f, f + rest);
}
INLINE float logarithm(float x) {
  const bool is_subnormal = x < 0x1p-126f;
  const float normal = logarithm_of_normal(x * (is_subnormal ? 0x1p23f : 1.0f), is_subnormal ? -23.0f : 0.0f);
  const float finite = x > 0.0f ? normal : x == 0.0f ? -__builtin_inff() : __builtin_nanf("");
  return x < __builtin_inff() ? finite : x;  // infinity and NaN as they are
}

// For x that is known to be normal and positive, infinite or NaN.
INLINE float logarithm_of_positive(float x) {
  return x < __builtin_inff() ? logarithm_of_normal(x, 0.0f) : x;
}
INLINE double logarithm_of_positive(double x) { return __builtin_log(x); }
