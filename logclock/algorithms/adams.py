"""AdamS: AdamW without a second moment; the momentum's own square measures the gradient."""

from logclock.rules.ops import sqrt
from logclock.rules.slots import Ema, NonNegative, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State


@elementwise
def adams(grad, exp_avg, *, ema1, ema2, eps):
    """Equation in AdamsSpec."""
    square = exp_avg * exp_avg
    square = square + ema2 * (grad * grad - square)
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    return exp_avg / (sqrt(square) + eps), exp_avg


@algorithm("adams", class_name="AdamS", paper="arXiv:2505.16363")
class AdamsSpec(Spec):
    """AdamS: the average of the gradient, divided by the root of a mixture of its own square and the gradient's.

    With m starting at 0 and h the m of the update before, all elementwise:
        m <- m + ema1 (g - m)
        theta <- theta - lr(t) m / (sqrt((1 - ema2) h^2 + ema2 g^2) + eps) - decay theta
    No bias correction. State: exp_avg, shaped like the parameter: half of AdamW's. A step is no longer than
    sqrt((1 - ema1)^2 / (1 - ema2) + ema1^2 / ema2), which is 1.03 lr at the default, whatever the gradients.

    Examples:
        >>> AdamsSpec().scalars(1)["ema2"]
        0.05

    Deviations: none from the equation; default learning rate and decay are AdamW's, for want of published ones.
    References: Zhang et al. 2025, arXiv:2505.16363.
    """

    direction = (adams,)
    states = {"exp_avg": State(weight="ema1")}

    lr: PeakLr = 1e-3

    ema1: Ema = 0.1
    """1 - beta1, the weight of the new gradient in m."""

    ema2: Ema = 0.05
    """1 - beta2, the share of the newest gradient's square in the denominator."""

    eps: NonNegative = 1e-8
    """Added to the root."""
