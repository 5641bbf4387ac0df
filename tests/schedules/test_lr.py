import math

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.schedules import Cosine, Eden, InverseSqrt, Linear, PowerLaw, Warmup, WarmupStableDecay

HALF_SQRT_2 = math.sqrt(0.5)


def wsd(**settings):
    return WarmupStableDecay(total_steps=100, warmup_steps=20, **settings)


# Values by hand; k = t - 1 is the position on the curve, so t = 1 is k = 0.
@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        (Warmup(), {1: 1.0, 1e8: 1.0}),
        (Warmup(warmup_steps=10), {1: 0.0, 2: 0.1, 6: 0.5, 10: 0.9, 11: 1.0, 12: 1.0, 1e8: 1.0}),
        (Warmup(warmup_steps=10, warmup_start=0.1), {1: 0.1, 6: 0.55, 10: 0.91, 11: 1.0}),
        (
            Warmup(warmup_steps=4, warmup_shape="cosine"),
            {1: 0.0, 2: (1 - HALF_SQRT_2) / 2, 3: 0.5, 4: (1 + HALF_SQRT_2) / 2, 5: 1.0},
        ),
        (Warmup(warmup_steps=4, warmup_start=0.2, warmup_shape="cosine"), {1: 0.2, 3: 0.6, 5: 1.0}),
        (Cosine(total_steps=90), {1: 1.0, 31: 0.75, 46: 0.5, 61: 0.25, 91: 0.0, 92: 0.0, 1e8: 0.0}),
        (
            Cosine(total_steps=100, warmup_steps=20, final=0.1),
            {1: 0.0, 20: 0.95, 21: 1.0, 61: 0.55, 81: 0.55 - 0.45 * HALF_SQRT_2, 101: 0.1, 102: 0.1, 1e8: 0.1},
        ),
        (Linear(total_steps=80), {1: 1.0, 2: 0.9875, 21: 0.75, 80: 0.0125, 81: 0.0, 82: 0.0}),
        (
            Linear(total_steps=100, warmup_steps=20, final=0.2),
            {1: 0.0, 20: 0.95, 21: 1.0, 61: 0.6, 100: 0.21, 101: 0.2, 1e8: 0.2},
        ),
        (wsd(), {1: 0.0, 21: 1.0, 80: 1.0, 81: 1.0, 82: 0.95, 91: 0.5, 100: 0.05, 101: 0.0, 102: 0.0}),
        (wsd(decay_steps=40, final=0.1), {60: 1.0, 61: 1.0, 81: 0.55, 101: 0.1, 1e8: 0.1}),
        (wsd(decay_steps=40, decay_shape="cosine"), {61: 1.0, 71: (1 + HALF_SQRT_2) / 2, 81: 0.5, 101: 0.0}),
        (wsd(decay_steps=40, decay_shape="sqrt"), {61: 1.0, 71: 0.5, 81: 1 - HALF_SQRT_2, 101: 0.0}),
        (wsd(decay_steps=80), {21: 1.0, 61: 0.5, 101: 0.0}),
        # The default decay, T / 5 = 20 updates, does not fit behind a warm-up of 90: it takes the 10 that are left.
        (WarmupStableDecay(total_steps=100, warmup_steps=90), {91: 1.0, 96: 0.5, 101: 0.0}),
        (InverseSqrt(warmup_steps=100), {1: 0.0, 51: 0.5, 101: 1.0, 401: 0.5, 10_001: 0.1}),
        (PowerLaw(time_scale=10), {1: 1.0, 31: 0.5, 151: 0.25}),
        (PowerLaw(time_scale=10, exponent=1, warmup_steps=5), {1: 0.0, 6: 1.0, 16: 0.5, 96: 0.1}),
        (PowerLaw(time_scale=10, exponent=0), {1: 1.0, 1e8: 1.0}),
        # (k^2 + K^2) / K^2 is 16 at k = sqrt(15) K; by the warm-up's end the decay has begun
        (Eden(warmup_steps=0), {1: 1.0, 5001: 2**-0.25, 1 + 5000 * math.sqrt(15): 0.5}),
        (Eden(time_scale=500), {1: 0.5, 251: 0.75 * 1.25**-0.25, 501: 2**-0.25}),
        (
            Eden(time_scale=1e30, steps_per_epoch=10, epoch_scale=2, warmup_steps=0),
            {10: 1.0, 11: 1.25**-0.25, 30: 2**-0.25},
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else None,
)
def test_values_by_hand(schedule, points):
    assert {t: schedule(t) for t in points} == pytest.approx(points, rel=1e-15, abs=0)


def cos_inf(k, total_steps):
    """The study's schedule as adana.md 2.1 writes it, in 50 digits."""
    warmup = total_steps // 50
    if k < warmup:
        fraction = mpmath.mpf(k) / warmup
        return fraction + (1 - fraction) / 100
    angle = mpmath.pi * (k - warmup) / (total_steps - warmup)
    return mpmath.mpf(1) / 10 + mpmath.mpf(45) / 100 * (1 + mpmath.cos(angle))


@pytest.mark.parametrize("total_steps", [13_950, 837_015, 100_000_000])
def test_cosine_is_the_schedule_of_the_study(total_steps):
    schedule = Cosine(total_steps=total_steps, warmup_steps=total_steps // 50, warmup_start=0.01, final=0.1)
    warmup = total_steps // 50
    updates = [1, 2, warmup, warmup + 1, warmup + 2, 10_000, total_steps // 2, total_steps - 1, total_steps]

    with mpmath.workdps(50):
        for t in updates:
            assert abs(schedule(t) / cos_inf(t - 1, total_steps) - 1) < 1e-15, t


def test_the_study_starts_at_1_percent_peaks_at_100_and_ends_at_10():
    schedule = Cosine(total_steps=13_950, warmup_steps=279, warmup_start=0.01, final=0.1)

    assert schedule(1) == 0.01
    assert schedule(280) == 1.0
    assert schedule(13_951) == 0.1


HORIZON = 100_000_000
WARMUP = 1_000_000


def half_cosine(fraction):
    return (1 + mpmath.cos(mpmath.pi * fraction)) / 2


# Every curve of the module with W = 1e6 and T = 1e8 as a function of k >= W, by the fraction that has passed.
CURVES = [
    (Cosine, {}, lambda k: half_cosine((k - WARMUP) / (HORIZON - WARMUP))),
    (Linear, {}, lambda k: 1 - (k - WARMUP) / (HORIZON - WARMUP)),
    (WarmupStableDecay, {"decay_steps": 5e7}, lambda k: 1 - max(k - HORIZON / 2, 0) / (HORIZON / 2)),
    (
        WarmupStableDecay,
        {"decay_steps": 5e7, "decay_shape": "cosine"},
        lambda k: half_cosine(max(k - HORIZON / 2, 0) / (HORIZON / 2)),
    ),
    (
        WarmupStableDecay,
        {"decay_steps": 5e7, "decay_shape": "sqrt"},
        lambda k: 1 - mpmath.sqrt(max(k - HORIZON / 2, 0) / (HORIZON / 2)),
    ),
    (InverseSqrt, None, lambda k: mpmath.sqrt(WARMUP / k)),
    (PowerLaw, None, lambda k: (1 + (k - WARMUP) / mpmath.mpf(1000)) ** -mpmath.mpf(0.7)),
]


@pytest.mark.parametrize(("cls", "settings", "curve"), CURVES)
@pytest.mark.parametrize("t", [1_000_001, 10_000_000, 50_000_002, 99_999_990, 99_999_999, 100_000_000])
def test_decays_are_accurate_to_the_last_update_of_a_long_run(cls, settings, curve, t):
    arguments = {"time_scale": 1000.0, "exponent": 0.7} if cls is PowerLaw else {}
    arguments |= {} if settings is None else {"total_steps": HORIZON, **settings}
    schedule = cls(warmup_steps=WARMUP, **arguments)

    with mpmath.workdps(60):
        # At the end of a cosine to 0 the value is 2.5e-16: its digits must not come out of 1 + cos.
        assert abs(schedule(t) / curve(mpmath.mpf(t - 1)) - 1) < 2e-15


@pytest.mark.parametrize("t", [2, 3, 10_000, 999_999, 1_000_000])
def test_warmups_are_accurate_from_the_first_update_on(t):
    with mpmath.workdps(60):
        fraction = mpmath.mpf(t - 1) / WARMUP
        cosine = (1 - mpmath.cos(mpmath.pi * fraction)) / 2

        assert abs(Warmup(warmup_steps=WARMUP)(t) / fraction - 1) < 1e-15
        assert abs(Warmup(warmup_steps=WARMUP, warmup_shape="cosine")(t) / cosine - 1) < 1e-15


@st.composite
def lr_schedules(draw):
    """Return a schedule of any class, its warm-up length, and where it ends (None without a horizon)."""
    warmup = float(draw(st.integers(0, 1_000_000)))
    arguments = {
        "warmup_steps": warmup,
        "warmup_start": draw(st.floats(0, 1)),
        "warmup_shape": draw(st.sampled_from(["linear", "cosine"])),
    }
    horizon = {"total_steps": warmup + draw(st.integers(1, 10_000_000)), "final": draw(st.floats(0, 1))}
    cls = draw(st.sampled_from([Warmup, Cosine, Linear, WarmupStableDecay, InverseSqrt, PowerLaw]))
    if cls is InverseSqrt:
        arguments["warmup_steps"] = max(warmup, 1.0)
    if cls is PowerLaw:
        arguments |= {"time_scale": draw(st.floats(1e-3, 1e6)), "exponent": draw(st.floats(0, 3))}
    if cls in (Cosine, Linear, WarmupStableDecay):
        arguments |= horizon
    if cls is WarmupStableDecay:
        arguments["decay_shape"] = draw(st.sampled_from(["linear", "cosine", "sqrt"]))
        if draw(st.booleans()):
            room = arguments["total_steps"] - arguments["warmup_steps"]
            arguments["decay_steps"] = room * draw(st.floats(0.01, 1))
    return cls(**arguments), arguments["warmup_steps"], arguments.get("total_steps")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(lr_schedules(), st.floats(0, 3))
def test_multipliers_lie_between_0_and_1(case, position):
    schedule, warmup, total = case

    t = 1 + position * (total or warmup + 1)

    assert 0 <= schedule(t) <= 1


@settings(max_examples=300, deadline=None, derandomize=True)
@given(lr_schedules(), st.floats(0, 1), st.floats(0, 1))
def test_multipliers_rise_in_the_warmup_and_fall_after_it(case, first, second):
    schedule, warmup, total = case
    first, second = sorted((first, second))
    after = (total or 10 * warmup + 10) - warmup

    roundings = 1e-15
    assert schedule(1 + first * warmup) <= schedule(1 + second * warmup) + roundings or second == 1
    assert schedule(1 + warmup + first * after) >= schedule(1 + warmup + second * after) - roundings


@settings(max_examples=300, deadline=None, derandomize=True)
@given(lr_schedules())
def test_multipliers_do_not_jump_where_their_parts_meet(case):
    schedule, warmup, total = case
    joints = ([warmup] if warmup else []) + ([total] if total else [])

    for k in joints:
        before, at = schedule(1 + k - 1e-7), schedule(1 + k)
        # Steepest are the square root at the start of a decay of 0.01 updates and the power law with time scale 1e-3,
        # both after k; before k no slope exceeds 200 a step.
        assert before == pytest.approx(at, abs=1e-4)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(lr_schedules())
def test_the_peak_is_exactly_1(case):
    schedule, warmup, _ = case

    assert schedule(1 + warmup) == 1.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Warmup(warmup_steps=-1), "warmup_steps must be >= 0, got -1"),
        (
            lambda: Warmup(warmup_start=1.5),
            r"warmup_start must lie in \[0, 1\], got 1\.5\. It is a fraction of the peak",
        ),
        (lambda: Warmup(warmup_shape="square"), "warmup_shape must be 'linear' or 'cosine', got 'square'"),
        (lambda: Cosine(total_steps=10, warmup_steps=10), "total_steps must exceed warmup_steps = 10, got 10"),
        (lambda: Linear(total_steps=10, final=-0.1), r"final must lie in \[0, 1\], got -0\.1\. It is a fraction"),
        (lambda: Linear(total_steps=math.nan), r"total_steps must exceed warmup_steps = 0\.0, got nan"),
        (
            lambda: wsd(decay_steps=81),
            r"decay_steps must lie in \(0, 80\], what the warm-up leaves, got 81",
        ),
        (lambda: wsd(decay_steps=0), r"decay_steps must lie in \(0, 80\], what the warm-up leaves, got 0"),
        (lambda: wsd(decay_shape="cubic"), "decay_shape must be one of linear, cosine, sqrt, got 'cubic'"),
        (lambda: wsd(final=2.0), r"final must lie in \[0, 1\], got 2\.0"),
        (lambda: InverseSqrt(), r"warmup_steps must be > 0, got 0\.0\. It sets the decay too\."),
        (lambda: PowerLaw(time_scale=0), "time_scale must be > 0, got 0"),
        (lambda: Eden(time_scale=0), "time_scale must be > 0, got 0"),
        (lambda: Eden(epoch_scale=math.nan), "epoch_scale must be > 0, got nan"),
        (lambda: Eden(steps_per_epoch=0), "steps_per_epoch must be > 0 or None, got 0. None leaves the epochs out"),
        (lambda: Eden(warmup_steps=-1), "warmup_steps must be >= 0, got -1"),
        (lambda: Eden(warmup_start=2), r"warmup_start must lie in \[0, 1\], got 2\. It is a fraction"),
        (lambda: PowerLaw(time_scale=1, exponent=-1), "exponent must be >= 0, got -1"),
    ],
)
def test_values_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
