# What every emitted Triton module begins with, as prelude.h for C++: formats, the vocabulary, random bits, tables. The
# emitted kernels follow in the same file, because triton.jit reads the source of what it compiles from disk.
#
# Nothing is contracted but what says `multiply_add` (kernels are launched with enable_fp_fusion=False), and quotients
# and roots are those of IEEE 754, so that a result is that of `loop` or its neighbor.

import triton
import triton.language as tl

# ---- formats: to the nearest, ties to even, NaN stays NaN, as torch converts. Formats of 16 bits are moved as their
# bits: bfloat16 is then the same on every card and in the interpreter.


@triton.jit
def as_float32(x):
    return x.to(tl.float32, bitcast=True)


@triton.jit
def as_bits(x):
    return x.to(tl.uint32, bitcast=True)


@triton.jit
def from_bfloat16(bits):
    return as_float32(bits.to(tl.uint32) << 16)


@triton.jit
def to_bfloat16(x):
    b = as_bits(x.to(tl.float32))
    nearest = tl.add(b, 0x7FFF + ((b >> 16) & 1), sanitize_overflow=False) >> 16
    return tl.where(x != x, 0x7FC0 | (b >> 16), nearest).to(tl.uint16)


@triton.jit
def to_float16(x):
    return x.to(tl.float32).to(tl.float16)


# ---- stochastic rounding, with the bits of storage.py. In 64 bits, where a product of two 32-bit numbers has room.


@triton.jit
def mixed(state, number):
    state = state + number + 0x9E3779B97F4A7C15
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB
    return state ^ (state >> 31)


@triton.jit
def hashed(x):
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return x ^ (x >> 16)


@triton.jit
def random_bits(element, key):
    element = element.to(tl.uint64)
    x = hashed((element ^ key) & 0xFFFFFFFF) ^ (key >> 32) ^ (element >> 32)
    return (hashed(x) & 0xFFFF).to(tl.uint32)


@triton.jit
def to_bfloat16_stochastically(x, element, key):
    b = as_bits(x.to(tl.float32))
    is_finite = (b & 0x7F800000) != 0x7F800000
    rounded = tl.add(b, random_bits(element, key), sanitize_overflow=False) & 0xFFFF0000
    return to_bfloat16(as_float32(tl.where(is_finite, rounded, b)))


# ---- the vocabulary: each as torch computes it


@triton.jit
def multiply_add(x, y, z):
    return tl.fma(x, y, z)


@triton.jit
def quotient(x, y):
    if x.dtype == tl.float32:
        return tl.div_rn(x, y)
    else:
        return x / y


@triton.jit
def root(x):
    if x.dtype == tl.float32:
        return tl.sqrt_rn(x)
    else:
        return tl.sqrt(x)


@triton.jit
def negative(x):
    return x * -1.0  # -x is 0 - x for Triton, which gives the wrong zero


@triton.jit
def number(holds, like):
    return tl.where(holds, 1.0, 0.0).to(like.dtype)


@triton.jit
def magnitude(x):
    return tl.abs(x)


@triton.jit
def sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0)).to(x.dtype)


@triton.jit
def larger(x, y):
    return tl.where((x > y) | (x != x), x, y)


@triton.jit
def smaller(x, y):
    return tl.where((x < y) | (x != x), x, y)


@triton.jit
def at_least(x, low):
    return tl.where((x < low) | (low != low), low, x)


@triton.jit
def at_most(x, high):
    return tl.where((x > high) | (high != high), high, x)


@triton.jit
def lerp(x, y, weight):
    is_small = tl.abs(weight) < 0.5
    return multiply_add(tl.where(is_small, weight, weight - 1.0), y - x, tl.where(is_small, x, y))


# A function for both types says `else`: what follows a return is compiled too.
#
# exp(x) = 2^k e^r with abs(r) <= ln(2) / 2, and ln(x) = e ln(2) + ln(m): the polynomials of prelude.h, because Triton's
# own exp of a float32 loses a bit more with every doubling of x.


@triton.jit
def exponential_of_float32(x):
    bounded = tl.where(x > 89.0, 89.0, x)  # NaN passes both
    bounded = tl.where(bounded < -104.0, -104.0, bounded)
    scaled = tl.where(x != x, 0.0, bounded * 1.44269504)
    k = tl.floor(scaled + 0.5)
    r = multiply_add(k, -1.42860677e-06, multiply_add(k, -0.693145752, bounded))
    z = r * r
    p01 = multiply_add(r, 0.1666652113199234, 0.4999999403953552)
    p23 = multiply_add(r, 0.008368671871721745, 0.04166826233267784)
    p = multiply_add(z, multiply_add(z, multiply_add(z, 0.0013820965541526675, p23), p01), r)
    exponent = k.to(tl.int32)
    half = exponent >> 1
    low = as_float32((half + 127) << 23)
    high = as_float32((exponent - half + 127) << 23)
    return multiply_add(p, low, low) * high


@triton.jit
def exponential(x):
    if x.dtype == tl.float64:
        return tl.exp(x)
    else:
        return exponential_of_float32(x)


@triton.jit
def logarithm_of_normal(x, e):
    b = as_bits(x)
    exponent = (b.to(tl.int32, bitcast=True) - 0x3F3504F3) >> 23
    f = as_float32((b.to(tl.int32, bitcast=True) - (exponent << 23)).to(tl.uint32, bitcast=True)) - 1.0
    e = e + exponent.to(tl.float32)
    z = f * f
    z2 = z * z
    p01 = multiply_add(f, -2.4999993993e-1, 3.3333331174e-1)
    p23 = multiply_add(f, -1.6668057665e-1, 2.0000714765e-1)
    p45 = multiply_add(f, -1.2420140846e-1, 1.4249322787e-1)
    p67 = multiply_add(f, -1.1514610310e-1, 1.1676998740e-1)
    p03 = multiply_add(z, p23, p01)
    p47 = multiply_add(z, p67, p45)
    p = multiply_add(z2, multiply_add(z2, 7.0376836292e-2, p47), p03)
    rest = multiply_add(-0.5, z, multiply_add(e, -2.12194440e-4, p * (f * z)))
    return multiply_add(e, 0.693359375, f + rest)


@triton.jit
def logarithm_of_positive(x):
    if x.dtype == tl.float64:
        return tl.log(x)
    else:
        is_finite = x < float("inf")
        return tl.where(is_finite, logarithm_of_normal(tl.where(is_finite, x, 1.0), 0.0), x)


@triton.jit
def logarithm_of_float32(x):
    is_usual = (x > 0.0) & (x < float("inf"))
    is_subnormal = x < 1.1754943508222875e-38
    scaled = tl.where(is_usual, x * tl.where(is_subnormal, 8388608.0, 1.0), 1.0)
    finite = logarithm_of_normal(scaled, tl.where(is_subnormal, -23.0, 0.0))
    special = tl.where(x == 0.0, float("-inf"), tl.where(x < 0.0, float("nan"), x))  # infinity and NaN as they are
    return tl.where(is_usual, finite, special)


@triton.jit
def logarithm(x):
    if x.dtype == tl.float64:
        return tl.log(x)
    else:
        return logarithm_of_float32(x)


# ---- tables


@triton.jit
def row_of(table, clock, num_rows, NUM_COLUMNS: tl.constexpr):
    """Return where the scalars of a tensor's next update are in a table of consecutive ones, and whether they are."""
    t = tl.load(clock).to(tl.float64) + 1.0
    row = (t - tl.load(table)).to(tl.int64)
    is_inside = (row >= 0) & (row < num_rows)
    found = table + tl.where(is_inside, row, 0) * NUM_COLUMNS
    return found, is_inside & (tl.load(found) == t)


@triton.jit
def add_up(
    sums, firsts, totals, num_tensors, column, num_columns, STRIDE: tl.constexpr, at: tl.constexpr, BLOCK: tl.constexpr
):
    """Add the sums over a tensor's pieces, always in the same order, into a column of the totals."""
    tensor = tl.program_id(0)
    first = tl.load(firsts + tensor)
    last = tl.load(firsts + tensor + 1)
    total = tl.zeros([BLOCK], tl.float64)
    for start in range(first, last, BLOCK):
        piece = start + tl.arange(0, BLOCK)
        total += tl.load(sums + piece.to(tl.int64) * STRIDE + at, mask=piece < last, other=0.0)
    tl.store(totals + tensor * num_columns + column, tl.sum(total, 0))
