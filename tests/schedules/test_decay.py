import math

import pytest

from logclock.schedules import Constant, Cosine, InverseTime, PowerLaw, constant_decay, log_time_decay, matched_decay


def study_multiplier(total_steps):
    return Cosine(total_steps=total_steps, warmup_steps=total_steps // 50, warmup_start=0.01, final=0.1)


def total_shrinkage(decay, total_steps):
    multiplier = study_multiplier(total_steps)
    return math.fsum(multiplier(t) * decay(t) for t in range(1, total_steps + 1))


def test_log_time_decay_is_omega_over_offset_plus_t():
    decay = log_time_decay(4.0, offset=1395.0)

    assert decay == InverseTime(scale=4.0, offset=1395.0)
    assert [decay(t) for t in (5, 605, 2605)] == [4 / 1400, 0.002, 0.001]


def test_log_time_decay_is_the_launchers_form():
    # adana.md 2.3: wd = omega / t_s, lambda(t) = wd / (1 + t / t_s)
    decay = log_time_decay(offset=1395)
    for t in (1, 100, 1395, 13_950):
        assert decay(t) == pytest.approx((4.0 / 1395) / (1 + t / 1395), rel=1e-15)


@pytest.mark.parametrize(("total_steps", "offset"), [(100_000, 10_000), (13_959, 1395), (9, 1)])
def test_total_steps_stand_for_the_launchers_offset(total_steps, offset):
    assert log_time_decay(4.0, total_steps=total_steps) == InverseTime(scale=4.0, offset=offset)


@pytest.mark.parametrize("given", [{}, {"offset": 10, "total_steps": 100}])
def test_log_time_decay_takes_an_offset_or_total_steps(given):
    with pytest.raises(TypeError, match=r"either offset or total_steps, got (neither|offset=10 and total_steps=100)"):
        log_time_decay(4.0, **given)


def test_constant_decay_is_omega_over_total_steps():
    assert constant_decay(4.0, total_steps=16_000) == Constant(value=0.00025)


# adana.md 2.3 and the docstring of log_time_decay; T of the smallest and the largest published size.
@pytest.mark.parametrize(
    ("decay", "total_steps", "expected", "digits"),
    [
        (constant_decay(4.0, total_steps=13_950), 13_950, 2.20, 2),
        (log_time_decay(4.0, offset=1395), 13_950, 6.84, 2),
        (log_time_decay(4.0, offset=1), 13_950, 16.8, 1),
        (log_time_decay(4.0, offset=1), 837_015, 17.1, 1),
    ],
)
def test_total_shrinkage_of_the_study(decay, total_steps, expected, digits):
    assert round(total_shrinkage(decay, total_steps), digits) == expected


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: log_time_decay(4.0, offset=0.5), r"offset must be >= 1 update, got 0\.5\. The study used T / 10\."),
        (lambda: log_time_decay(4.0, total_steps=0), "total_steps must be >= 1, got 0"),
        (lambda: log_time_decay(-4.0, offset=10), r"scale must be >= 0, got -4\.0"),
        (lambda: constant_decay(4.0, total_steps=0), "total_steps must be >= 1, got 0"),
        (
            lambda: matched_decay(Constant(value=1.0), lr_schedule=Constant(value=0.0), total_steps=5),
            r"lr_schedule must be positive somewhere, got 0\.0",
        ),
    ],
)
def test_values_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_matched_decay_of_the_study_is_three_times_its_constant_one():
    # adana.md 2.3: 6.84 against 2.20, and omega about 12 (10.2)
    total_steps = 13_950
    log_time = log_time_decay(4.0, offset=1395)
    matched = matched_decay(log_time, lr_schedule=study_multiplier(total_steps), total_steps=total_steps)

    assert matched(1) * total_steps == pytest.approx(4.0 * 6.84 / 2.20, abs=0.05)
    assert total_shrinkage(matched, total_steps) == pytest.approx(total_shrinkage(log_time, total_steps), rel=1e-12)


def test_the_matched_decay_by_hand():
    # s = 1, 1/2, 1/3; lambda = 2 * (4/2, 4/3, 4/4)
    harmonic = PowerLaw(time_scale=1.0, exponent=1.0)
    matched = matched_decay(log_time_decay(4.0, offset=1) * Constant(value=2.0), lr_schedule=harmonic, total_steps=3)

    assert matched(7) == pytest.approx((4 + 8 / 6 + 2 / 3) / (1 + 1 / 2 + 1 / 3), rel=1e-15)
