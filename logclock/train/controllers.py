"""What changes a run while it goes on: who sets the learning rate and the size of the batch, and from what?"""

import abc
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from logclock.optim import AdaptiveWarmup, ScheduledOptimizer
from logclock.schedules import AdaptiveWarmupPlan, Schedule
from logclock.train.batch_plan import BatchPlan, MeasuredBatch, StagedBatch
from logclock.train.config import RunConfig
from logclock.train.series import finite

__all__ = ["BatchSize", "Controller", "Controllers", "LossWarmup", "Noise", "Progress", "ScheduledRate"]


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


@dataclasses.dataclass(frozen=True)
class Noise:
    """What the gradients of the halves of a batch of b sequences say, as means over updates."""

    trace: float
    """Of the covariance of the gradient of one sequence: b |g1 - g2|^2 / 4."""

    along: float
    """Variance of the product of the gradient of one sequence with g: b (|g1|^2 - |g2|^2)^2 / 16."""

    square: float
    """|g|^2, which the noise makes larger than that of the true gradient."""

    product: float
    """<g1, g2>, whose mean is the square of the true gradient."""

    @classmethod
    def of(cls, first: Sequence[Tensor], second: Sequence[Tensor], *, batch_size: int) -> "Noise":
        """Return what two halves say, each the mean gradient over half of the batch, tensor by tensor."""
        one, two, product = _dot(first, first), _dot(second, second), _dot(first, second)
        return cls(
            trace=batch_size * (one + two - 2 * product) / 4,
            along=batch_size * (one - two) ** 2 / 16,
            square=(one + two + 2 * product) / 4,
            product=product,
        )

    @property
    def scale(self) -> float:
        """B_noise in sequences: the batch at which noise and signal are equal; inf where no signal is seen."""
        return self.trace / self.product if self.product > 0 else math.inf

    def wanted(self, plan: MeasuredBatch) -> float:
        """Return the batch in sequences that a test asks for; nan where a gradient was not finite."""
        if not math.isfinite(self.trace):
            return math.nan
        if plan.test == "noise_scale":
            return plan.noise_share * self.scale
        if not self.square > 0:
            return math.inf
        by_norm = self.trace / (plan.eta**2 * self.square)
        by_product = self.along / (plan.theta**2 * self.square**2)
        across = (self.trace - self.along / self.square) / (plan.nu**2 * self.square)
        return {"norm": by_norm, "inner_product": by_product, "augmented": max(by_product, across)}[plan.test]


class BatchSize(Controller):
    """How many base batches an update takes, by a plan; one without a plan.

    Args:
        plan: The plan.
        batch_size: Sequences of a base batch.
        params: Whose gradients are measured.
    """

    def __init__(self, plan: BatchPlan | None, *, batch_size: int, params: Iterable[Tensor]) -> None:
        self.plan, self._batch_size, self._params = plan, batch_size, list(params)
        self.factor = plan.factors[0] if isinstance(plan, StagedBatch) else 1
        self.num_seen = 0  # base batches
        self._sums = [0.0, 0.0, 0.0, 0.0]
        self._count = 0
        self._scale = math.nan  # B_noise at the latest test
        self._half: list[tuple[Tensor, Tensor]] = []  # a parameter's tensor and its gradient after half of the batch

    @property
    def lr_factor(self) -> float:
        """The factor on the learning rate."""
        return 1.0 if self.plan is None else self.plan.lr_factor(self.factor)

    def parts(self, num_batches: int, accumulation_steps: int) -> int:
        """Return into how many parts a batch of some base batches is cut; an even number where halves are measured."""
        parts = num_batches * accumulation_steps
        return 2 * parts if isinstance(self.plan, MeasuredBatch) and parts % 2 else parts

    def after_part(self, number: int, parts: int) -> None:
        """Look at the gradient summed up so far, after part `number` of `parts`."""
        if not isinstance(self.plan, MeasuredBatch):
            return
        if 2 * number == parts:
            self._half = [(param, param.grad.clone()) for param in self._params if param.grad is not None]
        elif number == parts:  # the gradient is the mean of the halves', and half of the first one's was kept
            first = [2 * half for _, half in self._half]
            second = [2 * (param.grad - half) for param, half in self._half if param.grad is not None]
            self._half = []
            noise = Noise.of(first, second, batch_size=self._batch_size * self.factor)
            self._sums = [a + b for a, b in zip(self._sums, dataclasses.astuple(noise), strict=True)]
            self._count += 1

    def after_step(self, progress: Progress, *, loss: Tensor) -> None:
        """Let the batch of the next update grow, if the plan says so."""
        if isinstance(self.plan, StagedBatch):
            self.factor = self.plan.factor_at(progress.tokens / progress.total_tokens)
        elif isinstance(self.plan, MeasuredBatch) and self._count >= self.plan.interval:
            noise = Noise(*(total / self._count for total in self._sums))
            self._scale, self._sums, self._count = noise.scale, [0.0] * 4, 0
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
        return {
            "factor": self.factor,
            "num_seen": self.num_seen,
            "sums": list(self._sums),
            "count": self._count,
            "scale": self._scale,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self.factor, self.num_seen = state["factor"], state["num_seen"]
        self._sums, self._count, self._scale = list(state["sums"]), state["count"], state["scale"]


class Controllers:
    """All controllers of a run, and how far it is.

    Args:
        config: The run.
        optimizer: Whose learning rate is set.
        params: Whose gradients are measured.
    """

    def __init__(self, config: RunConfig, optimizer: ScheduledOptimizer, *, params: Iterable[Tensor]) -> None:
        self._config = config
        self.batch = BatchSize(config.batch_plan, batch_size=config.data.batch_size, params=params)
        self._by_name: dict[str, Controller] = {"batch": self.batch}
        if isinstance(config.lr_schedule, AdaptiveWarmupPlan):
            warmup = AdaptiveWarmup(optimizer, config.total_steps, plan=config.lr_schedule)
            self._by_name["warmup"] = LossWarmup(warmup)
        else:
            self._by_name["rate"] = ScheduledRate(
                optimizer, config.lr_schedule, batch=self.batch, base_tokens=config.tokens_per_step
            )

    def begin(self, step: int) -> tuple[Progress, range]:
        """Set what an update is made with; return where it leads, and the numbers of its base batches, from 1 on."""
        first, total = self.batch.num_seen + 1, self._config.total_steps
        numbers = range(first, min(first + self.batch.factor, total + 1))
        self.batch.num_seen = numbers[-1]
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


def _dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Return the product over all tensors at once, so that covariances between tensors count."""
    return math.fsum(
        torch.stack([(a.double() * b.double()).sum() for a, b in zip(first, second, strict=True)]).tolist()
    )


Observe = Callable[[int, int], None]
"""Called with (number, parts) after each part of a batch."""
