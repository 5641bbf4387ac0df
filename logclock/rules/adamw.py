"""AdamW: Adam with weight decay that does not pass through the gradient."""

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
def adamw(param, grad, exp_avg, exp_avg_sq, *, lr, ema1, ema2, correction1, correction2, eps, decay):
    """One update; equation in AdamwSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    update = exp_avg / (sqrt(exp_avg_sq) * correction2 + eps)
    return param - lr * correction1 * update - decay * param, exp_avg, exp_avg_sq


@register("adamw")
@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamwSpec(Spec):
    """AdamW.

    With t = 1, 2, ..., all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        theta <- theta - lr(t) c1 m / (sqrt(v) c2 + eps) - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t) correct the bias of the averages, or 1 without
    correction. State: exp_avg, exp_avg_sq, shaped like the parameter.

    Args:
        lr: Peak learning rate, per update.
        ema1: 1 - beta1, the weight of the new gradient in m.
        ema2: 1 - beta2, the weight of the new squared gradient in v.
        eps: Added to the root.
        weight_decay: lambda(t).
        bias_correction: Whether the averages are corrected; needs constant ema1 and ema2.
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> round(AdamwSpec(lr=1e-3).scalars(1)["correction1"], 9)
        10.0

    References: Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019, arXiv:1711.05101. Equal to
        `torch.optim.AdamW` with its default options.
    """

    rule = adamw

    lr: float = 1e-3
    ema1: Slot = 0.1
    ema2: Slot = 0.001
    eps: float = 1e-8
    weight_decay: Slot = 0.01
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
