"""Which hyperparameters do families of optimizers share? Averages with a constant memory, and with a growing one."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from logclock.rules.averages import bias_corrections, check_bias_correction
from logclock.rules.slots import Delta, Ema, Kappa, NonNegative
from logclock.rules.spec import Coupling, Spec
from logclock.rules.state import State
from logclock.schedules import log_time_ema, value_at

__all__ = ["BiasCorrectedSpec", "LogTimeSpec"]

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
