"""What changes a run while it goes on: who sets the learning rate and the size of the batch, and from what?"""

import abc
import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from logclock.optim import AdaptiveWarmup, ScheduledOptimizer
from logclock.schedules import AdaptiveWarmupPlan, Schedule
from logclock.train.batch_plan import BatchPlan, MeasuredBatch, StagedBatch
from logclock.train.config import RunConfig
from logclock.train.noise import HalfBatches, MeanNoise, Noise
from logclock.train.series import finite

__all__ = ["BatchSize", "Controller", "Controllers", "LossWarmup", "Noise", "NoiseLog", "Progress", "ScheduledRate"]


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is once its update `step` is made."""

    step: int
    """The update, 1 at the first."""

    tokens: int
    """Tokens seen, those of this update included."""

    total_tokens: int
    """Of the whole run; with them it ends."""

    @property
    def is_last(self) -> bool:
        """Whether the run ends with this update."""
        return self.tokens >= self.total_tokens


class Controller(abc.ABC):
    """Something that sets a part of the next update from what the run has seen."""

    def before_step(self, progress: Progress) -> None:  # noqa: B027  a controller that only listens has nothing to set
        """Set what the update that leads to `progress` is made with."""

    def after_step(self, progress: Progress, *, loss: Tensor) -> None:  # noqa: B027
        """Take in what came out, after everything that reports the update."""

    def readings(self) -> dict[str, float]:
        """Return columns of the training series, the same names at every point."""
        return {}

    def metrics(self) -> dict[str, float | None]:
        """Return what the record says at the end."""
        return {}

    def provenance(self) -> dict[str, str | None]:
        """Return reasons for the record."""
        return {}

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what the next update depends on, for a checkpoint."""

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the state of an interrupted run."""


class ScheduledRate(Controller):
    """The learning rate as a function of the progress: s(t) times the peak, t in base batches.

    Args:
        optimizer: Whose groups it sets.
        schedule: s(t).
        batch: Whose factor may multiply the rate.
        base_tokens: Tokens of a base batch.
    """

    def __init__(
        self, optimizer: ScheduledOptimizer, schedule: Schedule, *, batch: "BatchSize", base_tokens: int
    ) -> None:
        self._optimizer, self._schedule, self._batch, self._base_tokens = optimizer, schedule, batch, base_tokens

    def before_step(self, progress: Progress) -> None:
        """Set the learning rate of every group."""
        factor = self._schedule(progress.tokens // self._base_tokens) * self._batch.lr_factor
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor

    def state_dict(self) -> dict[str, Any]:
        """Nothing: it follows from the progress."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over nothing."""


class LossWarmup(Controller):
    """The learning rate as the loss allows it, until the adaptive warm-up has ended.

    Args:
        warmup: The scheduler, which has set the rate of the first update.
    """

    def __init__(self, warmup: AdaptiveWarmup) -> None:
        self._warmup = warmup

    def after_step(self, progress: Progress, *, loss: Tensor) -> None:
        """Set the learning rate of the next update."""
        self._warmup.step(loss)

    def metrics(self) -> dict[str, float | None]:
        """When the warm-up ended, and at which average loss; None if it did not."""
        step, loss = self._warmup.handover_step, self._warmup.average_loss
        return {"handover_step": step, "handover_loss": None if step is None else finite(loss)}

    def provenance(self) -> dict[str, str | None]:
        """Why it ended."""
        return {"handover_reason": self._warmup.handover_reason}

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's."""
        state: dict[str, Any] = self._warmup.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hand it to the scheduler."""
        self._warmup.load_state_dict(state)


class NoiseLog(Controller):
    """The noise scale of the gradient beside the losses: a column of the training series, and what the record says.

    Args:
        sequence_length: Tokens of a sequence.
        log_interval: Updates of a point of the series.
    """

    def __init__(self, *, sequence_length: int, log_interval: int) -> None:
        self._sequence_length, self._log_interval = sequence_length, log_interval
        self._waiting = MeanNoise()
        self._halves = (MeanNoise(), MeanNoise())  # of the run's tokens
        self._latest: Noise | None = None

    def take(self, noise: Noise) -> None:
        """Take in what the halves of a batch say, before the update is made."""
        self._waiting.add(noise)
        self._latest = noise

    def after_step(self, progress: Progress, *, loss: Tensor) -> None:
        """Count the update to its half of the run, and begin a new point where one has ended."""
        if self._latest is not None:
            self._halves[2 * progress.tokens > progress.total_tokens].add(self._latest)
        if progress.step % self._log_interval == 0:
            self._waiting.clear()

    def readings(self) -> dict[str, float]:
        """B_noise in sequences, of the updates since the last point."""
        return {"noise_scale": self._waiting.mean.scale}

    def metrics(self) -> dict[str, float | None]:
        """B_noise in tokens over either half of the run; None where no signal was seen."""
        first, second = (finite(self._sequence_length * half.mean.scale) for half in self._halves)
        return {"noise_tokens_first_half": first, "noise_tokens": second}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums."""
        return {
            "waiting": self._waiting.state_dict(),
            "halves": [half.state_dict() for half in self._halves],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them."""
        self._waiting.load_state_dict(state["waiting"])
        for half, own in zip(self._halves, state["halves"], strict=True):
            half.load_state_dict(own)


class BatchSize(Controller):
    """How many base batches an update takes, by a plan; one without a plan.

    Args:
        plan: The plan.
        batch_size: Sequences of a base batch.
        params: Whose gradients are measured.
        take: Told what the halves of every batch say, with or without a plan; nobody if None.
    """

    def __init__(
        self,
        plan: BatchPlan | None,
        *,
        batch_size: int,
        params: Iterable[Tensor],
        take: Callable[[Noise], None] | None = None,
    ) -> None:
        self.plan, self._batch_size, self._take = plan, batch_size, take
        self.factor = plan.factors[0] if isinstance(plan, StagedBatch) else 1
        self.num_seen = 0  # base batches
        self.num_present: int | None = None  # of this update, fewer than the factor at the end of a run
        self._noise = MeanNoise()
        self._scale = math.nan  # B_noise at the latest test
        is_measured = isinstance(plan, MeasuredBatch) or take is not None
        self._halves = HalfBatches(list(params)) if is_measured else None

    @property
    def lr_factor(self) -> float:
        """The factor on the learning rate."""
        return 1.0 if self.plan is None else self.plan.lr_factor(self.factor)

    def parts(self, num_batches: int, accumulation_steps: int) -> int:
        """Return into how many parts a batch of some base batches is cut; an even number where halves are measured."""
        parts = num_batches * accumulation_steps
        return parts if self._halves is None else self._halves.parts(parts)

    def after_part(self, number: int, parts: int) -> None:
        """Look at the gradient summed up so far, after part `number` of `parts`."""
        if self._halves is None:
            return
        size = self._batch_size * (self.num_present or self.factor)
        noise = self._halves.after_part(number, parts, batch_size=size)
        if noise is None:
            return
        if isinstance(self.plan, MeasuredBatch):
            self._noise.add(noise)
        if self._take is not None:
            self._take(noise)

    def after_step(self, progress: Progress, *, loss: Tensor) -> None:
        """Let the batch of the next update grow, if the plan says so."""
        if isinstance(self.plan, StagedBatch):
            self.factor = self.plan.factor_at(progress.tokens / progress.total_tokens)
        elif isinstance(self.plan, MeasuredBatch) and self._noise.count >= self.plan.interval:
            noise = self._noise.mean
            self._scale = noise.scale
            self._noise.clear()
            self.factor = self._grown(noise.wanted(self.plan), self.plan)

    def _grown(self, wanted: float, plan: MeasuredBatch) -> int:
        """Return the factor after a test: up to what it asks for, within the plan's bounds, never less than before."""
        if math.isnan(wanted):  # a gradient that is not finite; the divergence monitor ends the run
            return self.factor
        most = int(min(plan.max_factor, max(self.factor * plan.growth, self.factor + 1)))
        asked = most if wanted >= most * self._batch_size else math.ceil(wanted / self._batch_size)
        return max(self.factor, asked)

    def readings(self) -> dict[str, float]:
        """The batch in sequences, and B_noise at the latest test."""
        if self.plan is None:
            return {}
        found = {"batch_size": float(self._batch_size * self.factor)}
        return found | ({"noise_scale": self._scale} if isinstance(self.plan, MeasuredBatch) else {})

    def metrics(self) -> dict[str, float | None]:
        """The last batch in sequences."""
        return {} if self.plan is None else {"final_batch_size": float(self._batch_size * self.factor)}

    def state_dict(self) -> dict[str, Any]:
        """Return the factor, the base batches seen and the sums of an interval that has not ended."""
        return {"factor": self.factor, "num_seen": self.num_seen, **self._noise.state_dict(), "scale": self._scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self.factor, self.num_seen, self._scale = state["factor"], state["num_seen"], state["scale"]
        self._noise.load_state_dict(state)


class Controllers:
    """All controllers of a run, and how far it is.

    Args:
        config: The run.
        optimizer: Whose learning rate is set.
        params: Whose gradients are measured.
    """

    def __init__(self, config: RunConfig, optimizer: ScheduledOptimizer, *, params: Iterable[Tensor]) -> None:
        self._config = config
        size = config.data.batch_size
        noise = (
            NoiseLog(sequence_length=config.data.sequence_length, log_interval=config.log_interval)
            if config.measures_noise
            else None
        )
        self.batch = BatchSize(
            config.batch_plan, batch_size=size, params=params, take=None if noise is None else noise.take
        )
        self._by_name: dict[str, Controller] = {"batch": self.batch}
        if isinstance(config.lr_schedule, AdaptiveWarmupPlan):
            warmup = AdaptiveWarmup(optimizer, config.total_steps, plan=config.lr_schedule)
            self._by_name["warmup"] = LossWarmup(warmup)
        else:
            self._by_name["rate"] = ScheduledRate(
                optimizer, config.lr_schedule, batch=self.batch, base_tokens=config.tokens_per_step
            )
        if noise is not None:  # after the batch: its column of this name is of every point, not of the latest test
            self._by_name["noise"] = noise

    def begin(self, step: int) -> tuple[Progress, range]:
        """Set what an update is made with; return where it leads, and the numbers of its base batches, from 1 on."""
        first, total = self.batch.num_seen + 1, self._config.total_steps
        numbers = range(first, min(first + self.batch.factor, total + 1))
        self.batch.num_seen, self.batch.num_present = numbers[-1], len(numbers)
        per_batch = self._config.tokens_per_step
        progress = Progress(step, tokens=numbers[-1] * per_batch, total_tokens=total * per_batch)
        for controller in self._by_name.values():
            controller.before_step(progress)
        return progress, numbers

    def end(self, progress: Progress, *, loss: Tensor) -> None:
        """Tell what came out of the update, after everything that reports it."""
        for controller in self._by_name.values():
            controller.after_step(progress, loss=loss)

    def readings(self) -> dict[str, float]:
        """Return the columns that controllers add to the training series."""
        return _united(controller.readings() for controller in self._by_name.values())

    def metrics(self) -> dict[str, float | None]:
        """Return what the record says at the end."""
        return _united(controller.metrics() for controller in self._by_name.values())

    def provenance(self) -> dict[str, str | None]:
        """Return reasons for the record."""
        return _united(controller.provenance() for controller in self._by_name.values())

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each, for a checkpoint."""
        return {name: controller.state_dict() for name, controller in self._by_name.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the states of an interrupted run."""
        for name, controller in self._by_name.items():
            controller.load_state_dict(state[name])


def _united(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


Observe = Callable[[int, int], None]
"""Called with (number, parts) after each part of a batch."""
