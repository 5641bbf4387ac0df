import itertools
import math

import torch

from logclock.train.series import RunLog, finite, latest, schedule_steps


def add_steps(log, losses, norms):
    for loss, norm in zip(losses, norms, strict=True):
        log.add_step(torch.tensor(loss), torch.tensor(norm))


def test_a_point_holds_the_means_of_its_interval():
    log = RunLog()
    add_steps(log, [4.0, 2.0], [1.0, 0.5])

    log.add_schedules(step=2, groups={"decay": {"lr": 0.09, "ema1": 0.5}})
    losses = log.close_interval(step=2, tokens=64, lr=0.1).losses

    assert losses == [4.0, 2.0]
    assert log.train == {"step": [2], "tokens": [64], "loss": [3.0], "lr": [0.1], "grad_norm": [0.75]}
    assert log.schedules == {"step": [2], "decay/lr": [0.09], "decay/ema1": [0.5]}


def test_the_next_interval_starts_empty():
    log = RunLog()
    add_steps(log, [4.0], [1.0])
    log.close_interval(step=1, tokens=1, lr=0.1)
    add_steps(log, [1.0], [1.0])

    log.close_interval(step=2, tokens=2, lr=0.1)

    assert log.train["loss"] == [4.0, 1.0]


def test_none_stands_for_what_is_not_finite():
    log = RunLog()
    add_steps(log, [math.nan], [math.inf])

    log.add_schedules(step=1, groups={"decay": {"clip_snr": math.inf}})
    losses = log.close_interval(step=1, tokens=1, lr=0.1).losses

    assert math.isnan(losses[0])
    assert (log.train["loss"], log.train["grad_norm"], log.schedules["decay/clip_snr"]) == ([None], [None], [None])
    assert finite(math.nan) is None
    assert finite(None) is None
    assert finite(2.0) == 2.0


def test_an_interruption_inside_an_interval_loses_no_step():
    log, resumed = RunLog(), RunLog()
    add_steps(log, [4.0, 2.5], [1.0, 2.0])

    resumed.load_state_dict(log.state_dict(), device=torch.device("cpu"))
    for one in (log, resumed):
        add_steps(one, [1.0], [3.0])
        one.close_interval(step=3, tokens=3, lr=0.1)

    assert resumed.train == log.train
    assert resumed.train["loss"] == [2.5]


def test_losses_can_be_looked_at_before_the_interval_ends():
    log = RunLog()
    assert log.waiting().losses == []
    add_steps(log, [4.0, 2.0], [1.0, 0.5])

    assert log.waiting().losses == [4.0, 2.0]
    assert log.close_interval(step=2, tokens=2, lr=0.1).losses == [4.0, 2.0]


def test_evaluations_and_the_last_point():
    log = RunLog()
    log.add_evaluation(step=10, tokens=100, loss=3.0, bits_per_byte=1.5)
    log.add_evaluation(step=20, tokens=200, loss=2.0, bits_per_byte=1.0)

    assert latest(log.validation) == {"step": 20, "tokens": 200, "loss": 2.0, "bits_per_byte": 1.0}


def test_a_record_says_a_schedule_once():
    log = RunLog()
    log.add_schedules(
        step=1,
        groups={
            "matrix": {"lr": 0.3, "mu": 0.5, "eps": 1e-8},
            "decay": {"lr": 0.1, "ema1": 1.0, "decay": 0.2, "eps": 1e-8},
            "no_decay": {"lr": 0.1, "ema1": 1.0, "decay": 0.0, "eps": 1e-8},
        },
    )
    log.add_schedules(
        step=2,
        groups={
            "matrix": {"lr": 0.15, "mu": 0.5, "eps": 1e-8},
            "decay": {"lr": 0.05, "ema1": 1 / 3, "decay": 0.1, "eps": 1e-8},
            "no_decay": {"lr": 0.05, "ema1": 1 / 3, "decay": 0.0, "eps": 1e-8},
        },
    )

    assert log.compact_schedules() == {
        "step": [1, 2],
        "matrix/lr": [0.3, 0.15],  # the groups differ: each under its name
        "decay/lr": [0.1, 0.05],
        "no_decay/lr": [0.1, 0.05],
        "matrix/mu": [0.5],  # one value: constant
        "decay/ema1": [1.0, 0.333333],  # six digits
        "no_decay/ema1": [1.0, 0.333333],
        "decay/decay": [0.2, 0.1],
        "no_decay/decay": [0.0],
        "eps": [1e-8],  # of every group
    }


def test_schedules_are_logged_at_both_ends_and_evenly_in_the_logarithm_between():
    steps = sorted(schedule_steps(5000))

    assert (steps[0], steps[-1]) == (1, 5000)
    assert len(steps) <= 40
    ratios = [later / earlier for earlier, later in itertools.pairwise(steps) if earlier > 20]
    assert max(ratios) < 1.3
    assert sorted(schedule_steps(3)) == [1, 2, 3]
    assert schedule_steps(1) == {1}


def test_a_series_that_an_earlier_version_began_keeps_its_points_at_their_steps():
    log = RunLog()
    old = {"step": [1, 2], "lr": [0.1, 0.2]}  # of the first group, under the scalar's own name
    log.load_state_dict(log.state_dict() | {"schedules": old}, device=torch.device("cpu"))

    log.add_schedules(step=4, groups={"decay": {"lr": 0.4}, "no_decay": {"lr": 0.4}})

    assert log.compact_schedules() == {
        "step": [1, 2, 4],
        "lr": [0.1, 0.2, None],
        "decay/lr": [None, None, 0.4],
        "no_decay/lr": [None, None, 0.4],
    }
