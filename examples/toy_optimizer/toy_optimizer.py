"""RootSGD, a toy: momentum whose coordinates are replaced by their signed square roots.

What stands here is all that an algorithm needs: a direction, a spec, and `logclock.register`. The class
`logclock.RootSGD`, its signature and help, parameter groups, checkpoints, backends, apply stages and wrappers follow.
"""

from logclock import register
from logclock.rules import Spec, State, elementwise
from logclock.rules.ops import absolute, sign, sqrt
from logclock.rules.slots import Ema, PeakLr


@elementwise
def root_sgd(grad, exp_avg, *, ema1):
    """Equation in RootSgdSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    return sign(exp_avg) * sqrt(absolute(exp_avg)), exp_avg


@register("root-sgd", class_name="RootSGD", paper="a toy")
class RootSgdSpec(Spec):
    """RootSGD: the signed root of an average, halfway between SGD and its sign.

    With t = 1, 2, ..., all elementwise:
        m <- m + ema1 (g - m)
        theta <- theta - lr(t) sign(m) sqrt(abs(m)) - decay theta
    State: exp_avg, shaped like the parameter. Four times the gradient makes twice the step.
    """

    direction = (root_sgd,)
    states = {"exp_avg": State(weight="ema1")}

    lr: PeakLr = 1e-3

    ema1: Ema = 0.1
    """1 - beta1, the weight of the new gradient in m."""
