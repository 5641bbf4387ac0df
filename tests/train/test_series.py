import math

import torch

from logclock.train.series import RunLog, finite, latest


def add_steps(log, losses, norms):
    for loss, norm in zip(losses, norms, strict=True):
        log.add_step(torch.tensor(loss), torch.tensor(norm))


def test_a_point_holds_the_means_of_its_interval():
    log = RunLog()
    add_steps(log, [4.0, 2.0], [1.0, 0.5])

    log.add_scalars(step=2, scalars={"lr": 0.09, "ema1": 0.5})
    losses = log.close_interval(step=2, tokens=64, lr=0.1)

    assert losses == [4.0, 2.0]
    assert log.train == {"step": [2], "tokens": [64], "loss": [3.0], "lr": [0.1], "grad_norm": [0.75]}
    assert log.schedules == {"step": [2], "lr": [0.09], "ema1": [0.5]}


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

    log.add_scalars(step=1, scalars={"clip_snr": math.inf})
    losses = log.close_interval(step=1, tokens=1, lr=0.1)

    assert math.isnan(losses[0])
    assert (log.train["loss"], log.train["grad_norm"], log.schedules["clip_snr"]) == ([None], [None], [None])
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
    assert log.waiting_losses() == []
    add_steps(log, [4.0, 2.0], [1.0, 0.5])

    assert log.waiting_losses() == [4.0, 2.0]
    assert log.close_interval(step=2, tokens=2, lr=0.1) == [4.0, 2.0]


def test_evaluations_and_the_last_point():
    log = RunLog()
    log.add_evaluation(step=10, tokens=100, loss=3.0, bits_per_byte=1.5)
    log.add_evaluation(step=20, tokens=200, loss=2.0, bits_per_byte=1.0)

    assert latest(log.validation) == {"step": 20, "tokens": 200, "loss": 2.0, "bits_per_byte": 1.0}
