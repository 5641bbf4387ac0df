import math

import pytest

from logclock.train.divergence import DivergenceMonitor


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_run_at_once(loss):
    reason = DivergenceMonitor().check_all(8, [5.0, 5.0, loss, 5.0])

    assert reason == f"the training loss was {loss} at step 10"


def test_a_hundred_steps_far_above_the_start_end_the_run():
    monitor = DivergenceMonitor()

    assert monitor.check_all(1, [5.0] + [6.5] * 99) is None
    reason = monitor.check(101, 6.5)

    assert reason is not None
    assert "more than 1 nat above its first value 5 for 100 steps, until step 101" in reason


def test_a_spike_shorter_than_that_is_forgiven():
    monitor = DivergenceMonitor()

    assert monitor.check_all(1, [5.0] + [9.0] * 99 + [5.9] + [9.0] * 99) is None


def test_a_loss_at_the_bound_is_not_above_it():
    assert DivergenceMonitor().check_all(1, [5.0] + [6.0] * 500) is None


def test_a_gradient_that_is_not_finite_loses_the_run_though_the_loss_is_finite():
    """Lion's sign turns NaN into no step at all, so that the loss goes on as if nothing had happened."""
    reason = DivergenceMonitor().check_all(11, [5.0, 4.9, 4.8], [1.0, float("nan"), 1.0])

    assert reason == "the norm of the gradient was nan at step 12"
