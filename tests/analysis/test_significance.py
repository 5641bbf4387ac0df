import math
import random
import statistics

import pytest
import scipy.stats

from logclock.analysis import paired_difference, pooled_difference, t_interval
from logclock.analysis.significance import expanded_quantiles, jointly_judged, with_moderated_spreads


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

    # pairs -0.11, -0.09 and -0.10, -0.12, -0.08: means -0.10 and -0.10, variances 2e-4 and 4e-4 with 1 and 2 degrees
    assert found.mean == pytest.approx(-0.10)
    assert found.num_pairs == 5
    # the mean: variances of the size means 1e-4 and 4e-4 / 3 over 2^2, degrees by Welch and Satterthwaite
    first, second = 1e-4 / 4, 4e-4 / 3 / 4
    freedom = (first + second) ** 2 / (first**2 / 1 + second**2 / 2)
    assert found.uncertainty.degrees_of_freedom == pytest.approx(freedom)
    half_width = scipy.stats.t.ppf(0.975, freedom) * math.sqrt(first + second)
    assert found.interval == pytest.approx((-0.10 - half_width, -0.10 + half_width))
    # at a size: the larger of its own variance and the mean of both, (2e-4 + 2 4e-4) / 3, with three degrees: t 3.18245
    low, high = found.by_size["4"].interval
    assert (high - low) / 2 == pytest.approx(3.18245 * math.sqrt(1e-3 / 3 / 2), rel=1e-5)
    low, high = found.by_size["6"].interval
    assert (high - low) / 2 == pytest.approx(3.18245 * math.sqrt(4e-4 / 3), rel=1e-5)
    assert found.by_size["6"].confidence == 0.95


def test_what_all_seeds_share_widens_the_interval_in_squares():
    losses, baseline = {0: 3.90, 1: 3.91, 2: 3.95}, {0: 4.0, 1: 4.0, 2: 4.0}

    found = paired_difference(losses, baseline, search_error=0.01, sampling_error=0.02)

    # pairs -0.10, -0.09, -0.05: mean -0.08, variance 7e-4; t 4.30265 with two degrees, z 1.959964
    half_width = math.hypot(4.30265 * math.sqrt(7e-4 / 3), 1.959964 * math.hypot(0.01, 0.02))
    assert found.interval == pytest.approx((-0.08 - half_width, -0.08 + half_width), abs=1e-6)


@pytest.mark.parametrize("name", ["search_error", "sampling_error"])
def test_an_error_below_zero_is_refused(name):
    with pytest.raises(ValueError, match=rf"{name} must be >= 0, got -0.1"):
        paired_difference({0: 1.0}, {0: 1.0}, **{name: -0.1})


def test_the_validation_set_is_one_for_all_sizes_and_searches_are_not():
    losses = {"4": {0: 4.0, 1: 4.1}, "6": {0: 3.5, 1: 3.6}}
    errors = {"4": 0.03, "6": 0.04}

    found = pooled_difference(losses, losses, search_errors=errors, sampling_error=0.01)

    assert math.sqrt(found.uncertainty.search) == pytest.approx(0.05 / 2)  # a 3-4-5 triangle, over two sizes
    assert math.sqrt(found.uncertainty.sampling) == pytest.approx(0.01)


def test_p_is_where_the_interval_touches_zero():
    losses, baseline = {0: 3.97, 1: 3.98, 2: 4.0}, {0: 4.0, 1: 4.0, 2: 4.0}

    found = paired_difference(losses, baseline, search_error=0.004)

    _, high = found.uncertainty.interval(found.mean, 1 - found.p_value)
    assert high == pytest.approx(0.0, abs=1e-6)
    # without the shared error p is that of Student's t
    plain = paired_difference(losses, baseline)
    assert plain.p_value == pytest.approx(scipy.stats.ttest_1samp([-0.03, -0.02, 0.0], 0).pvalue, rel=1e-4)


def test_joint_verdicts_are_adjusted_for_their_number():
    # one pair of losses gives p = 0.02, which is a difference by itself and none among four
    def one(p):
        t = scipy.stats.t.ppf(1 - p / 2, 2)
        pairs = [-1.0 - 0.01, -1.0, -1.0 + 0.01]  # mean -1, standard error 0.01 / sqrt(3)
        shift = 1.0 - t * 0.01 / math.sqrt(3)
        return paired_difference({i: pair + shift for i, pair in enumerate(pairs)}, dict.fromkeys(range(3), 0.0))

    alone = one(0.02)
    together = jointly_judged({"a": alone, "b": one(0.3), "c": one(0.5), "d": one(0.011)})

    assert alone.verdict == "better"
    assert together["d"].adjusted_p == pytest.approx(0.044, rel=1e-3)
    assert together["d"].verdict == "better"
    assert together["a"].adjusted_p == pytest.approx(0.06, rel=1e-3)
    assert together["a"].verdict == "no difference"


def test_a_lucky_spread_of_one_arm_narrows_no_interval():
    baseline = {0: 4.0, 1: 4.0, 2: 4.0}
    found = {
        "lucky": paired_difference({0: 3.989, 1: 3.990, 2: 3.991}, baseline),
        "usual": paired_difference({0: 3.98, 1: 4.00, 2: 4.02}, baseline),
        "other": paired_difference({0: 4.03, 1: 4.01, 2: 3.99}, baseline),
    }

    safe = with_moderated_spreads(found, share_baseline=True)

    assert found["lucky"].verdict == "better"
    assert safe["lucky"].verdict == "no difference"
    # variances 1e-6, 4e-4, 4e-4: mean 2.67e-4, with 6 / (1 + 2 / 4) = 4 degrees of freedom, t 2.77645
    low, high = safe["lucky"].interval
    assert (high - low) / 2 == pytest.approx(2.77645 * math.sqrt(8.01e-4 / 3 / 3), rel=1e-4)
    assert safe["lucky"].sd == found["lucky"].sd


def test_the_same_optimizer_twice_is_found_different_at_most_as_often_as_stated():
    generator, repetitions = random.Random(0), 2000
    found = [pooled_difference(*draws(generator, seeds=3), minimum_effect=0.0) for _ in range(repetitions)]

    # no minimum effect to hide behind: at most 5 %, standard error 0.5 %
    false_alarms = sum(one.verdict != "no difference" for one in found) / repetitions
    any_size = sum(any(d.verdict != "no difference" for d in one.by_size.values()) for one in found) / repetitions
    assert 0.02 < false_alarms <= 0.06
    assert 0.02 < any_size <= 0.06  # Holm over the sizes is not so wide that it never speaks


def test_a_real_effect_is_found():
    generator = random.Random(1)
    found = [pooled_difference(*draws(generator, seeds=3, effect=-0.03)) for _ in range(200)]

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
