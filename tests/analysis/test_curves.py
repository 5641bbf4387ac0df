import pytest

from logclock.analysis.curves import difference_curve, seed_curve, smoothed_curve


def test_the_band_of_several_seeds_is_their_range(record):
    one, two = record(seed=0, losses=(5.0, 4.6, 4.3, 4.1)), record(seed=1, losses=(5.2, 4.6, 4.1, 4.0))

    curve = seed_curve([one, two])

    assert curve.step == (100, 200, 300, 400)
    assert curve.mean == pytest.approx((5.1, 4.6, 4.2, 4.05))
    assert curve.low == (5.0, 4.6, 4.1, 4.0)
    assert curve.high == (5.2, 4.6, 4.3, 4.1)
    assert curve.num_seeds == 2


def test_steps_that_a_seed_lacks_are_left_out(record):
    one = record(seed=0, losses=(5.0, None, 4.3, 4.1))
    two = record(seed=1, steps=(200, 300, 400), losses=(4.6, 4.3, 4.1))

    assert seed_curve([one, two]).step == (300, 400)


def test_no_run_gives_an_empty_curve():
    curve = seed_curve([])

    assert (curve.step, curve.mean, curve.num_seeds) == ((), (), 0)


def test_differences_are_taken_within_each_seed(record):
    baseline = {0: record(seed=0, losses=(5.0, 4.6, 4.3, 4.1)), 1: record(seed=1, losses=(6.0, 5.6, 5.3, 5.1))}
    optimizer = {0: record(seed=0, losses=(5.1, 4.6, 4.2, 4.0)), 1: record(seed=1, losses=(6.3, 5.6, 5.1, 4.9))}

    curve = difference_curve(optimizer, baseline)

    assert curve.mean == pytest.approx((0.2, 0.0, -0.15, -0.15))
    assert curve.low == pytest.approx((0.1, 0.0, -0.2, -0.2))
    assert curve.num_seeds == 2


def test_the_training_loss_is_averaged_by_the_steps_that_a_value_stands_for(record):
    # Logged at 10, 20 and 40: the last stands for 20 steps. In ln(step) 10 and 20 fill the first of two bins (its edge
    # is at sqrt(10 * 40) = 20, which belongs to the second).
    run = record(train={"step": [10, 20, 40], "tokens": [1, 2, 4], "loss": [6.0, 5.0, 4.0]})

    curve = smoothed_curve(run, num_bins=2)

    assert curve.step == (10, 30)
    assert curve.mean == pytest.approx((6.0, (5.0 * 10 + 4.0 * 20) / 30))


@pytest.mark.parametrize(("losses", "expected"), [([None, None], ()), ([5.0, None], (5.0,))])
def test_values_that_are_not_finite_are_left_out_of_the_training_loss(record, losses, expected):
    run = record(train={"step": [10, 20], "tokens": [1, 2], "loss": losses})

    assert smoothed_curve(run).mean == expected
