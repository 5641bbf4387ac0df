"""AdamW: Adam with weight decay that does not pass through the gradient."""

from logclock.rules.families import BiasCorrectedSpec
from logclock.rules.ops import sqrt
from logclock.rules.slots import NonNegativeSlot, PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise


@elementwise
def adamw(grad, exp_avg, exp_avg_sq, *, ema1, ema2, correction1, correction2, eps):
    """Equation in AdamwSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    update = exp_avg / (sqrt(exp_avg_sq) * correction2 + eps)
    return correction1 * update, exp_avg, exp_avg_sq


@algorithm("adamw", class_name="AdamW", paper="arXiv:1711.05101")
class AdamwSpec(BiasCorrectedSpec):
    """AdamW.

    With t = 1, 2, ..., all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        theta <- theta - lr(t) c1 m / (sqrt(v) c2 + eps) - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t) correct the bias of the averages, or 1 without
    correction. State: exp_avg, exp_avg_sq, shaped like the parameter.

    Examples:
        >>> round(AdamwSpec(lr=1e-3).scalars(1)["correction1"], 9)
        10.0

    References: Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019, arXiv:1711.05101. Equal to
        `torch.optim.AdamW` with its default options.
    """

    direction = (adamw,)

    lr: PeakLr = 1e-3

    weight_decay: NonNegativeSlot = 0.01
