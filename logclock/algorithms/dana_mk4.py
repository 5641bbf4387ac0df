"""Dana-MK4: ADANA with a bound on the signal-to-noise ratio of the amplified momentum."""

import math
from typing import Any

from logclock.rules.families import LogTimeSpec
from logclock.rules.ops import absolute, minimum, sign, sqrt
from logclock.rules.slots import NonNegative, PeakLr, Positive, Slot
from logclock.rules.spec import DecayOrder, algorithm
from logclock.rules.stage import elementwise
from logclock.schedules import PowerGrowth, value_at


@elementwise
def dana_mk4(grad, exp_avg, exp_avg_sq, *, ema1, ema2, gain, gain_offset, clip_snr, eps):
    """Equation in DanaMk4Spec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    root = sqrt(exp_avg_sq) + eps
    amplified = sign(exp_avg) * minimum(gain * absolute(exp_avg) / root, clip_snr)
    return (grad + gain_offset * exp_avg) / root + amplified, exp_avg, exp_avg_sq


@algorithm("dana-mk4", class_name="DanaMK4", paper="arXiv:2602.05298, released code")
class DanaMk4Spec(LogTimeSpec):
    """Dana-MK4: ADANA whose amplified momentum is clipped elementwise at a signal-to-noise ratio.

    With t = 1, 2, ..., ema(t) = delta / (delta + t) and r = 1 / (sqrt(v) + eps), all elementwise:
        m <- m + ema(t) (g - m)
        v <- v + ema(t) (g^2 - v)
        a = min(gain(t) abs(m) r, clip_snr),  gain(t) = (1 + t)^(1 - kappa)
        theta <- theta - lr(t) [(g + gain_offset m) r + sign(m) a] - s(t) lambda(t) theta
    The clip is one-sided and acts on the amplified part only, so one kappa is safe for layers that would want others.
    No bias correction. State: exp_avg, exp_avg_sq, shaped like the parameter.

    References: Ferbach et al. 2026, arXiv:2602.05298, released code.
    """

    direction = (dana_mk4,)

    lr: PeakLr = 1e-3

    clip_snr: Positive | None = 2.0
    """Bound on gain times abs(m) / sqrt(v); None for no bound, which is ADANA."""

    gain_offset: NonNegative = 1.0
    """Constant part of the gain, never clipped: 1 in the released code, 0 in the paper's form of ADANA."""

    gain: Slot | None = None
    """The growing part of the gain; (1 + t)^(1 - kappa) if None."""

    decay_order: DecayOrder = "after"

    def derived(self, t: float) -> dict[str, Any]:
        """Return the log-time weights, the gain and its clip."""
        return super().derived(t) | {
            "gain": value_at(PowerGrowth(kappa=self.kappa) if self.gain is None else self.gain, t),
            "clip_snr": math.inf if self.clip_snr is None else self.clip_snr,
        }
