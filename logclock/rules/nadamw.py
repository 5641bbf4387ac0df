"""NAdamW: AdamW whose momentum looks one gradient ahead, in Nesterov's way."""

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
    total_weight,
)
from logclock.schedules import Slot, value_at


@elementwise
def nadamw(param, grad, exp_avg, exp_avg_sq, *, lr, ema1, ema2, grad_weight, momentum_weight, correction2, eps, decay):
    """One update; equation in NadamwSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    ahead = momentum_weight * exp_avg + grad_weight * grad
    update = ahead / (sqrt(exp_avg_sq) * correction2 + eps)
    return param - lr * update - decay * param, exp_avg, exp_avg_sq


@register("nadamw")
@dataclasses.dataclass(frozen=True, kw_only=True)
class NadamwSpec(Spec):
    """NAdamW: AdamW with Nesterov's look-ahead in place of the average.

    With t = 1, 2, ..., beta1 = 1 - ema1 and beta2 = 1 - ema2, all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        n = beta1 m / (1 - beta1^(t+1)) + ema1 g / (1 - beta1^t)
        theta <- theta - lr(t) n / (sqrt(v) c2 + eps) - decay theta
    where c2 = 1 / sqrt(1 - beta2^t). Without bias correction n = beta1 m + ema1 g and c2 = 1. State: exp_avg,
    exp_avg_sq, shaped like the parameter.

    Args:
        lr: Peak learning rate, per update.
        ema1: 1 - beta1, the weight of the new gradient in m and, once more, in the look-ahead.
        ema2: 1 - beta2, the weight of the new squared gradient in v.
        eps: Added to the root.
        weight_decay: lambda(t).
        bias_correction: Whether the averages are corrected; needs constant ema1 and ema2.
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> round(NadamwSpec(lr=1e-3).scalars(1)["momentum_weight"], 4)
        4.7368

    Deviations: `torch.optim.NAdam` is another rule; it moves beta1 along a schedule of its own.
    References: Dozat 2016, Incorporating Nesterov momentum into Adam; Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    rule = nadamw

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
        ema1 = value_at(self.ema1, t)
        correction1, correction2 = bias_corrections(self, t)
        correction_ahead = 1 / total_weight(ema1, t + 1) if self.bias_correction else 1.0
        return {
            "lr": lr,
            "ema1": ema1,
            "ema2": value_at(self.ema2, t),
            "grad_weight": ema1 * correction1,
            "momentum_weight": (1 - ema1) * correction_ahead,
            "correction2": correction2,
            "eps": self.eps,
            "decay": decay,
        }
