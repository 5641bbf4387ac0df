"""InvAdam: Adam that multiplies by the root of the second moment instead of dividing by it."""

from logclock.rules.families import BiasCorrectedSpec
from logclock.rules.ops import sqrt
from logclock.rules.slots import PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise


@elementwise
def invadam(grad, exp_avg, exp_avg_sq, *, ema1, ema2, correction1, correction2, eps):
    """Equation in InvadamSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    return correction1 * (exp_avg * (sqrt(exp_avg_sq) * correction2 + eps)), exp_avg, exp_avg_sq


@algorithm("invadam", class_name="InvAdam", paper="arXiv:2603.07122")
class InvadamSpec(BiasCorrectedSpec):
    """InvAdam: the larger gradients are, the longer the steps, more than in proportion.

    With t = 1, 2, ..., all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        theta <- theta - lr(t) c1 m (sqrt(v) c2 + eps) - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t), or 1 without correction. State: exp_avg, exp_avg_sq,
    shaped like the parameter. The update grows with the square of the gradient, so its learning rate is no other
    optimizer's.

    Examples:
        >>> round(InvadamSpec(lr=1e-3).scalars(1)["correction1"], 9)
        10.0

    References: arXiv:2603.07122, where it is the first part of DualAdam.
    """

    direction = (invadam,)

    lr: PeakLr = 1e-3
