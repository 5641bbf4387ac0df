"""StableAdamW: AdamW whose steps shorten, tensor by tensor, while gradients outgrow their second moment."""

from logclock.rules.families import BiasCorrectedSpec
from logclock.rules.ops import maximum, rms, sqrt
from logclock.rules.slots import Ema, NonNegativeSlot, PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise


@elementwise
def stable_adamw(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    *,
    ema1,
    ema2,
    correction1,
    correction2,
    eps,
    absorbed_decay,
    rate_before_decay,
):
    """Equation in StableAdamwSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    root = sqrt(exp_avg_sq) * correction2
    share = 1 / maximum(rms(grad / maximum(root, eps)), 1.0)
    step = (share * correction1) * (exp_avg / (root + eps))
    return step + (share * absorbed_decay) * (param - rate_before_decay * step), exp_avg, exp_avg_sq


@algorithm("stable-adamw", class_name="StableAdamW", paper="arXiv:2304.13013")
class StableAdamwSpec(BiasCorrectedSpec):
    """StableAdamW: AdamW with Adafactor's update clipping in the learning rate.

    With t = 1, 2, ..., all elementwise but for one number per tensor:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        share = 1 / max(1, rms(g / max(sqrt(v) c2, eps)))
        theta <- theta - share lr(t) c1 m / (sqrt(v) c2 + eps) - share decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t), or 1 without correction. State: exp_avg, exp_avg_sq,
    shaped like the parameter. It is not AdamW under `clip_rms`, which measures the update, and so an average, where
    this measures the newest gradient; and here the decay shrinks with the step. The decay is part of the update, so
    apply stages that reshape the decay do not reshape this one.

    Examples:
        >>> StableAdamwSpec(lr=1e-3, weight_decay=0.1).scalars(1)["absorbed_decay"]
        0.1

    References: Wortsman et al. 2023, arXiv:2304.13013; Shazeer and Stern 2018, arXiv:1804.04235 (the clipping).
    """

    direction = (stable_adamw,)
    absorbs_decay = True

    lr: PeakLr = 1e-3

    ema2: Ema = 0.01
    """1 - beta2, the weight of the new squared gradient in v."""

    weight_decay: NonNegativeSlot = 0.01
