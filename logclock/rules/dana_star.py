"""Dana-Star: ADANA that counts time per coordinate, for gradients that are mostly zero."""

import dataclasses
from typing import Any

from logclock.rules.ops import absolute, maximum, minimum, power, sqrt
from logclock.rules.rule import elementwise
from logclock.rules.spec import Coupling, DecayOrder, Spec, check_slots, lr_and_decay, register
from logclock.schedules import PowerGrowth, Slot, check, log_time_ema, value_at

_UNBOUNDED = 1e30  # not inf: a coordinate without history multiplies it by 0


@elementwise
def dana_star(
    param, grad, exp_avg, exp_avg_sq, tau, *, lr, ema1, ema2, t, gain_exponent, tau_floor, clip_grad, eps, decay
):
    """One update; equation in DanaStarSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    root = sqrt(exp_avg_sq)
    size = absolute(grad)
    tau = tau + ema1 * (size / (size + root + eps) - tau)
    capped = minimum(tau, 0.5)
    sqrt_rate = sqrt(maximum(capped / (1 - capped), tau_floor))
    kept = minimum(clip_grad * root / (sqrt_rate * size + eps), 1.0)
    gain = power(maximum(tau * t, 1.0) + 1, gain_exponent)
    update = (grad * kept + gain * exp_avg) * (sqrt_rate / (root + eps))
    return param - lr * update - decay * param, exp_avg, exp_avg_sq, tau


@register("dana-star")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DanaStarSpec(Spec):
    """Dana-Star: log-time moments with an estimate of how often each coordinate is active.

    With t = 1, 2, ... and ema(t) = delta / (delta + t), all elementwise:
        m <- m + ema(t) (g - m)
        v <- v + ema(t) (g^2 - v)
        tau <- tau + ema(t) (abs(g) / (abs(g) + sqrt(v) + eps) - tau)
        p = max(h / (1 - h), 1 / (1 + t)) with h = min(tau, 1/2)        (estimated rate of activity)
        r = sqrt(p) / (sqrt(v) + eps)
        k = min(1, clip_grad sqrt(v) / (sqrt(p) abs(g) + eps))
        theta <- theta - lr(t) [g k + (1 + e)^(1 - kappa) m] r - s(t) lambda(t) theta, e = max(tau t, 1)
    A coordinate that is active with probability p has tau near p / (1 + p) and sees its own time p t: rare rows of an
    embedding are not over-driven. No bias correction. State: exp_avg, exp_avg_sq, tau, shaped like the parameter.

    Args:
        lr: Peak learning rate, per update.
        kappa: Damping exponent in [0, 1].
        delta: Log-time offset in updates.
        clip_grad: Bound on sqrt(p) abs(g) / sqrt(v), elementwise; None for no bound.
        weight_decay: lambda(t).
        eps: Added to the roots.
        ema1: Weight of the new sample in m and tau; delta / (delta + t) if None.
        ema2: Weight of the new sample in v; delta / (delta + t) if None.
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Deviations: this is the form the study ran; the name was reused in the released code for Dana-Star-MK4 without a
        clip, which is `dana-star-mk4` with `clip_snr=None` here.
    References: Ferbach et al. 2026, arXiv:2602.05298, code as of December 2025.
    """

    rule = dana_star

    lr: float = 1e-3
    kappa: float = 0.85
    delta: float = 8.0
    clip_grad: float | None = 2.0
    weight_decay: Slot = 0.0
    eps: float = 1e-8
    ema1: Slot | None = None
    ema2: Slot | None = None
    decay_coupling: Coupling = "independent"
    decay_order: DecayOrder = "before"
    lr_schedule: Slot = 1.0

    def __post_init__(self) -> None:
        check_slots(self)
        check(self.clip_grad is None or self.clip_grad > 0, "clip_grad", "be > 0 or None", self.clip_grad)
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
            "tau_floor": 1 / (1 + t),
            "clip_grad": _UNBOUNDED if self.clip_grad is None else self.clip_grad,
            "eps": self.eps,
            "decay": decay,
        }
