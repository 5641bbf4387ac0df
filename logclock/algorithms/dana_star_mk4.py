"""Dana-Star-MK4: time counted per coordinate and a bound on the amplified momentum, together."""

import math
from typing import Any

from logclock.rules.families import MOMENTS, LogTimeSpec
from logclock.rules.ops import absolute, maximum, minimum, power, sign, sqrt
from logclock.rules.slots import NonNegative, PeakLr, Positive
from logclock.rules.spec import DecayOrder, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State


@elementwise
def dana_star_mk4(
    grad, exp_avg, exp_avg_sq, tau, *, ema1, ema2, t, gain_exponent, gain_offset, tau_floor, clip_snr, eps
):
    """Equation in DanaStarMk4Spec."""
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
    return update, exp_avg, exp_avg_sq, tau


@algorithm("dana-star-mk4", class_name="DanaStarMK4", paper="arXiv:2602.05298, released code")
class DanaStarMk4Spec(LogTimeSpec):
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

    References: Ferbach et al. 2026, arXiv:2602.05298, released code.
    """

    direction = (dana_star_mk4,)
    states = {**MOMENTS, "tau": State(weight="ema1")}

    lr: PeakLr = 1e-3

    clip_snr: Positive | None = 2.0
    """Bound on gain times abs(m) / sqrt(v); None for no bound (the released Dana-Star)."""

    gain_offset: NonNegative = 1.0
    """Constant part of the gain, never clipped: 1 in the released code."""

    decay_order: DecayOrder = "after"

    def derived(self, t: float) -> dict[str, Any]:
        """Return the log-time weights, the exponent of the gain, the floor of the rate, and the clip."""
        return super().derived(t) | {
            "gain_exponent": 1 - self.kappa,
            "tau_floor": 1 / (1 + t),
            "clip_snr": math.inf if self.clip_snr is None else self.clip_snr,
        }
