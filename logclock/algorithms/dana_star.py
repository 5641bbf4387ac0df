"""Dana-Star: ADANA that counts time per coordinate, for gradients that are mostly zero."""

from typing import Any

from logclock.rules.families import MOMENTS, LogTimeSpec
from logclock.rules.ops import absolute, maximum, minimum, power, sqrt
from logclock.rules.slots import PeakLr, Positive
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State

_UNBOUNDED = 1e30  # not inf: a coordinate without history multiplies it by 0


@elementwise
def dana_star(grad, exp_avg, exp_avg_sq, tau, *, ema1, ema2, t, gain_exponent, tau_floor, clip_grad, eps):
    """Equation in DanaStarSpec."""
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
    return update, exp_avg, exp_avg_sq, tau


@algorithm("dana-star", class_name="DanaStar", paper="arXiv:2602.05298, code as of December 2025")
class DanaStarSpec(LogTimeSpec):
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

    Deviations: this is the form that the paper's runs had; the name was reused in the released code for Dana-Star-MK4
        without a clip, which is `dana-star-mk4` with `clip_snr=None` here.
    References: Ferbach et al. 2026, arXiv:2602.05298, code as of December 2025.
    """

    direction = (dana_star,)
    states = {**MOMENTS, "tau": State(weight="ema1")}

    lr: PeakLr = 1e-3

    clip_grad: Positive | None = 2.0
    """Bound on sqrt(p) abs(g) / sqrt(v), elementwise; None for no bound."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the log-time weights, the exponent of the gain, the floor of the rate, and the clip."""
        return super().derived(t) | {
            "gain_exponent": 1 - self.kappa,
            "tau_floor": 1 / (1 + t),
            "clip_grad": _UNBOUNDED if self.clip_grad is None else self.clip_grad,
        }
