"""Dana-Star-MK4: time counted per coordinate and a bound on the amplified momentum, together."""

import dataclasses
import math
from typing import Any

from logclock.rules.ops import absolute, maximum, minimum, power, sign, sqrt
from logclock.rules.rule import elementwise
from logclock.rules.spec import Coupling, DecayOrder, Spec, check_slots, lr_and_decay, register
from logclock.schedules import PowerGrowth, Slot, check, log_time_ema, value_at


@elementwise
def dana_star_mk4(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    tau,
    *,
    lr,
    ema1,
    ema2,
    t,
    gain_exponent,
    gain_offset,
    tau_floor,
    clip_snr,
    eps,
    decay,
):
    """One update; equation in DanaStarMk4Spec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    root = sqrt(exp_avg_sq) + eps
    size = absolute(grad)
    tau = tau + ema1 * (size / (size + root) - tau)
    capped = minimum(tau, 0.5)
    rate = maximum(capped / (1 - capped), tau_floor)
    scale = sqrt(rate) / root
    snr = absolute(exp_avg) * scale / rate
    amplified = minimum(power(maximum(tau * t, 1.0), gain_exponent) * snr, clip_snr)
    update = (grad + gain_offset * exp_avg) * scale + rate * sign(exp_avg) * amplified
    return param - lr * update - decay * param, exp_avg, exp_avg_sq, tau


@register("dana-star-mk4")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DanaStarMk4Spec(Spec):
    """Dana-Star-MK4: Dana-MK4 with an estimate of how often each coordinate is active.

    With t = 1, 2, ... and ema(t) = delta / (delta + t), all elementwise:
        m <- m + ema(t) (g - m)
        v <- v + ema(t) (g^2 - v)
        tau <- tau + ema(t) (abs(g) / (abs(g) + sqrt(v) + eps) - tau)
        p = max(h / (1 - h), 1 / (1 + t)) with h = min(tau, 1/2)        (estimated rate of activity)
        r = sqrt(p) / (sqrt(v) + eps)
        a = min(e^(1 - kappa) abs(m) r / p, clip_snr), e = max(tau t, 1)
        theta <- theta - lr(t) [(g + gain_offset m) r + p sign(m) a] - s(t) lambda(t) theta
    No bias correction. State: exp_avg, exp_avg_sq, tau, shaped like the parameter.

    Args:
        lr: Peak learning rate, per update.
        kappa: Damping exponent in [0, 1].
        delta: Log-time offset in updates.
        clip_snr: Bound on gain times abs(m) / sqrt(v); None for no bound (the released Dana-Star).
        weight_decay: lambda(t).
        eps: Added to the root.
        gain_offset: Constant part of the gain, never clipped: 1 in the released code.
        ema1: Weight of the new sample in m and tau; delta / (delta + t) if None.
        ema2: Weight of the new sample in v; delta / (delta + t) if None.
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    References: Ferbach et al. 2026, arXiv:2602.05298, released code.
    """

    rule = dana_star_mk4

    lr: float = 1e-3
    kappa: float = 0.85
    delta: float = 8.0
    clip_snr: float | None = 2.0
    weight_decay: Slot = 0.0
    eps: float = 1e-8
    gain_offset: float = 1.0
    ema1: Slot | None = None
    ema2: Slot | None = None
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
            "t": float(t),
            "gain_exponent": 1 - self.kappa,
            "gain_offset": self.gain_offset,
            "tau_floor": 1 / (1 + t),
            "clip_snr": math.inf if self.clip_snr is None else self.clip_snr,
            "eps": self.eps,
            "decay": decay,
        }
