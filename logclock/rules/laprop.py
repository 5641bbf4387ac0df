"""LaProp: gradients are normalised first and averaged afterwards."""

import dataclasses
from typing import Any

from logclock.rules.ops import sqrt
from logclock.rules.rule import elementwise
from logclock.rules.spec import (
    Coupling,
    DecayOrder,
    Spec,
    bias_corrections,
    check_bias_correction,
    check_slots,
    lr_and_decay,
    register,
)
from logclock.schedules import Slot, value_at


@elementwise
def laprop(param, grad, exp_avg, exp_avg_sq, *, lr, ema1, ema2, correction1, correction2, eps, decay):
    """One update; equation in LapropSpec."""
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    normalized = grad / (sqrt(exp_avg_sq) * correction2 + eps)
    exp_avg = exp_avg + ema1 * (normalized - exp_avg)
    return param - lr * correction1 * exp_avg - decay * param, exp_avg, exp_avg_sq


@register("laprop")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LapropSpec(Spec):
    """LaProp: Adam with the order of averaging and normalising exchanged.

    With t = 1, 2, ..., all elementwise:
        v <- v + ema2 (g^2 - v)
        m <- m + ema1 (g / (sqrt(v) c2 + eps) - m)
        theta <- theta - lr(t) c1 m - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t) correct the bias of the averages, or 1 without
    correction. Each gradient is divided by the v of its own time, so no update exceeds 1 / sqrt(ema2),
    whatever ema1 is. State: exp_avg, exp_avg_sq, shaped like the parameter.

    Args:
        lr: Peak learning rate, per update.
        ema1: 1 - beta1, the weight of the new normalised gradient in m.
        ema2: 1 - beta2, the weight of the new squared gradient in v.
        eps: Added to the corrected root; tiny, because it enters every term of the average.
        weight_decay: lambda(t).
        bias_correction: Whether the averages are corrected; needs constant ema1 and ema2.
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> round(LapropSpec().scalars(1)["correction1"], 9)
        10.0

    Deviations: the learning rate multiplies the average; other code averages lr(t) times the normalised gradient, which
        is the same while lr is constant.
    References: Ziyin et al. 2020, arXiv:2002.04839.
    """

    rule = laprop

    lr: float = 4e-4
    ema1: Slot = 0.1
    ema2: Slot = 0.001
    eps: float = 1e-15
    weight_decay: Slot = 0.0
    bias_correction: bool = True
    decay_coupling: Coupling = "coupled"
    decay_order: DecayOrder = "before"
    lr_schedule: Slot = 1.0

    def __post_init__(self) -> None:
        check_slots(self)
        check_bias_correction(self)

    def scalars(self, t: float, lr: Any = None) -> dict[str, Any]:
        """Return the scalars of update t."""
        lr, decay = lr_and_decay(self, t, lr)
        correction1, correction2 = bias_corrections(self, t)
        return {
            "lr": lr,
            "ema1": value_at(self.ema1, t),
            "ema2": value_at(self.ema2, t),
            "correction1": correction1,
            "correction2": correction2,
            "eps": self.eps,
            "decay": decay,
        }
