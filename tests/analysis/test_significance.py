import math
import random
import statistics

import pytest

from logclock.analysis import paired_difference, pooled_difference, t_interval
from logclock.analysis.significance import expanded_quantiles


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


def draws(generator, *, sizes=5, seeds=2, sd=0.01, effect=0.0):
    """Losses of an optimizer and of its baseline by size and seed; seeds move both alike."""
    ours, theirs = {}, {}
    for size in range(sizes):
        level = generator.gauss(4, 0.5)
        shared = [generator.gauss(0, 0.02) for _ in range(seeds)]
        ours[str(size)] = {i: level + effect + s + generator.gauss(0, sd) for i, s in enumerate(shared)}
        theirs[str(size)] = {i: level + s + generator.gauss(0, sd) for i, s in enumerate(shared)}
    return ours, theirs


def test_a_pooled_difference_equals_the_numbers_by_hand():
    losses = {"4": {0: 4.00, 1: 4.10}, "6": {0: 3.50, 1: 3.60, 2: 3.70}}
    baseline = {"4": {0: 4.11, 1: 4.19}, "6": {0: 3.60, 1: 3.72, 2: 3.78}}

    found = pooled_difference(losses, baseline)

    # pairs -0.11, -0.09 and -0.10, -0.12, -0.08: means -0.10 and -0.10, squares 2e-4 and 8e-4 over 1 + 2 degrees
    sd = math.sqrt(1e-3 / 3)
    error = sd * math.sqrt(1 / 2 + 1 / 3) / 2
    assert found.mean == pytest.approx(-0.10)
    assert found.sd == pytest.approx(sd)
    assert found.interval == pytest.approx((-0.10 - 3.18245 * error, -0.10 + 3.18245 * error), rel=1e-5)
    assert found.verdict == "better"
    assert found.num_pairs == 5
    # at each size 97.5 % of Student's t with three degrees: quantile 4.17653
    half_width = 4.17653 * sd / math.sqrt(3)
    assert found.by_size["6"].interval == pytest.approx((-0.10 - half_width, -0.10 + half_width), rel=1e-5)
    assert found.by_size["6"].confidence == pytest.approx(0.975)


def test_the_same_optimizer_twice_is_found_different_as_often_as_stated():
    generator, repetitions = random.Random(0), 2000
    found = [pooled_difference(*draws(generator), minimum_effect=0.0) for _ in range(repetitions)]

    # no minimum effect to hide behind: exactly 5 %, standard error 0.5 %
    false_alarms = sum(one.verdict != "no difference" for one in found) / repetitions
    any_size = sum(any(d.verdict != "no difference" for d in one.by_size.values()) for one in found) / repetitions
    assert false_alarms == pytest.approx(0.05, abs=0.015)
    assert any_size <= 0.065
    assert any_size > 0.02  # the bound over the sizes is not so wide that it never speaks


def test_a_real_effect_is_found():
    generator = random.Random(1)
    found = [pooled_difference(*draws(generator, effect=-0.03)) for _ in range(200)]

    assert sum(one.verdict == "better" for one in found) / 200 > 0.9


def test_a_minimum_effect_applies_to_the_mean_over_sizes():
    losses = {"4": {0: 4.000, 1: 4.100}, "6": {0: 3.500, 1: 3.600}}
    baseline = {size: {seed: loss + 0.003 for seed, loss in by_seed.items()} for size, by_seed in losses.items()}

    assert pooled_difference(losses, baseline).verdict == "no difference"
    assert pooled_difference(losses, baseline, minimum_effect=0.002).verdict == "better"


def test_single_seeds_pool_to_an_unknown_spread():
    found = pooled_difference({"4": {0: 4.0}, "6": {0: 3.5}}, {"4": {0: 4.1}, "6": {0: 3.6}})

    assert found.mean == pytest.approx(-0.1)
    assert found.interval is None
    assert found.verdict == "one seed: spread unknown"
    assert found.by_size["4"].verdict == "one seed: spread unknown"


def test_a_size_without_shared_seeds_does_not_count():
    found = pooled_difference({"4": {0: 4.0}, "6": {0: 3.5}}, {"4": {1: 4.1}, "6": {0: 3.6}, "8": {0: 3.0}})

    assert list(found.by_size) == ["6"]
    assert pooled_difference({"4": {0: 4.0}}, {"6": {0: 4.1}}).verdict == "no shared seed"


def test_expanded_quantiles_of_a_normal_sample_are_those_of_student():
    # the quantiles of a standard normal distribution, as a bootstrap without chance would draw them
    values = [statistics.NormalDist().inv_cdf((i + 0.5) / 20_001) for i in range(20_001)]

    low, high = expanded_quantiles(values, confidence=0.9, degrees_of_freedom=5)

    assert (low, high) == pytest.approx((-2.0150, 2.0150), abs=2e-3)  # Student's t, 95 %, 5 degrees
    assert expanded_quantiles(values, confidence=0.9, degrees_of_freedom=10**6)[1] == pytest.approx(1.645, abs=2e-3)


def test_expanded_quantiles_keep_infinities_and_need_values():
    assert expanded_quantiles([1.0, 2.0, math.inf], confidence=0.98, degrees_of_freedom=100) == (
        pytest.approx(1.0, abs=0.05),
        math.inf,
    )
    assert expanded_quantiles([], confidence=0.9, degrees_of_freedom=3) is None
    assert expanded_quantiles([1.0, 2.0], confidence=0.9, degrees_of_freedom=0) is None
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, got 90"):
        expanded_quantiles([1.0], confidence=90, degrees_of_freedom=3)
