"""ADANA: AdamW's shape with logarithmic-time averages and a damped momentum gain."""

from typing import Any

from logclock.rules.families import LogTimeSpec
from logclock.rules.ops import sqrt
from logclock.rules.slots import NonNegative, PeakLr, Slot
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise
from logclock.schedules import PowerGrowth, value_at


@elementwise
def adana(grad, exp_avg, exp_avg_sq, *, ema1, ema2, gain, eps):
    """Equation in AdanaSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    return (grad + gain * exp_avg) / (sqrt(exp_avg_sq) + eps), exp_avg, exp_avg_sq


@algorithm("adana", class_name="ADANA", paper="arXiv:2602.05298")
class AdanaSpec(LogTimeSpec):
    """ADANA: AdamW-like update with log-time moments and a damped momentum gain.

    With t = 1, 2, ... and ema(t) = delta / (delta + t), all elementwise:
        m <- m + ema(t) (g - m)
        v <- v + ema(t) (g^2 - v)
        theta <- theta - lr(t) (g + gain(t) m) / (sqrt(v) + eps) - s(t) lambda(t) theta
        gain(t) = gain_offset + (1 + t)^(1 - kappa)
    No bias correction. State: exp_avg, exp_avg_sq, shaped like the parameter. At that paper's sizes the best learning
    rate is a third to a fifth of AdamW's; its weight decay is `log_time_decay(4.0, offset=T / 10)` for T planned
    updates.

    Examples:
        >>> spec = AdanaSpec(lr=1e-3)
        >>> round(spec.scalars(1)["ema1"], 4)
        0.8889

    Deviations: the released code adds 1 to the gain (`gain_offset=1`) and decays after the update
        (`decay_order="after"`); the paper's Enoki runs did neither.
    References: Ferbach et al. 2026, arXiv:2602.05298.
    """

    direction = (adana,)

    lr: PeakLr = 1e-3

    gain_offset: NonNegative = 0.0
    """Constant part of the gain: 0 in the paper, 1 in the released code."""

    gain: Slot | None = None
    """The growing part of the gain; (1 + t)^(1 - kappa) if None."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the log-time weights and the gain."""
        gain = PowerGrowth(kappa=self.kappa) if self.gain is None else self.gain
        return super().derived(t) | {"gain": self.gain_offset + value_at(gain, t)}
