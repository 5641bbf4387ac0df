"""Which hyperparameters do families of optimizers share? Those of averages, and of Gram matrices."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from logclock.rules.averages import bias_corrections, check_bias_correction, total_weight
from logclock.rules.slots import Count, Delta, Ema, Fraction, Kappa, NonNegative, NonNegativeSlot
from logclock.rules.spec import Coupling, Spec
from logclock.rules.state import State
from logclock.schedules import log_time_ema, value_at

__all__ = ["BiasCorrectedSpec", "EigenbasisSpec", "GramSpec", "LogTimeSpec", "RotatedAdamSpec", "gram_states"]

MOMENTS: Mapping[str, State] = {"exp_avg": State(weight="ema1"), "exp_avg_sq": State(weight="ema2")}
"""The two averages of Adam and everything that follows it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BiasCorrectedSpec(Spec):
    """Abstract: Adam's family, whose averages start at zero and are corrected for it.

    Its stages may read `correction1` = 1 / (1 - beta1^t) and `correction2` = 1 / sqrt(1 - beta2^t), both 1 without
    correction.
    """

    states: ClassVar[Mapping[str, State]] = MOMENTS

    ema1: Ema = 0.1
    """1 - beta1, the weight of the new gradient in m."""

    ema2: Ema = 0.001
    """1 - beta2, the weight of the new squared gradient in v."""

    eps: NonNegative = 1e-8
    """Added to the root."""

    bias_correction: bool = True
    """Whether m and v are corrected; needs constant ema1 and ema2."""

    def validate(self) -> None:
        """Raise a ValueError for a correction of averages that are scheduled."""
        check_bias_correction(self)

    def derived(self, t: float) -> dict[str, Any]:
        """Return the corrections."""
        corrections = bias_corrections(self.ema1, self.ema2, t) if self.bias_correction else (1.0, 1.0)
        return {"correction1": corrections[0], "correction2": corrections[1]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogTimeSpec(Spec):
    """Abstract: ADANA's family, whose averages remember about t / delta updates, with a gain that kappa damps."""

    states: ClassVar[Mapping[str, State]] = MOMENTS

    kappa: Kappa = 0.85
    """Damping exponent of the gain; 0.85 is the ADANA paper's value for text, [0.75, 0.9] its usable range."""

    delta: Delta = 8.0
    """Log-time offset in updates; memory grows as t / delta."""

    eps: NonNegative = 1e-8
    """Added to the root."""

    ema1: Ema | None = None
    """Weight of the new gradient in m; delta / (delta + t) if None."""

    ema2: Ema | None = None
    """Weight of the new squared gradient in v; delta / (delta + t) if None."""

    decay_coupling: Coupling = "independent"

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weights of new samples."""
        log_time = log_time_ema(self.delta)
        return {
            "ema1": value_at(log_time if self.ema1 is None else self.ema1, t),
            "ema2": value_at(log_time if self.ema2 is None else self.ema2, t),
        }


def gram_states(what: str) -> dict[str, State]:
    """Return the states of Gram matrices, and of what is decomposed from them, `row_WHAT` and `col_WHAT`."""
    weights = {"gram": "gram_ema", what: None}
    return {
        f"{side}_{name}": State(
            shape=(f"{side}s", f"{side}s"), weight=weight, place="owner", empty_above="max_basis_size"
        )
        for name, weight in weights.items()
        for side in ("row", "col")
    }


EIGENVALUES: Mapping[str, State] = {
    f"{side}_eigenvalues": State(shape=(f"{side}s",), place="owner", empty_above="max_basis_size")
    for side in ("row", "col")
}
"""Of the Gram matrices as their bases saw them when they were made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GramSpec(Spec):
    """Abstract: Shampoo's family, for matrices, which decomposes the Gram matrices of gradients every few updates.

    Its stages may read `is_first` and `refreshes_basis`, whether what is decomposed is due after this update.
    """

    matrices_only: ClassVar[bool] = True

    refresh_interval: Count = 10
    """Updates from one decomposition to the next."""

    max_basis_size: Count = 10000
    """Longest side that has a Gram matrix."""

    spread_refreshes: bool = dataclasses.field(default=False, metadata={"omit_default": True})
    """Whether matrices take turns, so that every update decomposes equally many, instead of all in the same one."""

    @property
    def num_turns(self) -> int:
        """How many turns there are."""
        return self.refresh_interval if self.spread_refreshes else 1

    def due(self, t: float, turn: int) -> dict[str, Any]:
        """Return whether a matrix is decomposed after update t; the first time is its first call, whatever its turn."""
        return {"refreshes_basis": t > 1 and (t - 1 + turn) % self.refresh_interval == 0}

    def derived(self, t: float) -> dict[str, Any]:
        """Return whether it is the first call."""
        return {"is_first": t == 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EigenbasisSpec(GramSpec):
    """Abstract: SOAP's family, whose updates are made in a basis. The first call makes the basis, and no update."""

    weight_decay: NonNegativeSlot = 0.01

    def makes_update(self, t: float) -> bool:
        """Return whether there is a basis."""
        return t > 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotatedAdamSpec(EigenbasisSpec):
    """Abstract: Adam in a basis.

    Its stages may read Adam's `correction` for the updates made, sqrt(1 - beta2^k) / (1 - beta1^k) with k = t - 1.
    """

    states: ClassVar[Mapping[str, State]] = {**MOMENTS, **gram_states("basis")}

    ema1: Fraction = 0.05
    """1 - beta1."""

    ema2: Fraction = 0.05
    """1 - beta2."""

    gram_ema: Ema | None = None
    """Weight of the new Gram matrices; ema2 if None."""

    eps: NonNegative = 1e-8
    """Added to the root."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return what depends on the number of updates made, and the weight of the Gram matrices."""
        num_updates = t - 1
        weights = 0.0 if num_updates == 0 else total_weight(self.ema2, num_updates) ** 0.5
        return super().derived(t) | {
            "gram_ema": value_at(self.ema2 if self.gram_ema is None else self.gram_ema, t),
            "correction": 0.0 if num_updates == 0 else weights / total_weight(self.ema1, num_updates),
        }
