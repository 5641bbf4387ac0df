import math

import numpy as np
import pytest
from scipy.optimize import minimize

from logclock.analysis import LrRule, LrTrial, fit_lr_rule, lr_curvature
from logclock.analysis.lr_rules import LrCurvature, weighted_trials

SIZES = [7_077_888, 18_874_368, 34_406_400, 63_700_992, 150_994_944, 509_607_936]
TRUTH = LrRule(a=22.5, b=1.22e5, d=-0.618)
COLUMNS = {"h3": 884_736, "h4": 2_359_296, "h6": 7_077_888, "h8": 18_874_368} | {
    "h12": 63_700_992,
    "h16": 150_994_944,
    "h24": 509_607_936,
    "h40": 2_359_296_000,
}


def sweep(best_lr, *, curvature=0.02, factors=(0.25, 0.5, 1.0, 2.0, 4.0), off=1.0, noise=0.0, generator=None):
    """Return trials on a parabola around `best_lr`, on a grid whose middle lies a factor `off` beside it."""
    lrs = [best_lr * off * factor for factor in factors]
    return [
        LrTrial(
            lr=lr,
            loss=3.0 + curvature * math.log(lr / best_lr) ** 2 + (generator.normal(0, noise) if noise else 0.0),
        )
        for lr in lrs
    ]


def test_the_rules_of_the_study_give_its_table_to_the_printed_digits(published):
    checked = 0
    for row in published("enoki_lr_rules.csv"):
        rule = LrRule(a=row["a"], b=row["b"], d=row["d"])
        for column, params in COLUMNS.items():
            assert f"{rule(params):.2e}" == f"{row[column]:.2e}", (row["name"], column)
            checked += 1
    assert checked == 64


def test_a_rule_is_the_formula():
    assert LrRule(a=2.0, b=3.0, d=-0.5)(13.0) == 0.5  # 2 / sqrt(16)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (1.0, -1.0), (math.nan, 1.0)])
def test_a_rule_that_gives_no_learning_rate_is_refused(a, b):
    with pytest.raises(ValueError, match="a must be positive and b at least 0"):
        LrRule(a=a, b=b, d=-0.5)


def test_trials_next_to_a_better_one_are_dropped_and_the_five_best_are_ranked():
    trials = [
        LrTrial(lr=lr, loss=loss)
        for lr, loss in [(1e-3, 3.00), (1.04e-3, 3.01), (2e-3, 3.02), (5e-4, 3.03), (4e-3, 3.10), (8e-3, None)]
    ] + [LrTrial(lr=2.5e-4, loss=3.2), LrTrial(lr=1.2e-4, loss=3.4)]

    found = weighted_trials(trials)

    assert found == [(1e-3, 5), (2e-3, 4), (5e-4, 3), (4e-3, 2), (2.5e-4, 1)]


def test_symmetric_sweeps_around_a_rule_give_the_rule_back():
    # one trial a size, at the optimum: the weighting has nothing to average away
    trials = {params: [LrTrial(lr=TRUTH(params), loss=3.0)] for params in SIZES}

    fit = fit_lr_rule(trials, num_samples=0)

    assert fit.rms < 1e-6
    for params in (*SIZES, 2_359_296_000):
        assert fit.rule(params) == pytest.approx(TRUTH(params), rel=1e-4)
    assert fit.rule.d == pytest.approx(TRUTH.d, rel=1e-3)


def test_the_fit_minimises_the_weighted_sum_of_the_study():
    generator = np.random.default_rng(0)
    trials = {p: sweep(TRUTH(p), off=math.exp(generator.normal(0, 0.2))) for p in SIZES}

    fit = fit_lr_rule(trials, num_samples=0)

    def objective(theta):
        """The formula of specs/adana.md 5.5, written out."""
        numerator = denominator = 0.0
        for params, tried in trials.items():
            for rank, trial in enumerate(sorted(tried, key=lambda trial: trial.loss)):
                weight = (5 - rank) ** 2 * params
                model = theta[0] + theta[2] * math.log(math.exp(theta[1]) + params)
                numerator += weight * (math.log(trial.lr) - model) ** 2
                denominator += weight
        return numerator / denominator

    found = objective([math.log(fit.rule.a), math.log(fit.rule.b), fit.rule.d])
    theirs = min(
        minimize(objective, [math.log(10), math.log(b), -0.5], method="Nelder-Mead", options={"maxiter": 4000}).fun
        for b in (1e2, 3e4, 1e6)
    )
    assert found <= theirs * (1 + 1e-6)
    assert fit.rms == pytest.approx(math.sqrt(found), rel=1e-9)


def test_the_bootstrap_over_sizes_holds_the_exponent():
    hits = 0
    for repetition in range(60):
        generator = np.random.default_rng(repetition)
        trials = {p: [LrTrial(lr=TRUTH(p) * math.exp(generator.normal(0, 0.1)), loss=3.0)] for p in SIZES}
        fit = fit_lr_rule(trials, num_samples=60, seed=repetition)
        low, high = fit.interval(lambda rule: math.log(rule(SIZES[-1])))
        hits += low <= math.log(TRUTH(SIZES[-1])) <= high

    # nominal 90 %; six sizes of very unequal weight make a coarse bootstrap, and 60 repetitions have 4 % of error
    assert 0.70 <= hits / 60 <= 1.0


def test_every_bootstrap_sample_rests_on_two_sizes_or_more():
    trials = {p: [LrTrial(lr=TRUTH(p), loss=3.0)] for p in SIZES[:2]}

    fit = fit_lr_rule(trials, num_samples=20)

    assert all(rule(SIZES[0]) == pytest.approx(TRUTH(SIZES[0]), rel=1e-3) for rule in fit.samples)
    assert fit.interval(lambda rule: rule.d) is None  # two sizes leave no freedom


def test_one_size_makes_no_rule():
    trials = {SIZES[0]: sweep(1e-3), SIZES[1]: [LrTrial(lr=1e-3, loss=None)]}

    with pytest.raises(ValueError, match="finished runs of two sizes or more, got 1"):
        fit_lr_rule(trials)


def test_a_parabola_is_found_exactly_even_if_the_grid_misses_its_middle():
    found = lr_curvature(sweep(1e-3, curvature=0.0193, off=1.3))

    assert found.best_lr == pytest.approx(1e-3)
    assert found.best_loss == pytest.approx(3.0)
    assert found.curvature == pytest.approx(0.0193)
    # the interval of a perfect parabola is a point
    assert found.lr_interval == pytest.approx((1e-3, 1e-3), rel=1e-5)


def test_trials_far_from_the_best_do_not_bend_the_parabola():
    trials = [*sweep(1e-3), LrTrial(lr=1e-1, loss=7.0), LrTrial(lr=1e-2, loss=None)]

    assert lr_curvature(trials).num_trials == 5
    assert lr_curvature(trials).best_lr == pytest.approx(1e-3)


def test_the_penalties_of_the_study_follow_from_its_curvatures(published):
    rows = published("enoki_curvature.csv")
    mean = {name: sum(row[f"{name}_k"] for row in rows) / len(rows) for name in ("adamw", "mk4")}

    def penalty(name, factor):
        parabola = LrCurvature(best_lr=1.0, best_loss=0.0, curvature=mean[name], lr_interval=None, num_trials=5)
        return parabola.penalty(factor)

    # specs/adana.md 5.6: 50 % off costs 0.0032 (AdamW) and 0.0015 (MK4) nats, 20 % off 0.00064 and 0.00031
    assert round(penalty("adamw", 1.5), 4) == 0.0032
    assert round(penalty("mk4", 1.5), 4) == 0.0015
    assert round(penalty("adamw", 1.2), 5) == pytest.approx(0.00064)
    assert round(penalty("mk4", 1.2), 5) == pytest.approx(0.00031)


def test_the_interval_of_the_optimum_has_nominal_coverage():
    hits, repetitions = 0, 1000
    for repetition in range(repetitions):
        generator = np.random.default_rng(repetition)
        found = lr_curvature(sweep(1e-3, curvature=0.05, noise=2e-3, generator=generator), window=100.0)
        # no interval means that anything is possible, which holds the truth
        hits += found is None or found.lr_interval is None or found.lr_interval[0] <= 1e-3 <= found.lr_interval[1]

    # Fieller's interval is exact for normal noise; three standard errors of a share of 1,000
    assert hits / repetitions == pytest.approx(0.9, abs=0.03)


def test_what_shows_no_minimum_has_none():
    assert lr_curvature(sweep(1e-3, curvature=-0.02)) is None
    assert lr_curvature(sweep(1e-3, factors=(0.5, 1.0))) is None
    assert lr_curvature([LrTrial(lr=1e-3, loss=None)]) is None


def test_a_curvature_lost_in_noise_leaves_the_optimum_open():
    trials = [LrTrial(lr=1e-3 * 2**i, loss=loss) for i, loss in enumerate([3.001, 3.0, 2.999, 3.003, 2.9985])]

    found = lr_curvature(trials, window=100.0)

    assert found is None or found.lr_interval is None
