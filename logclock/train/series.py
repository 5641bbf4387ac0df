"""Which numbers of a run are kept, at which steps?"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from logclock.records.record import Series

__all__ = ["RunLog", "finite", "latest"]

TRAIN_COLUMNS = ("step", "tokens", "loss", "lr", "grad_norm")
VALIDATION_COLUMNS = ("step", "tokens", "loss", "bits_per_byte")


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

    def waiting_losses(self) -> list[float]:
        """Return the losses of the steps since the last point."""
        losses: list[float] = torch.stack(self._waiting)[:, 0].tolist() if self._waiting else []
        return losses

    def add_scalars(self, *, step: int, scalars: dict[str, Any]) -> None:
        """Add a point of the schedules: what the rule of the first parameter group used at `step`."""
        _append(self.schedules, {"step": step} | {name: float(value) for name, value in scalars.items()})

    def close_interval(self, *, step: int, tokens: int, lr: float) -> list[float]:
        """Add a point with the means since the last one, and return the losses of its steps.

        Args:
            step: The latest step.
            tokens: Tokens seen.
            lr: The learning rate of the first parameter group at the latest update.
        """
        losses, norms = torch.stack(self._waiting).T.tolist()
        self._waiting.clear()
        point = {
            "step": step,
            "tokens": tokens,
            "loss": sum(losses) / len(losses),
            "lr": lr,
            "grad_norm": sum(norms) / len(norms),
        }
        _append(self.train, point)
        result: list[float] = losses
        return result

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
