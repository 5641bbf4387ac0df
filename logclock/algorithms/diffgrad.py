"""diffGrad: Adam that slows down where the gradient no longer changes."""

from logclock.rules.families import MOMENTS, BiasCorrectedSpec
from logclock.rules.ops import absolute, exp, sqrt
from logclock.rules.slots import PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State


@elementwise
def diffgrad(grad, exp_avg, exp_avg_sq, previous_grad, *, ema1, ema2, correction1, correction2, eps):
    """Equation in DiffgradSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    friction = 1 / (1 + exp(-absolute(previous_grad - grad)))
    update = (correction1 / correction2) * (friction * exp_avg / (sqrt(exp_avg_sq) + eps))
    return update, exp_avg, exp_avg_sq, grad


@algorithm("diffgrad", class_name="DiffGrad", paper="arXiv:1909.11015")
class DiffgradSpec(BiasCorrectedSpec):
    """diffGrad: Adam's step times a friction between 1/2 and 1, which follows the change of the gradient.

    With t = 1, 2, ..., h the gradient of the update before (0 at the first), all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        xi = 1 / (1 + exp(-abs(h - g)))
        theta <- theta - lr(t) (c1 / c2) xi m / (sqrt(v) + eps) - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t), or 1 without correction. State: exp_avg, exp_avg_sq,
    previous_grad, shaped like the parameter. The change is not measured in units of the gradient: where gradients are
    far below 1, xi is 1/2 and this is Adam at half the learning rate.

    Examples:
        >>> round(DiffgradSpec(lr=1e-3).scalars(1)["correction1"], 9)
        10.0

    Deviations: eps is added to the root before the correction, as in the authors' code; AdamW adds it after.
    References: Dubey et al. 2019, arXiv:1909.11015.
    """

    direction = (diffgrad,)
    states = {**MOMENTS, "previous_grad": State()}

    lr: PeakLr = 1e-3
