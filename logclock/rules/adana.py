"""ADANA: AdamW's shape with logarithmic-time averages and a damped momentum gain."""

import dataclasses
from typing import Any

from logclock.rules.ops import sqrt
from logclock.rules.rule import elementwise
from logclock.rules.spec import Coupling, DecayOrder, Spec, check_slots, lr_and_decay, register
from logclock.schedules import PowerGrowth, Slot, check, log_time_ema, value_at


@elementwise
def adana(param, grad, exp_avg, exp_avg_sq, *, lr, ema1, ema2, gain, eps, decay):
    """One update; equation in AdanaSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    update = (grad + gain * exp_avg) / (sqrt(exp_avg_sq) + eps)
    return param - lr * update - decay * param, exp_avg, exp_avg_sq


@register("adana")
@dataclasses.dataclass(frozen=True, kw_only=True)
class AdanaSpec(Spec):
    """ADANA: AdamW-like update with log-time moments and a damped momentum gain.

    With t = 1, 2, ... and ema(t) = delta / (delta + t), all elementwise:
        m <- m + ema(t) (g - m)
        v <- v + ema(t) (g^2 - v)
        theta <- theta - lr(t) (g + gain(t) m) / (sqrt(v) + eps) - s(t) lambda(t) theta
        gain(t) = gain_offset + (1 + t)^(1 - kappa)
    No bias correction. State: exp_avg, exp_avg_sq, shaped like the parameter.

    Args:
        lr: Peak learning rate, per update (not per token). At the study's sizes a third to a fifth of AdamW's.
        kappa: Damping exponent in [0, 1]; 0.85 is the study's value for text, [0.75, 0.9] its usable range.
        delta: Log-time offset in updates; memory grows as t / delta.
        weight_decay: lambda(t); the study uses `log_time_decay(4.0, offset=T / 10)` for T planned updates.
        eps: Added to the root.
        gain_offset: Constant part of the gain: 0 in the paper, 1 in the released code.
        ema1: Weight of the new gradient in m; delta / (delta + t) if None.
        ema2: Weight of the new squared gradient in v; delta / (delta + t) if None.
        gain: The growing part of the gain; (1 + t)^(1 - kappa) if None.
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> spec = AdanaSpec(lr=1e-3)
        >>> round(spec.scalars(1)["ema1"], 4)
        0.8889

    Deviations: the released code adds 1 to the gain (`gain_offset=1`) and decays after the update
        (`decay_order="after"`); the study's Enoki runs did neither.
    References: Ferbach et al. 2026, arXiv:2602.05298.
    """

    rule = adana

    lr: float = 1e-3
    kappa: float = 0.85
    delta: float = 8.0
    weight_decay: Slot = 0.0
    eps: float = 1e-8
    gain_offset: float = 0.0
    ema1: Slot | None = None
    ema2: Slot | None = None
    gain: Slot | None = None
    decay_coupling: Coupling = "independent"
    decay_order: DecayOrder = "before"
    lr_schedule: Slot = 1.0

    def __post_init__(self) -> None:
        check_slots(self)
        check(self.gain_offset >= 0, "gain_offset", "be >= 0", self.gain_offset)
        log_time_ema(self.delta), PowerGrowth(kappa=self.kappa)  # raise for values out of range

    def scalars(self, t: float, lr: Any = None) -> dict[str, Any]:
        """Return the scalars of update t."""
        lr, decay = lr_and_decay(self, t, lr)
        log_time = log_time_ema(self.delta)
        gain = PowerGrowth(kappa=self.kappa) if self.gain is None else self.gain
        return {
            "lr": lr,
            "ema1": value_at(log_time if self.ema1 is None else self.ema1, t),
            "ema2": value_at(log_time if self.ema2 is None else self.ema2, t),
            "gain": self.gain_offset + value_at(gain, t),
            "eps": self.eps,
            "decay": decay,
        }
