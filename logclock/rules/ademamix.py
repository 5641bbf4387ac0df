"""AdEMAMix: AdamW with a second, slow average of the gradient added to the first."""

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
from logclock.schedules import Schedule, Slot, check, value_at


@elementwise
def ademamix(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    exp_avg_slow,
    *,
    lr,
    ema1,
    ema2,
    ema_slow,
    gain,
    correction1,
    correction2,
    eps,
    decay,
):
    """One update; equation in AdemamixSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    exp_avg_slow = exp_avg_slow + ema_slow * (grad - exp_avg_slow)
    update = (correction1 * exp_avg + gain * exp_avg_slow) / (sqrt(exp_avg_sq) * correction2 + eps)
    return param - lr * update - decay * param, exp_avg, exp_avg_sq, exp_avg_slow


@register("ademamix")
@dataclasses.dataclass(frozen=True, kw_only=True)
class AdemamixSpec(Spec):
    """AdEMAMix: AdamW's update from a mixture of a fast and a slow average.

    With t = 1, 2, ..., all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        n <- n + ema_slow(t) (g - n)
        theta <- theta - lr(t) (c1 m + gain(t) n) / (sqrt(v) c2 + eps) - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t) correct the bias of m and v, or 1 without correction.
    The slow average n has no correction. State: exp_avg, exp_avg_sq, exp_avg_slow, shaped like the parameter.

    Args:
        lr: Peak learning rate, per update.
        ema1: 1 - beta1, the weight of the new gradient in m.
        ema2: 1 - beta2, the weight of the new squared gradient in v.
        ema_slow: 1 - beta3, the weight of the new gradient in n; the paper warms it up with
            `HalfLifeRamp(start=ema1, end=1 - beta3, steps=T)`.
        gain: Weight of n (the paper's alpha, 5 to 10); the paper warms it up with
            `LinearRamp(start=0, end=alpha, steps=T)`.
        eps: Added to the root.
        weight_decay: lambda(t).
        bias_correction: Whether m and v are corrected; needs constant ema1 and ema2.
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> from logclock.schedules import LinearRamp
        >>> AdemamixSpec(gain=LinearRamp(start=0.0, end=8.0, steps=100)).scalars(50)["gain"]
        4.0

    References: Pagliardini et al. 2024, arXiv:2409.03137.
    """

    rule = ademamix

    lr: float = 1e-3
    ema1: Slot = 0.1
    ema2: Slot = 0.001
    ema_slow: Slot = 0.0001
    gain: Slot = 8.0
    eps: float = 1e-8
    weight_decay: Slot = 0.0
    bias_correction: bool = True
    decay_coupling: Coupling = "coupled"
    decay_order: DecayOrder = "before"
    lr_schedule: Slot = 1.0

    def __post_init__(self) -> None:
        check_slots(self)
        check_bias_correction(self)
        check(isinstance(self.gain, Schedule) or self.gain >= 0, "gain", "be >= 0", self.gain)

    def scalars(self, t: float, lr: Any = None) -> dict[str, Any]:
        """Return the scalars of update t."""
        lr, decay = lr_and_decay(self, t, lr)
        correction1, correction2 = bias_corrections(self, t)
        return {
            "lr": lr,
            "ema1": value_at(self.ema1, t),
            "ema2": value_at(self.ema2, t),
            "ema_slow": value_at(self.ema_slow, t),
            "gain": value_at(self.gain, t),
            "correction1": correction1,
            "correction2": correction2,
            "eps": self.eps,
            "decay": decay,
        }
