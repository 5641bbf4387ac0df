"""Lion: the sign of an average that looks one gradient ahead."""

from logclock.rules.ops import sign
from logclock.rules.slots import Ema, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State


@elementwise
def lion(grad, exp_avg, *, ema1, ema2):
    """Equation in LionSpec."""
    return sign(exp_avg + ema1 * (grad - exp_avg)), exp_avg + ema2 * (grad - exp_avg)


@algorithm("lion", class_name="Lion", paper="arXiv:2302.06675")
class LionSpec(Spec):
    """Lion: every coordinate moves by lr, in a direction that a single average decides.

    With m starting at 0 and sign(0) = 0, all elementwise:
        u = sign(m + ema1 (g - m))
        m <- m + ema2 (g - m)
        theta <- theta - lr(t) u - decay theta
    State: exp_avg, shaped like the parameter. The learning rate is the length of every coordinate's step, a third to a
    tenth of AdamW's; coupled weight decay is three to ten times AdamW's, so that lr lambda stays.

    Examples:
        >>> LionSpec().scalars(1)["ema1"]
        0.1

    References: Chen et al. 2023, arXiv:2302.06675.
    """

    direction = (lion,)
    states = {"exp_avg": State(weight="ema2")}

    lr: PeakLr = 1e-4

    ema1: Ema = 0.1
    """1 - beta1, the weight of the new gradient in the direction."""

    ema2: Ema = 0.01
    """1 - beta2, the weight of the new gradient in m; smaller than ema1, so that m remembers longer."""
