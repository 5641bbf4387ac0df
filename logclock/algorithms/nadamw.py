"""NAdamW: AdamW whose momentum looks one gradient ahead, in Nesterov's way."""

from typing import Any

from logclock.rules.averages import total_weight
from logclock.rules.families import BiasCorrectedSpec
from logclock.rules.ops import sqrt
from logclock.rules.slots import Ema, NonNegativeSlot, PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise
from logclock.schedules import value_at


@elementwise
def nadamw(grad, exp_avg, exp_avg_sq, *, ema1, ema2, grad_weight, momentum_weight, correction2, eps):
    """Equation in NadamwSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    ahead = momentum_weight * exp_avg + grad_weight * grad
    return ahead / (sqrt(exp_avg_sq) * correction2 + eps), exp_avg, exp_avg_sq


@algorithm("nadamw", class_name="NAdamW", paper="Dozat 2016; arXiv:1711.05101")
class NadamwSpec(BiasCorrectedSpec):
    """NAdamW: AdamW with Nesterov's look-ahead in place of the average.

    With t = 1, 2, ..., beta1 = 1 - ema1 and beta2 = 1 - ema2, all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        n = beta1 m / (1 - beta1^(t+1)) + ema1 g / (1 - beta1^t)
        theta <- theta - lr(t) n / (sqrt(v) c2 + eps) - decay theta
    where c2 = 1 / sqrt(1 - beta2^t). Without bias correction n = beta1 m + ema1 g and c2 = 1. State: exp_avg,
    exp_avg_sq, shaped like the parameter.

    Examples:
        >>> round(NadamwSpec(lr=1e-3).scalars(1)["momentum_weight"], 4)
        4.7368

    Deviations: `torch.optim.NAdam` is another rule; it moves beta1 along a schedule of its own.
    References: Dozat 2016, Incorporating Nesterov momentum into Adam; Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    direction = (nadamw,)

    lr: PeakLr = 1e-3

    ema1: Ema = 0.1
    """1 - beta1, the weight of the new gradient in m and, once more, in the look-ahead."""

    weight_decay: NonNegativeSlot = 0.01

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weights of the look-ahead and the correction of the root."""
        ema1 = value_at(self.ema1, t)
        corrections = super().derived(t)
        ahead = 1 / total_weight(ema1, t + 1) if self.bias_correction else 1.0
        weights = {"grad_weight": ema1 * corrections["correction1"], "momentum_weight": (1 - ema1) * ahead}
        return corrections | weights
