import pytest
import torch

from logclock.train import timing
from logclock.train.timing import StepTimer


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets by hand."""

    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", clock)
    return clock


def make_step(timer, clock, *, model_seconds, optimizer_seconds):
    timer.step_begins()
    clock.now += model_seconds
    timer.optimizer_begins()
    clock.now += optimizer_seconds
    timer.step_ends()


def test_medians_are_over_steps_after_the_warm_up(clock):
    timer = StepTimer(torch.device("cpu"))
    for _ in range(5):
        make_step(timer, clock, model_seconds=100.0, optimizer_seconds=100.0)
    for model_seconds, optimizer_seconds in [(3.0, 1.0), (5.0, 2.0), (90.0, 4.0)]:
        make_step(timer, clock, model_seconds=model_seconds, optimizer_seconds=optimizer_seconds)

    assert list(timer.step_seconds) == [4.0, 7.0, 94.0]
    assert (timer.median_step_seconds(), timer.median_optimizer_seconds()) == (7.0, 2.0)


def test_what_happens_between_steps_is_not_counted(clock):
    timer = StepTimer(torch.device("cpu"))
    for _ in range(8):
        make_step(timer, clock, model_seconds=2.0, optimizer_seconds=1.0)
        timer.interval_ends()
        clock.now += 1000.0  # an evaluation

    assert set(timer.step_seconds) == {3.0}


def test_nothing_is_claimed_before_the_first_sample():
    timer = StepTimer(torch.device("cpu"))

    assert timer.median_step_seconds() is None
    assert timer.median_optimizer_seconds() is None


def test_samples_go_on_after_an_interruption(clock):
    before = StepTimer(torch.device("cpu"))
    for _ in range(7):
        make_step(before, clock, model_seconds=2.0, optimizer_seconds=1.0)
    after = StepTimer(torch.device("cpu"))
    after.load_state_dict(before.state_dict())

    assert list(after.step_seconds) == [3.0, 3.0]
    assert after.median_optimizer_seconds() == 1.0


def test_behind_the_host_a_sample_is_the_mean_of_an_interval(clock):
    timer = StepTimer(torch.device("mps"))  # only the name is used
    for _ in range(3):  # launches return at once; the host waits at the end of each interval of five steps
        for _ in range(5):
            make_step(timer, clock, model_seconds=0.0, optimizer_seconds=0.0)
        clock.now += 20.0
        timer.interval_ends()
        clock.now += 1000.0

    assert list(timer.step_seconds) == [4.0, 4.0]  # the first interval is warm-up
    assert timer.median_optimizer_seconds() is None
