import math

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.algorithms import AdamwSpec
from logclock.schedules import (
    DebiasedEma,
    HalfLifeRamp,
    InverseTime,
    MemoryCooldown,
    Schedule,
    log_time_ema,
    memory_ema,
)

TIMES = (1, 10_000, 1_000_000, 10_000_000, 100_000_000)
# t = 1e8 is where float32 has lost 1 - beta altogether. A few roundings of float64, each 1.1e-16.
TIGHT = 5e-16


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


def relative_error(value, exact):
    return float(abs(mpmath.mpf(value) / exact - 1))


@pytest.mark.parametrize(
    ("t", "expected"),
    [(1, 8 / 9), (8, 0.5), (24, 0.25), (72, 0.1), (792, 0.01), (7992, 0.001), (79_999_992, 1e-7)],
)
def test_log_time_ema_by_hand(t, expected):
    assert log_time_ema()(t) == expected


def test_log_time_ema_of_the_published_horizons():
    # adana.md 2.2, delta = 8
    assert f"{log_time_ema()(13_950):.1e}" == "5.7e-04"
    assert f"{log_time_ema()(202_680):.1e}" == "3.9e-05"


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize(("scale", "offset"), [(8.0, 8.0), (6.5, 6.5), (4.0, 1395.0), (4.0, 83_701.5), (0.3, 1.0)])
def test_inverse_time_is_accurate_at_any_age(t, scale, offset):
    exact = mpmath.mpf(scale) / (mpmath.mpf(offset) + t)

    assert relative_error(InverseTime(scale=scale, offset=offset)(t), exact) < TIGHT


def test_the_weights_of_a_log_time_average_are_those_of_a_power_of_time():
    # m_T = sum_t w_t g_t with w_t = ema(t) prod_{u > t} (1 - ema(u)). For delta = 1 every sample but the start at 0
    # weighs the same, 1 / (T + 1): the plain mean.
    ema = log_time_ema(1.0)
    weights = [ema(t) * math.prod(1 - ema(u) for u in range(t + 1, 51)) for t in range(1, 51)]

    assert weights == pytest.approx([1 / 51] * 50, rel=1e-13)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(delta=st.floats(1e-3, 1e6), t=st.floats(1, 1e8))
def test_a_log_time_weight_lies_between_0_and_1_and_falls(delta, t):
    ema = log_time_ema(delta)

    assert 0 < ema(t * 1.001) < ema(t) <= 1


def cooldown(**changes):
    return MemoryCooldown(**{"base": 0.01, "total_steps": 1000, "fraction": 0.2, "final": 0.01} | changes)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: InverseTime(scale=-1.0, offset=1.0), r"scale must be >= 0, got -1\.0"),
        (lambda: InverseTime(scale=1.0, offset=-2.0), r"offset must be >= 0, got -2\.0"),
        (lambda: InverseTime(scale=math.nan, offset=2.0), "scale must be >= 0, got nan"),
        (lambda: log_time_ema(0.0), r"delta must be > 0, got 0\.0\. The average remembers about t / delta updates\."),
        (lambda: DebiasedEma(ema=0.0), r"ema must lie in \(0, 1\], got 0\.0\. It is 1 - beta, not beta\."),
        (lambda: HalfLifeRamp(start=0.0, end=0.1, steps=1), r"start must lie in \(0, 1\), got 0\.0\. It is 1 - beta"),
        (lambda: HalfLifeRamp(start=0.1, end=1.0, steps=1), r"end must lie in \(0, 1\), got 1\.0\. It is 1 - beta"),
        (lambda: HalfLifeRamp(start=0.1, end=0.01, steps=0), r"steps must be > 0, got 0"),
        (lambda: memory_ema(0.5), r"memory must be finite and >= 1 update, got 0\.5\. beta = 1 - 1 / memory\."),
        (lambda: memory_ema(math.inf), r"memory must be finite and >= 1 update, got inf"),
        (lambda: cooldown(base=0.0), r"base must lie in \(0, 1\], got 0\.0\. It is 1 - beta, not beta\."),
        (lambda: cooldown(base=1.5), r"base must lie in \(0, 1\], got 1\.5"),
        (lambda: cooldown(total_steps=0), r"total_steps must be finite and >= 1, got 0"),
        (lambda: cooldown(fraction=0.0), r"fraction must lie in \(0, 1\], got 0\.0\. It is a share of T\."),
        (lambda: cooldown(fraction=1.1), r"fraction must lie in \(0, 1\], got 1\.1"),
        (lambda: cooldown(final=0.0), r"final must lie in \(0, 1\], got 0\.0\. It is a share of the memory\."),
        (lambda: cooldown(final=2.0), r"final must lie in \(0, 1\], got 2\.0"),
        (lambda: cooldown(shape="cosine"), r"shape must be 'geometric' or 'linear', got 'cosine'"),
    ],
)
def test_values_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def beta3(t, *, steps, beta_start, beta_end):
    """AdEMAMix's schedule as zoo.md 4.3 writes it, in 50 digits."""
    start, end = mpmath.log(beta_start), mpmath.log(beta_end)
    fraction = mpmath.mpf(t) / steps
    return min(mpmath.exp(start * end / ((1 - fraction) * end + fraction * start)), beta_end)


@pytest.mark.parametrize("t", [1, 2, 10, 5_000, 10_000, 99_999, 100_000, 100_001, 1_000_000, 100_000_000])
@pytest.mark.parametrize("steps", [100_000, 100_000_000])
@pytest.mark.parametrize("end", [1e-4, 1e-8])
def test_half_life_ramp_is_the_schedule_of_ademamix(t, steps, end):
    ramp = HalfLifeRamp(start=0.1, end=end, steps=steps)
    exact = 1 - beta3(t, steps=steps, beta_start=1 - mpmath.mpf(0.1), beta_end=1 - mpmath.mpf(end))

    assert relative_error(ramp(t), exact) < 2e-15


def test_half_life_ramp_by_hand():
    # beta 1/2 has half-life 1, beta 2^(-1/3) half-life 3; half way 2, beta 2^(-1/2).
    ramp = HalfLifeRamp(start=0.5, end=1 - 2 ** (-1 / 3), steps=10)

    assert ramp(0) == pytest.approx(0.5, rel=1e-15)
    assert ramp(5) == pytest.approx(1 - math.sqrt(0.5), rel=1e-14)
    assert ramp(10) == ramp(1e8) == 1 - 2 ** (-1 / 3)


def test_the_slow_average_of_the_study_is_log_time():
    # adana.md 1.8: with beta3_final = 1 - delta / T and both warm-ups over T, 1 - beta3(t) is near
    # delta / (t + 9.5 delta): the half-life starts at ln 2 / -ln 0.9 = 6.58, i.e. 9.49 time constants.
    delta, steps = 8.0, 100_000.0
    ramp = HalfLifeRamp(start=0.1, end=delta / steps, steps=steps)

    for t in (1_000, 10_000, 100_000):
        assert ramp(t) == pytest.approx(delta / (t + 9.5 * delta), rel=5e-3)  # 1 - exp(-x) is x (1 - x / 2 + ...)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    start=st.floats(1e-8, 0.999),
    end=st.floats(1e-8, 0.999),
    steps=st.floats(1, 1e8),
    fractions=st.tuples(st.floats(0, 1.2), st.floats(0, 1.2)),
)
def test_half_life_ramp_is_monotone_and_stays_between_its_ends(start, end, steps, fractions):
    ramp = HalfLifeRamp(start=start, end=end, steps=steps)
    first, second = (ramp(f * steps) for f in sorted(fractions))

    low, high = min(start, end), max(start, end)
    slack = 1 + 1e-13  # roundings: a half-life below 1 is a small difference of numbers near 1

    assert low / slack <= first <= high * slack
    assert first / slack <= second if end > start else second <= first * slack


@settings(max_examples=100, deadline=None, derandomize=True)
@given(start=st.floats(1e-8, 0.999), end=st.floats(1e-8, 0.999), steps=st.floats(1, 1e8))
def test_half_life_ramp_meets_its_end_without_a_jump(start, end, steps):
    ramp = HalfLifeRamp(start=start, end=end, steps=steps)

    # 1e-9 of the ramp moves the half-life by 1e-9 of the difference of its ends, and the weight by no more than that.
    ratio = math.log1p(-end) / math.log1p(-start)
    assert ramp(steps * (1 - 1e-9)) == pytest.approx(ramp(steps), rel=1e-9 * max(1.0, ratio) + 1e-12)


@pytest.mark.parametrize("ema", [0.5, 0.1, 1e-3, 1.0])
def test_an_average_with_debiased_weights_is_adams_corrected_average(ema):
    weights = DebiasedEma(ema=ema)
    samples = [math.sin(3.0 * t) + 2 for t in range(1, 200)]
    debiased = plain = 0.0
    for t, sample in enumerate(samples, start=1):
        debiased += weights(t) * (sample - debiased)
        plain = (1 - ema) * plain + ema * sample
        corrected = plain / (1 - (1 - ema) ** t)

        # 200 roundings of numbers near 2; 1 - (1 - ema)^t has lost three digits where ema is 1e-3
        assert debiased == pytest.approx(corrected, rel=2e-12)


def test_debiased_weights_by_hand():
    # e = 1/2: 1/2 / (1 - 1/2), 1/2 / (1 - 1/4), 1/2 / (1 - 1/8)
    ema = DebiasedEma(ema=0.5)

    assert [ema(t) for t in (1, 2, 3)] == pytest.approx([1, 2 / 3, 4 / 7], rel=1e-15)
    assert ema(1e6) == 0.5


@pytest.mark.parametrize(("memory", "ema"), [(1, 1.0), (10, 0.1), (20, 0.05), (1280, 0.00078125)])
def test_a_memory_in_updates_is_one_over_the_newest_weight(memory, ema):
    assert memory_ema(memory) == ema


def test_the_weights_of_an_average_fall_by_e_over_its_memory():
    beta = 1 - memory_ema(1280)

    assert beta**1280 == pytest.approx(math.exp(-1), rel=1e-3)  # (1 - 1/M)^M is 1/e (1 - 1/(2 M))
    assert beta ** (1280 * math.log(2)) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("t", "geometric", "linear"),
    [
        # A memory of 100 updates until t = 800 of 1000; then a share 0.01^x of it or 1 - 0.99 x, x = (t - 800) / 200.
        (1, 100, 100),
        (800, 100, 100),
        (850, 31.622776601683793, 75.25),
        (900, 10, 50.5),
        (950, 3.1622776601683795, 25.75),
        (1000, 1, 1),
        (5000, 1, 1),
    ],
)
def test_a_cooldown_shrinks_the_memory_by_hand(t, geometric, linear):
    assert 1 / cooldown()(t) == pytest.approx(geometric, rel=1e-13)
    assert 1 / cooldown(shape="linear")(t) == pytest.approx(linear, rel=1e-13)


def test_a_cooldown_multiplies_whatever_memory_there_is():
    # Log-time with delta = 8 remembers (8 + t) / 8: 101 updates at t = 800, 113.5 at 900, 126 at 1000.
    log_time = cooldown(base=log_time_ema(8.0), final=0.25)

    assert [1 / log_time(t) for t in (800, 900, 1000)] == pytest.approx([101, 113.5 / 2, 126 / 4], rel=1e-13)
    assert 1 / log_time(2000) == pytest.approx(251 / 4, rel=1e-13)


def test_a_memory_does_not_shrink_below_the_newest_sample():
    assert cooldown(base=0.5)(1000) == 1.0
    assert cooldown(base=0.5)(900) == 1.0  # a tenth of two updates


def test_a_cooldown_over_all_of_training_begins_at_once():
    assert cooldown(fraction=1.0, final=0.5)(500) == pytest.approx(0.01 * math.sqrt(2), rel=1e-14)


def test_a_cooldown_that_leaves_everything_changes_nothing():
    ema = log_time_ema(8.0)

    assert [cooldown(base=ema, final=1.0)(t) for t in (1, 850, 1000)] == [ema(t) for t in (1, 850, 1000)]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    base=st.floats(1e-8, 1),
    total_steps=st.floats(1, 1e8),
    fraction=st.floats(1e-3, 1),
    final=st.floats(1e-4, 1),
    shape=st.sampled_from(["geometric", "linear"]),
    moments=st.tuples(st.floats(0, 1.5), st.floats(0, 1.5)),
)
def test_a_cooled_weight_never_falls_and_stays_between_its_ends(base, total_steps, fraction, final, shape, moments):
    schedule = MemoryCooldown(base=base, total_steps=total_steps, fraction=fraction, final=final, shape=shape)
    first, second = (schedule(x * total_steps) for x in sorted(moments))

    # 1e-4 to a power x carries the rounding of x times ln(1e-4), some tens of units in the last place
    assert base <= first <= second * (1 + 5e-14)
    assert second <= min(base / final, 1) * (1 + 5e-14)


@pytest.mark.parametrize("base", [0.01, log_time_ema(8.0)])
def test_a_cooldown_is_plain_data(base):
    schedule = cooldown(base=base, shape="linear")

    assert Schedule.from_dict(schedule.to_dict()) == schedule
    assert schedule.to_dict()["kind"] == "memory_cooldown"


def test_the_bias_correction_of_adamw_refuses_a_cooldown():
    with pytest.raises(ValueError, match="set bias_correction=False for scheduled averages"):
        AdamwSpec(ema1=cooldown())

    assert AdamwSpec(ema1=cooldown(), bias_correction=False).scalars(900)["ema1"] == pytest.approx(0.1, rel=1e-14)


def test_an_average_whose_first_weight_is_1_has_no_bias_whatever_follows():
    # The constant samples 3, 3, ... through weights 1, 1/2, 1/3, ... (delta near 0: the plain mean), then a cooldown.
    weights = cooldown(base=InverseTime(scale=1.0, offset=0.0), total_steps=20, fraction=0.5, final=0.1)

    average = 0.0
    for t in range(1, 21):
        average += weights(t) * (3.0 - average)
        assert average == pytest.approx(3.0, rel=1e-15)
    assert weights(20) == pytest.approx(0.5)  # a twentieth, ten times
