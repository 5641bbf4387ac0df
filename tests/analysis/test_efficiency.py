import math

import pytest

from logclock.analysis import compute_multiplier, multiplier_range
from logclock.analysis.efficiency import crossing_compute


def test_crossing_is_linear_in_the_logarithm_of_compute():
    # From 5.0 at compute e^2 to 4.0 at e^4, 4.25 is three quarters of the way: e^3.5.
    found = crossing_compute([math.exp(2), math.exp(4)], [5.0, 4.0], target=4.25)

    assert found == pytest.approx(math.exp(3.5))


def test_the_first_of_several_crossings_counts():
    found = crossing_compute([1.0, 2.0, 4.0, 8.0], [5.0, 4.0, 4.5, 3.0], target=4.0)

    assert found == 2.0


def test_a_curve_that_stays_above_the_target_does_not_cross():
    assert crossing_compute([1.0, 2.0], [5.0, 4.0], target=3.9) is None


def test_forward_multiplier_equals_the_crossing_computed_by_hand(record):
    baseline = record("adamw", losses=(5.0, 4.6, 4.3, 4.1))
    optimizer = record("adana", losses=(4.9, 4.5, 4.0, 3.9))

    found = compute_multiplier(optimizer, baseline)

    # 4.1 lies 0.4 / 0.5 of the way from step 200 to 300 in ln(step): 200 * 1.5^0.8; the baseline took 400 steps.
    assert found.value == pytest.approx(400 / (200 * 1.5**0.8))
    assert found.direction == "optimizer reaches baseline"
    assert found.note is None


def test_backward_multiplier_is_used_when_the_optimizer_never_gets_there(record):
    baseline = record("adamw", losses=(5.0, 4.6, 4.3, 4.1))
    optimizer = record("adana", losses=(5.2, 4.8, 4.5, 4.2))

    found = compute_multiplier(optimizer, baseline)

    # The baseline reaches 4.2 half-way from step 300 to 400 in ln(step): sqrt(300 * 400); the optimizer took 400.
    assert found.value == pytest.approx(math.sqrt(300 * 400) / 400)
    assert found.direction == "baseline reaches optimizer"


def test_equal_curves_have_a_multiplier_of_exactly_one(record):
    assert compute_multiplier(record("a"), record("b")).value == 1.0


@pytest.mark.parametrize("last", [None, math.nan, math.inf])
def test_a_last_evaluation_that_is_not_finite_gives_no_multiplier_but_a_reason(record, last):
    optimizer = record("adana", seed=4, losses=(5.0, 4.6, 4.0, last))

    found = compute_multiplier(optimizer, record("adamw", seed=4))

    assert found.value is None
    assert found.note == "adana, seed 4: no finite loss at its last evaluation"


def test_a_dip_below_the_baseline_counts_even_if_the_run_ends_above(record):
    found = compute_multiplier(record("adana", losses=(5.0, 4.1, 4.3, 4.2)), record("adamw"))

    assert found.value == 2.0


def test_a_run_without_an_evaluation_after_the_start_is_an_error(record):
    with pytest.raises(ValueError, match="the only evaluation came before the first update"):
        compute_multiplier(record("adana", steps=(0,), losses=(5.0,)), record("adamw"))


def test_a_curve_that_starts_below_the_target_gives_a_bound_and_says_so(record):
    found = compute_multiplier(record("adana", losses=(4.0, 3.9, 3.8, 3.7)), record("adamw"))

    assert found.value == 4.0
    assert "only a bound" in found.note


def test_an_evaluation_before_training_and_missing_values_are_left_out(record):
    baseline = record("adamw", steps=(0, 100, 400), losses=(5.5, 5.0, 4.0))
    optimizer = record("adana", steps=(0, 100, 200, 400), losses=(5.5, 5.0, None, 3.0))

    found = compute_multiplier(optimizer, baseline)

    assert found.value == pytest.approx(400 / math.sqrt(100 * 400))


def test_compute_counts_by_the_convention_named(record):
    baseline = record("adamw", model={"compute_6p_per_token": 600, "compute_6d_per_token": 900})
    optimizer = record("adana", model={"compute_6p_per_token": 300, "compute_6d_per_token": 900})

    assert compute_multiplier(optimizer, baseline).value == 2.0
    assert compute_multiplier(optimizer, baseline, convention="compute_6d_per_token").value == 1.0


def test_an_unknown_convention_lists_the_known_ones(record):
    with pytest.raises(ValueError, match=r"no 'compute_7p'.*Known conventions: compute_6d_per_token, compute_6p"):
        compute_multiplier(record(), record(), convention="compute_7p")


def test_a_diverged_run_has_no_multiplier_but_a_reason(record, diverged):
    found = compute_multiplier(diverged("adana", seed=3), record("adamw", seed=3))

    assert found.value is None
    assert found.note == "adana, seed 3: diverged"


def test_the_range_over_seeds_keeps_every_seed(record, diverged):
    baseline = {seed: record("adamw", seed=seed) for seed in (0, 1, 2)}
    optimizer = {
        0: record("adana", seed=0, losses=(5.0, 4.1, 4.0, 3.9)),  # crosses at step 200: 2
        1: record("adana", seed=1, losses=(5.0, 4.6, 4.1, 3.9)),  # crosses at step 300: 4/3
        2: diverged("adana", seed=2),
        5: record("adana", seed=5),
    }

    found = multiplier_range(optimizer, baseline)

    assert found.mean == pytest.approx((2 + 4 / 3) / 2)
    assert (found.low, found.high) == pytest.approx((4 / 3, 2))
    assert found.num_values == 2
    assert [seed for seed, _ in found.by_seed] == [0, 1, 2]
