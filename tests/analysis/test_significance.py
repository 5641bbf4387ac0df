import math
import random

import pytest

from logclock.analysis import paired_difference, t_interval


@pytest.mark.parametrize(
    ("num_values", "quantile"),
    # Two-sided 95 % quantiles of Student's t with n - 1 degrees of freedom, from a printed table.
    [(2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (11, 2.228), (31, 2.042)],
)
def test_half_width_is_the_table_quantile_times_the_standard_error(num_values, quantile):
    values = [1.0 + (-1) ** i * 0.5 for i in range(num_values)]
    mean = sum(values) / num_values
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (num_values - 1))

    low, high = t_interval(values)

    assert (high - low) / 2 / (sd / math.sqrt(num_values)) == pytest.approx(quantile, abs=6e-4)  # table rounds to 3
    assert (high + low) / 2 == pytest.approx(mean)


def test_confidence_sets_the_quantile():
    low, high = t_interval([0.0, 2.0], confidence=0.90)  # sd sqrt(2), standard error 1, table value 6.314

    assert (high - low) / 2 == pytest.approx(6.314, abs=6e-4)


@pytest.mark.parametrize("values", [[], [1.0]])
def test_there_is_no_interval_below_two_values(values):
    assert t_interval(values) is None


def test_differences_are_paired_by_seed():
    # Differences -0.06 and -0.05: mean -0.055, sd 0.01 / sqrt(2), standard error 0.005.
    found = paired_difference({1: 4.00, 0: 4.04, 7: 3.0}, {0: 4.10, 1: 4.05, 9: 1.0})

    assert found.seeds == (0, 1)
    assert found.num_seeds == 2
    assert found.unpaired_seeds == (7, 9)
    assert found.mean == pytest.approx(-0.055)
    assert found.sd == pytest.approx(0.01 / math.sqrt(2))
    assert found.interval == pytest.approx((-0.055 - 12.706 * 0.005, -0.055 + 12.706 * 0.005), abs=1e-5)


@pytest.mark.parametrize(
    ("differences", "verdict", "is_equivalent"),
    [
        ([-0.060, -0.061, -0.059], "better", False),
        ([0.060, 0.061, 0.059], "worse", False),
        ([-0.06, 0.06, 0.01], "no difference", False),  # the interval includes 0
        ([-0.0030, -0.0031, -0.0029], "no difference", True),  # certain, but below the minimum effect
        ([0.0, 0.0], "no difference", True),
        ([-0.06], "one seed: spread unknown", False),
        ([], "no shared seed", False),
    ],
)
def test_the_verdict_needs_an_interval_without_zero_and_the_minimum_effect(differences, verdict, is_equivalent):
    baseline = dict.fromkeys(range(len(differences)), 4.0)
    losses = {seed: 4.0 + difference for seed, difference in enumerate(differences)}

    found = paired_difference(losses, baseline)

    assert found.verdict == verdict
    assert found.is_equivalent is is_equivalent


def test_the_minimum_effect_is_an_argument():
    losses, baseline = {0: 3.9970, 1: 3.9971}, {0: 4.0, 1: 4.0}

    assert paired_difference(losses, baseline, minimum_effect=0.004).verdict == "no difference"
    assert paired_difference(losses, baseline, minimum_effect=0.002).verdict == "better"


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_an_optimizer_against_itself_is_called_no_difference(num_seeds):
    random.seed(0)

    def runs():
        return {seed: random.gauss(4.0, 0.02) for seed in range(num_seeds)}

    verdicts = [paired_difference(runs(), runs()).verdict for _ in range(2000)]

    # The interval alone misses in 5 % of repetitions; 2 % allow for 4 standard errors of 2,000 repetitions.
    assert verdicts.count("no difference") / len(verdicts) > 0.93


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_outside_zero_and_one_is_an_error(confidence):
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        t_interval([1.0, 2.0], confidence=confidence)


@pytest.mark.parametrize("minimum_effect", [-0.1, math.nan])
def test_a_minimum_effect_that_is_not_a_size_is_an_error(minimum_effect):
    with pytest.raises(ValueError, match="minimum_effect must be >= 0"):
        paired_difference({0: 1.0}, {0: 1.0}, minimum_effect=minimum_effect)
