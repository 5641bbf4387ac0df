"""Which numbers of a run are kept, at which steps?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from logclock.optim import ScheduledOptimizer
from logclock.records.record import Series
from logclock.schedules import value_at

__all__ = ["RunLog", "StepNumbers", "finite", "latest", "schedule_steps", "schedules_of"]

TRAIN_COLUMNS = ("step", "tokens", "loss", "lr", "grad_norm")
VALIDATION_COLUMNS = ("step", "tokens", "loss", "bits_per_byte")

SCHEDULE_POINTS = 40
"""Enough to draw a schedule over a logarithmic axis; all but a learning rate that the loss decides follows from the
configuration, and that one stands in the training series at every point."""

SCHEDULE_DIGITS = 6
"""Significant digits of a schedule in a record."""

OTHER_WORDS = ("rate", "rate_before_decay", "lr_multiplier", "t")
"""Scalars of rules that say the learning rate or the step once more."""


class StepNumbers(NamedTuple):
    """Losses of consecutive steps, and the norms of their whole gradients before clipping."""

    losses: list[float]
    grad_norms: list[float]


class RunLog:
    """The series of one run, and the losses since the last point.

    Losses and gradient norms wait as tensors on their device, so that a step does not make the host wait for an
    accelerator; `close_interval` fetches those of an interval at once.
    """

    def __init__(self) -> None:
        self.train: Series = {name: [] for name in TRAIN_COLUMNS}
        self.validation: Series = {name: [] for name in VALIDATION_COLUMNS}
        self.schedules: Series = {"step": []}
        self._waiting: list[Tensor] = []

    def add_step(self, loss: Tensor, grad_norm: Tensor) -> None:
        """Note the loss and the gradient norm of one step."""
        self._waiting.append(torch.stack([loss, grad_norm]))

    def waiting(self) -> StepNumbers:
        """Return the numbers of the steps since the last point."""
        return StepNumbers(*torch.stack(self._waiting).T.tolist()) if self._waiting else StepNumbers([], [])

    def add_schedules(self, *, step: int, groups: Mapping[str, Mapping[str, float]]) -> None:
        """Add a point of the schedules, GROUP/NAME for every group and scalar."""
        point = {f"{group}/{name}": value for group, scalars in groups.items() for name, value in scalars.items()}
        num_before = len(self.schedules["step"])
        for name in point:  # not yet there only if a checkpoint of an earlier version began the series
            self.schedules.setdefault(name, [None] * num_before)
        _append(self.schedules, dict.fromkeys(self.schedules, math.nan) | {"step": step} | point)

    def compact_schedules(self) -> Series:
        """Return the schedules as a record has them: nothing twice, and one value for what does not change.

        NAME is a scalar of every group, GROUP/NAME of one group where they differ; a column with one value is constant.
        """
        columns = {name: column for name, column in self.schedules.items() if name != "step"}
        groups = {name.split("/")[0] for name in columns if "/" in name}
        compact: Series = {"step": list(self.schedules["step"])}
        for name, column in columns.items():
            scalar = name.partition("/")[2]
            is_shared = scalar not in columns and all(columns.get(f"{group}/{scalar}") == column for group in groups)
            rounded = [None if v is None else float(f"{v:.{SCHEDULE_DIGITS}g}") for v in column]
            is_constant = all(value == rounded[0] for value in rounded)
            compact[scalar if is_shared else name] = rounded[:1] if is_constant else rounded
        return compact

    def close_interval(self, *, step: int, tokens: int, lr: float, **readings: float) -> StepNumbers:
        """Add a point with the means since the last one, and return the numbers of its steps.

        Args:
            step: The latest step.
            tokens: Tokens seen.
            lr: The learning rate of the first parameter group at the latest update.
            **readings: Further columns, the same at every point.
        """
        numbers = self.waiting()
        self._waiting.clear()
        point = {
            "step": step,
            "tokens": tokens,
            "loss": sum(numbers.losses) / len(numbers.losses),
            "lr": lr,
            "grad_norm": sum(numbers.grad_norms) / len(numbers.grad_norms),
            **readings,
        }
        _append(self.train, point)
        return numbers

    def add_evaluation(self, *, step: int, tokens: int, loss: float, bits_per_byte: float | None) -> None:
        """Add a point of the validation series."""
        _append(self.validation, {"step": step, "tokens": tokens, "loss": loss, "bits_per_byte": bits_per_byte})

    def state_dict(self) -> dict[str, Any]:
        """Return everything, for a checkpoint; the values are exact."""
        return {
            "train": _copy(self.train),
            "validation": _copy(self.validation),
            "schedules": _copy(self.schedules),
            "waiting": torch.stack(self._waiting).cpu() if self._waiting else None,
        }

    def load_state_dict(self, state: dict[str, Any], *, device: torch.device) -> None:
        """Go on from the state of an interrupted run."""
        self.train, self.validation, self.schedules = state["train"], state["validation"], state["schedules"]
        self._waiting = [] if state["waiting"] is None else list(state["waiting"].to(device))


def schedule_steps(total_steps: int) -> frozenset[int]:
    """Return the steps at which schedules are logged: the first, the last, and others evenly in ln(step)."""
    last = SCHEDULE_POINTS - 1
    return frozenset(round(total_steps ** (i / last)) for i in range(SCHEDULE_POINTS))


def schedules_of(optimizer: ScheduledOptimizer, *, names: Sequence[str], step: int) -> dict[str, dict[str, float]]:
    """Return what each parameter group used at the latest update, by name: its learning rate, and its rule's scalars.

    Args:
        optimizer: After the update.
        names: What the groups are called.
        step: The update.
    """
    found = {}
    for name, group, scalars in zip(names, optimizer.param_groups, optimizer.current_scalars(), strict=True):
        lr = float(group["lr"]) * value_at(optimizer.spec(group).lr_schedule, step)
        found[name] = {"lr": lr} | {key: v for key, v in scalars.items() if key not in ("lr", *OTHER_WORDS)}
    return found


def finite(value: float | None) -> float | None:
    """Return the value, or None for what JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None


def latest(series: Series) -> dict[str, float | None]:
    """Return the last point of a series that has one."""
    return {name: column[-1] for name, column in series.items()}


def _copy(series: Series) -> Series:
    return {name: list(column) for name, column in series.items()}


def _append(series: Series, point: Mapping[str, float | None]) -> None:
    for name, value in point.items():
        series.setdefault(name, []).append(finite(value))
