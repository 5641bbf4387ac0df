"""Does coordinate descent find an optimum that is known, stop when nothing gains, and keep within its budget?"""

import math

import pytest

from logclock.sweep import Axis, Descent, Trial

DECAY = Axis(path="optimizer.weight_decay", values=("x0.5", "x2", "x4"))
KAPPA = Axis(path="optimizer.kappa", values=("0.75", "0.9"))
BEST = Trial(multiplier=0.25).with_setting(DECAY.path, "x2").with_setting(KAPPA.path, "0.9")


def objective(trial):
    """A bowl whose bottom is at BEST, where the best decay depends on kappa: one pass does not suffice."""
    settings = dict(trial.settings)
    decay = {"x0.5": -1, None: 0, "x2": 1, "x4": 2}[settings.get(DECAY.path)]
    kappa = {"0.75": -1, None: 0, "0.9": 1}[settings.get(KAPPA.path)]
    lr = math.log2(trial.multiplier) + 2
    return 3.0 + 0.02 * lr**2 + 0.05 * (decay - kappa) ** 2 + 0.01 * (kappa - 1) ** 2 - 0.004 * decay


def descend(rule, loss):
    losses = {trial: loss(trial) for trial in rule.grid()}
    while rule.needs_another(losses):
        trial = rule.next_trial(losses)
        assert trial not in losses
        losses[trial] = loss(trial)
    return losses


def bowl(trial):
    """A bowl without a valley, with its bottom at BEST."""
    settings = dict(trial.settings)
    decay = {"x0.5": -1, None: 0, "x2": 1, "x4": 2}[settings.get(DECAY.path)]
    kappa = {"0.75": -1, None: 0, "0.9": 1}[settings.get(KAPPA.path)]
    return 3.0 + 0.02 * (math.log2(trial.multiplier) + 2) ** 2 + 0.05 * (decay - 1) ** 2 + 0.01 * (kappa - 1) ** 2


def test_a_descent_finds_the_optimum_and_stops_there():
    rule = Descent(axes=(DECAY, KAPPA), budget=100)

    losses = descend(rule, bowl)

    assert rule.winner(losses) == BEST
    assert rule.has_ended(losses)
    assert not rule.is_on_edge(losses)
    # start; x2, x0.5, x0.25, x0.125; decay 3; kappa 2; then a pass around the optimum: 2 rates, of which x0.5 and
    # x0.125 are new with these settings; 3 decays, of which none at this kappa was tried; both kappas were
    assert len(losses) == 1 + 4 + 3 + 2 + 2 + 3


def test_a_valley_takes_more_passes_than_one():
    rule = Descent(axes=(DECAY, KAPPA), budget=100)

    losses = descend(rule, objective)

    current = rule.winner(losses)
    # no single change of what it ended with gains more than the threshold
    neighbors = [Trial(multiplier=current.multiplier * f, settings=current.settings) for f in (0.5, 2.0)]
    neighbors += [current.with_setting(axis.path, value) for axis in (DECAY, KAPPA) for value in axis.values]
    assert all(objective(trial) >= objective(current) - 3e-3 for trial in neighbors)
    assert rule.has_ended(losses)


def test_what_gains_less_than_the_threshold_is_not_kept():
    small = {1.0: 3.0, 2.0: 2.998, 0.5: 3.1}

    kept = {t: Descent(threshold=t, budget=10) for t in (3e-3, 1e-3)}

    assert kept[3e-3].winner({Trial(multiplier=m): loss for m, loss in small.items()}) == Trial(multiplier=1.0)
    assert kept[1e-3].winner({Trial(multiplier=m): loss for m, loss in small.items()}) == Trial(multiplier=2.0)


def test_the_budget_bounds_every_descent_and_one_that_has_ended_spends_it_on_a_finer_grid():
    rule = Descent(axes=(DECAY, KAPPA), budget=7)
    assert len(descend(rule, bowl)) == 7

    ended = Descent(budget=9)
    losses = descend(ended, lambda trial: abs(math.log2(trial.multiplier)))
    assert len(losses) == 3  # 1, 2 and 0.5
    finer = ended.next_trial(losses)
    assert finer.multiplier == pytest.approx(math.sqrt(0.5), rel=1e-3)


def test_a_start_that_diverges_is_left_for_what_does_not():
    losses = descend(Descent(budget=9), lambda trial: math.inf if trial.multiplier > 0.3 else 3 + trial.multiplier)

    # 1 and 0.5 diverge; 0.25, 0.125, ... go on to gain until 3 + m falls by less than the threshold
    assert Descent(budget=9).winner(losses).multiplier == 0.003906  # 2^-8 in four digits


def test_if_everything_diverges_the_budget_goes_into_smaller_rates():
    rule = Descent(axes=(KAPPA,), budget=5)

    losses = descend(rule, lambda trial: math.inf)

    assert [trial.multiplier for trial in losses] == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert rule.winner(losses) == Trial(multiplier=1.0)


def test_the_way_does_not_depend_on_where_it_was_interrupted():
    rule = Descent(axes=(DECAY, KAPPA), budget=100)
    whole = list(descend(rule, objective))

    for length in range(1, len(whole)):
        assert rule.next_trial({trial: objective(trial) for trial in whole[:length]}) == whole[length]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "budget must be at least 1 trial, got 0"),
        ({"threshold": -1.0}, "threshold must be at least 0"),
        ({"step": 1.0}, "step must be more than 1"),
    ],
)
def test_a_descent_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Descent(**settings)
