"""Adan: Adam with an average of the gradient's changes, for Nesterov's look-ahead without a second evaluation."""

from typing import Any

from logclock.rules.averages import total_weight
from logclock.rules.ops import sqrt
from logclock.rules.slots import Fraction, NonNegative, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State


@elementwise
def adan(
    grad,
    exp_avg,
    exp_avg_diff,
    exp_avg_sq,
    previous_grad,
    *,
    ema1,
    ema2,
    ema3,
    has_previous,
    look_ahead,
    correction1,
    correction2,
    correction3,
    eps,
):
    """Equation in AdanSpec."""
    change = has_previous * (grad - previous_grad)
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_diff = exp_avg_diff + ema2 * (change - exp_avg_diff)
    ahead = grad + look_ahead * change
    exp_avg_sq = exp_avg_sq + ema3 * (ahead * ahead - exp_avg_sq)
    momentum = correction1 * exp_avg + (look_ahead * correction2) * exp_avg_diff
    return momentum / (sqrt(exp_avg_sq) * correction3 + eps), exp_avg, exp_avg_diff, exp_avg_sq, grad


@algorithm("adan", class_name="Adan", paper="arXiv:2208.06677")
class AdanSpec(Spec):
    """Adan: averages of the gradient, of its change, and of the square of the gradient that the change foretells.

    With t = 1, 2, ..., d = g - (g of the update before) and 0 at the first, beta2 = 1 - ema2, all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (d - v)
        n <- n + ema3 ((g + beta2 d)^2 - n)
        theta <- theta - lr(t) (c1 m + beta2 c2 v) / (sqrt(n) c3 + eps) - decay theta
    where c1 = 1 / (1 - beta1^t), c2 = 1 / (1 - beta2^t) and c3 = 1 / sqrt(1 - beta3^t). State: exp_avg, exp_avg_diff,
    exp_avg_sq, previous_grad, shaped like the parameter: twice AdamW's.

    Examples:
        >>> AdanSpec().scalars(1)["has_previous"], AdanSpec().scalars(2)["has_previous"]
        (0.0, 1.0)

    Deviations: the authors' code divides the weight by 1 + lr lambda after the update, unless `no_prox` is set; here
        decay subtracts (`no_prox`). With a constant learning rate, `decay_order="after"` and lambda / (1 + lr lambda)
        are the same.
    References: Xie et al. 2022, arXiv:2208.06677. The betas are those of its code, 1 minus those of its text.
    """

    direction = (adan,)
    states = {
        "exp_avg": State(weight="ema1"),
        "exp_avg_diff": State(weight="ema2"),
        "exp_avg_sq": State(weight="ema3"),
        "previous_grad": State(),
    }

    lr: PeakLr = 1e-3

    ema1: Fraction = 0.02
    """1 - beta1, the weight of the new gradient in m."""

    ema2: Fraction = 0.08
    """1 - beta2, the weight of the new change in v; beta2 is also how far the changes look ahead."""

    ema3: Fraction = 0.01
    """1 - beta3, the weight of the new square in n."""

    eps: NonNegative = 1e-8
    """Added to the corrected root."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the corrections, how far changes look ahead, and whether there is a gradient to compare with."""
        return {
            "has_previous": 0.0 if t <= 1 else 1.0,
            "look_ahead": 1 - self.ema2,
            "correction1": 1 / total_weight(self.ema1, t),
            "correction2": 1 / total_weight(self.ema2, t),
            "correction3": total_weight(self.ema3, t) ** -0.5,
        }
