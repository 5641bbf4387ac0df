"""AdEMAMix: AdamW with a second, slow average of the gradient added to the first."""

from logclock.rules.families import MOMENTS, BiasCorrectedSpec
from logclock.rules.ops import sqrt
from logclock.rules.slots import Ema, NonNegativeSlot, PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State


@elementwise
def ademamix(grad, exp_avg, exp_avg_sq, exp_avg_slow, *, ema1, ema2, ema_slow, gain, correction1, correction2, eps):
    """Equation in AdemamixSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    exp_avg_slow = exp_avg_slow + ema_slow * (grad - exp_avg_slow)
    update = (correction1 * exp_avg + gain * exp_avg_slow) / (sqrt(exp_avg_sq) * correction2 + eps)
    return update, exp_avg, exp_avg_sq, exp_avg_slow


@algorithm("ademamix", class_name="AdEMAMix", paper="arXiv:2409.03137")
class AdemamixSpec(BiasCorrectedSpec):
    """AdEMAMix: AdamW's update from a mixture of a fast and a slow average.

    With t = 1, 2, ..., all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        n <- n + ema_slow(t) (g - n)
        theta <- theta - lr(t) (c1 m + gain(t) n) / (sqrt(v) c2 + eps) - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t) correct the bias of m and v, or 1 without correction.
    The slow average n has no correction. State: exp_avg, exp_avg_sq, exp_avg_slow, shaped like the parameter.

    Examples:
        >>> from logclock.schedules import LinearRamp
        >>> AdemamixSpec(gain=LinearRamp(start=0.0, end=8.0, steps=100)).scalars(50)["gain"]
        4.0

    References: Pagliardini et al. 2024, arXiv:2409.03137.
    """

    direction = (ademamix,)
    states = {**MOMENTS, "exp_avg_slow": State(weight="ema_slow")}

    lr: PeakLr = 1e-3

    ema_slow: Ema = 0.0001
    """1 - beta3, the weight of the new gradient in n; the paper warms it up with
    `HalfLifeRamp(start=ema1, end=1 - beta3, steps=T)`."""

    gain: NonNegativeSlot = 8.0
    """Weight of n (the paper's alpha, 5 to 10); the paper warms it up with
    `LinearRamp(start=0, end=alpha, steps=T)`."""
