import math

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.schedules import LinearRamp, PowerGrowth


@pytest.mark.parametrize(
    ("kappa", "t", "expected"),
    [(0.5, 8, 3.0), (0.5, 99, 10.0), (0.75, 15, 2.0), (1.0, 1e8, 1.0), (0.0, 9, 10.0), (0.0, 1, 2.0)],
)
def test_power_growth_by_hand(kappa, t, expected):
    assert PowerGrowth(kappa=kappa)(t) == expected


@pytest.mark.parametrize(("t", "expected"), [(10_000, 3.98), (13_950, 4.19), (202_680, 6.25), (837_015, 7.73)])
def test_the_published_gains_at_kappa_085(t, expected):
    # adana.md 1.2 and 2.4, where 4.185 is rounded up to 4.19
    assert PowerGrowth(kappa=0.85)(t) == pytest.approx(expected, abs=0.0051)


@pytest.mark.parametrize("t", [1, 10_000, 1_000_000, 10_000_000, 100_000_000])
@pytest.mark.parametrize("kappa", [0.0, 0.3, 0.75, 0.85, 0.9, 1.0])
def test_power_growth_is_accurate_at_any_age(kappa, t):
    with mpmath.workdps(50):
        exact = mpmath.power(1 + mpmath.mpf(t), 1 - mpmath.mpf(kappa))
        # The rounding of 1 - kappa, at most 2^-54, counts ln(1e8) = 18 times.
        assert abs(PowerGrowth(kappa=kappa)(t) / exact - 1) < 2e-15


@settings(max_examples=200, deadline=None, derandomize=True)
@given(kappa=st.floats(0, 1), t=st.floats(1, 1e8))
def test_power_growth_is_at_least_1_and_never_falls(kappa, t):
    gain = PowerGrowth(kappa=kappa)

    assert 1 <= gain(t) <= gain(2 * t) * (1 + 1e-15)
    assert gain(t) <= (1 + t) * (1 + 1e-15)


@pytest.mark.parametrize("kappa", [-0.01, 1.5, math.nan])
def test_kappa_out_of_range_is_refused(kappa):
    with pytest.raises(ValueError, match=rf"kappa must lie in \[0, 1\], got {kappa}\. kappa = 1 means no growth"):
        PowerGrowth(kappa=kappa)


@pytest.mark.parametrize(
    ("t", "expected"), [(0, 1.0), (1, 1.14), (25, 4.5), (49, 7.86), (50, 8.0), (51, 8.0), (1e8, 8.0)]
)
def test_linear_ramp_by_hand(t, expected):
    assert LinearRamp(start=1.0, end=8.0, steps=50)(t) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("t", [1, 10_000, 1_000_000, 10_000_000, 99_999_999, 100_000_000, 1e9])
def test_linear_ramp_from_0_is_the_gain_of_ademamix(t):
    # zoo.md 4.3: alpha_t = min(1, t / T) alpha
    with mpmath.workdps(50):
        exact = min(mpmath.mpf(1), mpmath.mpf(t) / 100_000_000) * 8
        assert abs(LinearRamp(start=0.0, end=8.0, steps=100_000_000)(t) / exact - 1) < 5e-16


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    start=st.floats(-100, 100),
    end=st.floats(-100, 100),
    steps=st.floats(1, 1e8),
    fractions=st.tuples(st.floats(0, 1.2), st.floats(0, 1.2)),
)
def test_linear_ramp_is_monotone_and_stays_between_its_ends(start, end, steps, fractions):
    ramp = LinearRamp(start=start, end=end, steps=steps)
    first, second = (ramp(f * steps) for f in sorted(fractions))

    slack = 1e-13  # roundings of numbers up to 200
    assert min(start, end) - slack <= first <= max(start, end) + slack
    assert (second - first) * (end - start) >= -slack


@settings(max_examples=50, deadline=None, derandomize=True)
@given(start=st.floats(-100, 100), end=st.floats(-100, 100), steps=st.floats(1, 1e8))
def test_linear_ramp_meets_its_end_without_a_jump(start, end, steps):
    ramp = LinearRamp(start=start, end=end, steps=steps)

    assert ramp(steps * (1 - 1e-9)) == pytest.approx(ramp(steps), abs=201 * 1e-9)


@pytest.mark.parametrize("steps", [0, -1])
def test_a_ramp_without_length_is_refused(steps):
    with pytest.raises(ValueError, match=f"steps must be > 0, got {steps}"):
        LinearRamp(start=0.0, end=1.0, steps=steps)
