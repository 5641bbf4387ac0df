"""EXAdam: Adam whose averages correct each other, plus the newest gradient once more."""

from typing import Any

from logclock.rules.averages import bias_corrections
from logclock.rules.families import MOMENTS
from logclock.rules.ops import sqrt
from logclock.rules.slots import Fraction, NonNegative, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise


@elementwise
def exadam(grad, exp_avg, exp_avg_sq, *, ema1, ema2, bias1, bias2, correction1, correction2, eps):
    """Equation in ExadamSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    square = exp_avg * exp_avg
    boost = 1 + bias2 * (exp_avg_sq / (exp_avg_sq + eps))
    brake = 1 + bias1 * (square / (square + eps))
    root = sqrt(exp_avg_sq * brake) * correction2 + eps
    return correction1 * ((exp_avg + grad) * boost / root), exp_avg, exp_avg_sq


@algorithm("exadam", class_name="EXAdam", paper="arXiv:2412.20302")
class ExadamSpec(Spec):
    """EXAdam: Adam with averages that debias each other, and the gradient added to its own average.

    With t = 1, 2, ..., beta1 = 1 - ema1 and beta2 = 1 - ema2, all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        a = 1 + beta2^t v / (v + eps)
        b = 1 + beta1^t m^2 / (m^2 + eps)
        theta <- theta - lr(t) c1 a (m + g) / (sqrt(b v) c2 + eps) - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t). State: exp_avg, exp_avg_sq, shaped like the parameter.
    The gradient is divided by 1 - beta1^t although it is no average, so the first steps are long: under a constant
    gradient 16 lr at the first and 4 lr at the tenth, where AdamW's are lr, and 2 lr in the end.

    Examples:
        >>> scalars = ExadamSpec(lr=1e-3).scalars(1)
        >>> round(scalars["bias1"], 4), round(scalars["bias2"], 4)
        (0.9, 0.999)

    References: Adly 2024, arXiv:2412.20302.
    """

    direction = (exadam,)
    states = MOMENTS

    lr: PeakLr = 1e-3

    ema1: Fraction = 0.1
    """1 - beta1, the weight of the new gradient in m."""

    ema2: Fraction = 0.001
    """1 - beta2, the weight of the new squared gradient in v."""

    eps: NonNegative = 1e-8
    """Added to the root, and to v and m^2 where they are compared with themselves."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return what is left of the bias of both averages, and Adam's corrections of it."""
        corrections = bias_corrections(self.ema1, self.ema2, t)
        return {
            "bias1": (1 - self.ema1) ** t,
            "bias2": (1 - self.ema2) ** t,
            "correction1": corrections[0],
            "correction2": corrections[1],
        }
