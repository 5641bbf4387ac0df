"""LaProp: gradients are normalised first and averaged afterwards."""

from logclock.rules.families import BiasCorrectedSpec
from logclock.rules.ops import sqrt
from logclock.rules.slots import Ema, NonNegative, PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise


@elementwise
def laprop(grad, exp_avg, exp_avg_sq, *, ema1, ema2, correction1, correction2, eps):
    """Equation in LapropSpec."""
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    normalized = grad / (sqrt(exp_avg_sq) * correction2 + eps)
    exp_avg = exp_avg + ema1 * (normalized - exp_avg)
    return correction1 * exp_avg, exp_avg, exp_avg_sq


@algorithm("laprop", class_name="LaProp", paper="arXiv:2002.04839")
class LapropSpec(BiasCorrectedSpec):
    """LaProp: Adam with the order of averaging and normalising exchanged.

    With t = 1, 2, ..., all elementwise:
        v <- v + ema2 (g^2 - v)
        m <- m + ema1 (g / (sqrt(v) c2 + eps) - m)
        theta <- theta - lr(t) c1 m - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t) correct the bias of the averages, or 1 without
    correction. Each gradient is divided by the v of its own time, so no update exceeds 1 / sqrt(ema2),
    whatever ema1 is. State: exp_avg, exp_avg_sq, shaped like the parameter.

    Examples:
        >>> round(LapropSpec().scalars(1)["correction1"], 9)
        10.0

    Deviations: the learning rate multiplies the average; other code averages lr(t) times the normalised gradient, which
        is the same while lr is constant.
    References: Ziyin et al. 2020, arXiv:2002.04839.
    """

    direction = (laprop,)

    lr: PeakLr = 4e-4

    ema1: Ema = 0.1
    """1 - beta1, the weight of the new normalised gradient in m."""

    eps: NonNegative = 1e-15
    """Added to the corrected root; tiny, because it enters every term of the average."""
