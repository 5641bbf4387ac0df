import dataclasses
import math

import pytest

from logclock.sweep import Axis, Search, Trial, with_lr_multiplier
from logclock.sweep.search import check_axes, configure


def searched(search, loss, *, num_trials):
    """Return the trials in the order in which the search makes them on a loss surface."""
    losses = {trial: loss(trial) for trial in search.grid()}
    while len(losses) < num_trials:
        trial = search.next_trial(losses)
        assert trial not in losses
        losses[trial] = loss(trial)
    return losses


def bowl(centre, *, kappa=None):
    """A loss with its minimum at a multiplier, and another at a value of kappa."""

    def loss(trial):
        off = 0.0 if kappa is None else float(dict(trial.settings).get("optimizer.kappa", 0.85)) - kappa
        return math.log(trial.multiplier / centre) ** 2 + off**2

    return loss


def factors(trials):
    return [trial.multiplier for trial in trials]


def test_the_grid_grows_by_its_own_ratio_while_the_best_is_at_an_edge():
    search = Search(multipliers=(0.5, 1.0, 2.0), extensions=3)

    assert factors(searched(search, bowl(9.0), num_trials=6)) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert factors(searched(search, bowl(0.13), num_trials=5)) == [0.5, 1.0, 2.0, 0.25, 0.125]


def test_a_grid_grows_no_further_than_allowed_and_the_edge_is_reported():
    search = Search(multipliers=(1.0, 3.0), extensions=1)
    losses = searched(search, bowl(100.0), num_trials=3)

    assert factors(losses) == [1.0, 3.0, 9.0]
    assert not search.needs_another(losses)
    assert search.is_on_edge(losses)
    assert search.next_trial(losses).multiplier == 5.196  # sqrt(3 * 9), to four digits


def test_who_needs_no_extension_gets_a_finer_grid():
    search = Search(multipliers=(0.25, 1.0, 4.0))
    losses = searched(search, bowl(1.6), num_trials=3)

    assert not search.needs_another(losses)
    assert not search.is_on_edge(losses)
    assert factors(searched(search, bowl(1.6), num_trials=5))[3:] == [2.0, 1.414]


def test_an_axis_is_tried_at_the_best_of_everything_before():
    search = Search(multipliers=(0.5, 1.0, 2.0), axes=(Axis(path="optimizer.kappa", values=("0.7", "0.9")),))
    losses = searched(search, bowl(1.1, kappa=0.9), num_trials=6)

    later = list(losses)[3:]
    assert later[0] == Trial(multiplier=1.0, settings=(("optimizer.kappa", "0.7"),))
    assert later[1] == Trial(multiplier=1.0, settings=(("optimizer.kappa", "0.9"),))
    assert later[2] == Trial(multiplier=1.414, settings=(("optimizer.kappa", "0.9"),))  # 2 is better than 0.5
    assert later[1].tags() == {"lr_multiplier": "1", "settings": "optimizer.kappa=0.9"}


def test_a_second_axis_keeps_the_best_value_of_the_first():
    axes = (Axis(path="optimizer.kappa", values=("0.9",)), Axis(path="optimizer.delta", values=("4",)))
    search = Search(multipliers=(0.5, 1.0, 2.0), axes=axes)
    losses = searched(search, bowl(1.0, kappa=0.9), num_trials=5)

    assert list(losses)[-1].settings == (("optimizer.delta", "4"), ("optimizer.kappa", "0.9"))
    assert not search.needs_another(losses)
    assert search.max_rounds == 4


def test_runs_that_diverged_send_the_search_down():
    search = Search(multipliers=(1.0, 2.0, 4.0), extensions=2)

    losses = searched(search, lambda trial: math.inf if trial.multiplier > 0.3 else trial.multiplier, num_trials=5)

    assert factors(losses) == [1.0, 2.0, 4.0, 0.5, 0.25]


def test_one_multiplier_has_no_edge():
    search = Search(multipliers=(1.0,))

    assert search.max_rounds == 0
    assert not search.needs_another({Trial(multiplier=1.0): 3.0})
    assert not search.is_on_edge({Trial(multiplier=1.0): 3.0})


def test_a_trial_sets_the_learning_rate_and_the_other_values(tiny_run):
    config = tiny_run()

    trial = Trial(multiplier=3.0).with_setting("optimizer.kappa", "0.9").with_setting("optimizer.delta", "x0.5")
    changed = configure(config, trial.with_setting("optimizer.weight_decay", "x2"))

    assert (changed.optimizer.lr, changed.optimizer.kappa) == (pytest.approx(0.015), 0.9)
    assert changed.optimizer.delta == 4.0
    for t in (1, 7, 24):
        assert changed.optimizer.weight_decay(t) == pytest.approx(2 * config.optimizer.weight_decay(t))


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ("optimizer.kapa=0.9", r"unknown path 'optimizer.kapa'. Did you mean 'kappa'"),
        ("optimizer.kapa=x2", r"unknown path 'optimizer.kapa'. Did you mean 'kappa'"),
        ("optimizer.ema1=x2", r"multiplies what the run has there, which is None. A factor needs a number"),
        ("optimizer.kappa=1.5", r"kappa must lie in \[0, 1\], got 1.5"),
        ("optimizer.kappa=0.9,0.85", r"optimizer.kappa=0.85 is what the run has anyway. Leave it out"),
    ],
)
def test_an_axis_that_a_run_does_not_take_is_an_error(tiny_run, axis, message):
    with pytest.raises(ValueError, match=message):
        check_axes(tiny_run(), [Axis.parse(axis)])


@pytest.mark.parametrize("text", ["optimizer.kappa", "=0.9", "optimizer.kappa=", "optimizer.kappa=1,1"])
def test_an_axis_is_a_path_with_distinct_values(text):
    with pytest.raises(ValueError, match=r"an axis needs a path and distinct values, got .* Write PATH=VALUE,VALUE"):
        Axis.parse(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"multipliers": ()}, r"multipliers must be distinct, positive and at least one, got \(\)"),
        ({"multipliers": (1.0, 1.0)}, "multipliers must be distinct"),
        ({"multipliers": (0.0, 1.0)}, "multipliers must be distinct, positive"),
        ({"multipliers": (1.0,), "extensions": -1}, "extensions must be >= 0, got -1"),
        ({"multipliers": (1.0,), "axes": (Axis.parse("optimizer.lr=1"),)}, "searched by multipliers"),
    ],
)
def test_a_search_that_makes_no_sense_is_an_error(fields, message):
    with pytest.raises(ValueError, match=message):
        Search(**fields)


def test_a_multiplier_changes_the_learning_rate_and_nothing_else(tiny_run):
    config = tiny_run(optimizer="adana")

    changed = with_lr_multiplier(config, 3.0)

    assert changed.optimizer.lr == pytest.approx(0.015)
    assert dataclasses.replace(changed, optimizer=config.optimizer) == config
    with pytest.raises(ValueError, match="multiplier must be > 0, got 0"):
        with_lr_multiplier(config, 0)
