"""How long do a step and the optimizer's part of it take, measured without slowing either down?"""

import statistics
import time
from collections import deque
from typing import Any

import torch

__all__ = ["StepTimer"]

WARMUP_STEPS = 5  # first calls allocate state, fill caches and compile
KEPT_SAMPLES = 2000


class StepTimer:
    """Collects durations of steps; evaluation, checkpoints and logging lie outside the marks.

    On a CPU every step is timed by the clock. Accelerators run behind the host, and a clock around a call would time
    its launch, so there a sample is the mean over a logging interval, which ends where the host waits for the losses
    anyway, and the optimizer is timed by CUDA events. On mps the optimizer is not timed.

    Args:
        device: Where the run computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.step_seconds: deque[float] = deque(maxlen=KEPT_SAMPLES)
        self.optimizer_seconds: deque[float] = deque(maxlen=KEPT_SAMPLES)
        self._steps_seen = 0
        self._steps_in_interval = 0
        self._step_began = self._optimizer_began = self._interval_began = 0.0
        self._events: list[tuple[Any, Any]] = []

    def step_begins(self) -> None:
        """Mark the start of a step, before its data are read."""
        self._step_began = time.perf_counter()
        if self._steps_in_interval == 0:
            self._interval_began = self._step_began

    def optimizer_begins(self) -> None:
        """Mark the start of the optimizer's part."""
        if self.device.type == "cuda":
            self._events.append((_cuda_event(), _cuda_event()))
            self._events[-1][0].record()
        else:
            self._optimizer_began = time.perf_counter()

    def step_ends(self) -> None:
        """Mark the end of the optimizer's part, with which a step ends."""
        self._steps_seen += 1
        self._steps_in_interval += 1
        if self.device.type == "cuda":
            self._events[-1][1].record()
        elif self.device.type == "cpu" and self._steps_seen > WARMUP_STEPS:
            now = time.perf_counter()
            self.step_seconds.append(now - self._step_began)
            self.optimizer_seconds.append(now - self._optimizer_began)

    def interval_ends(self) -> None:
        """Mark that the host has just waited for all steps so far."""
        is_warm = self._steps_seen - self._steps_in_interval >= WARMUP_STEPS
        if self.device.type != "cpu" and self._steps_in_interval and is_warm:
            self.step_seconds.append((time.perf_counter() - self._interval_began) / self._steps_in_interval)
            self.optimizer_seconds.extend(start.elapsed_time(end) / 1000 for start, end in self._events)
        self._events.clear()
        self._steps_in_interval = 0

    def median_step_seconds(self) -> float | None:
        """Return the median over the latest samples, or None before the first."""
        return statistics.median(self.step_seconds) if self.step_seconds else None

    def median_optimizer_seconds(self) -> float | None:
        """Return the median over the latest samples, or None if there are none."""
        return statistics.median(self.optimizer_seconds) if self.optimizer_seconds else None

    def state_dict(self) -> dict[str, list[float]]:
        """Return the samples, for a checkpoint."""
        return {"step_seconds": list(self.step_seconds), "optimizer_seconds": list(self.optimizer_seconds)}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        """Go on from the samples of an interrupted run."""
        self.step_seconds.extend(state["step_seconds"])
        self.optimizer_seconds.extend(state["optimizer_seconds"])


def _cuda_event() -> Any:
    event: Any = torch.cuda.Event
    return event(enable_timing=True)
