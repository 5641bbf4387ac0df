"""Dana-MK4: ADANA with a bound on the signal-to-noise ratio of the amplified momentum."""

import dataclasses
import math
from typing import Any

from logclock.rules.ops import absolute, minimum, sign, sqrt
from logclock.rules.rule import elementwise
from logclock.rules.spec import Coupling, DecayOrder, Spec, check_slots, lr_and_decay, register
from logclock.schedules import PowerGrowth, Slot, check, log_time_ema, value_at


@elementwise
def dana_mk4(param, grad, exp_avg, exp_avg_sq, *, lr, ema1, ema2, gain, gain_offset, clip_snr, eps, decay):
    """One update; equation in DanaMk4Spec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    root = sqrt(exp_avg_sq) + eps
    amplified = sign(exp_avg) * minimum(gain * absolute(exp_avg) / root, clip_snr)
    update = (grad + gain_offset * exp_avg) / root + amplified
    return param - lr * update - decay * param, exp_avg, exp_avg_sq


@register("dana-mk4")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DanaMk4Spec(Spec):
    """Dana-MK4: ADANA whose amplified momentum is clipped elementwise at a signal-to-noise ratio.

    With t = 1, 2, ..., ema(t) = delta / (delta + t) and r = 1 / (sqrt(v) + eps), all elementwise:
        m <- m + ema(t) (g - m)
        v <- v + ema(t) (g^2 - v)
        a = min(gain(t) abs(m) r, clip_snr),  gain(t) = (1 + t)^(1 - kappa)
        theta <- theta - lr(t) [(g + gain_offset m) r + sign(m) a] - s(t) lambda(t) theta
    The clip is one-sided and acts on the amplified part only, so one kappa is safe for layers that would want others.
    No bias correction. State: exp_avg, exp_avg_sq, shaped like the parameter.

    Args:
        lr: Peak learning rate, per update.
        kappa: Damping exponent in [0, 1].
        delta: Log-time offset in updates.
        clip_snr: Bound on gain times abs(m) / sqrt(v); None for no bound, which is ADANA.
        weight_decay: lambda(t).
        eps: Added to the root.
        gain_offset: Constant part of the gain, never clipped: 1 in the released code, 0 in the paper's form of ADANA.
        ema1: Weight of the new gradient in m; delta / (delta + t) if None.
        ema2: Weight of the new squared gradient in v; delta / (delta + t) if None.
        gain: The growing part of the gain; (1 + t)^(1 - kappa) if None.
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    References: Ferbach et al. 2026, arXiv:2602.05298, released code.
    """

    rule = dana_mk4

    lr: float = 1e-3
    kappa: float = 0.85
    delta: float = 8.0
    clip_snr: float | None = 2.0
    weight_decay: Slot = 0.0
    eps: float = 1e-8
    gain_offset: float = 1.0
    ema1: Slot | None = None
    ema2: Slot | None = None
    gain: Slot | None = None
    decay_coupling: Coupling = "independent"
    decay_order: DecayOrder = "after"
    lr_schedule: Slot = 1.0

    def __post_init__(self) -> None:
        check_slots(self)
        check(self.gain_offset >= 0, "gain_offset", "be >= 0", self.gain_offset)
        check(self.clip_snr is None or self.clip_snr > 0, "clip_snr", "be > 0 or None", self.clip_snr)
        log_time_ema(self.delta), PowerGrowth(kappa=self.kappa)  # raise for values out of range

    def scalars(self, t: float, lr: Any = None) -> dict[str, Any]:
        """Return the scalars of update t."""
        lr, decay = lr_and_decay(self, t, lr)
        log_time = log_time_ema(self.delta)
        return {
            "lr": lr,
            "ema1": value_at(log_time if self.ema1 is None else self.ema1, t),
            "ema2": value_at(log_time if self.ema2 is None else self.ema2, t),
            "gain": value_at(PowerGrowth(kappa=self.kappa) if self.gain is None else self.gain, t),
            "gain_offset": self.gain_offset,
            "clip_snr": math.inf if self.clip_snr is None else self.clip_snr,
            "eps": self.eps,
            "decay": decay,
        }
