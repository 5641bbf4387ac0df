"""MARS-AdamW: AdamW on gradients that are extrapolated along their last change."""

import math
from typing import Any

from logclock.rules.families import MOMENTS, BiasCorrectedSpec
from logclock.rules.ops import maximum, norm, sqrt
from logclock.rules.slots import Ema, NonNegative, PeakLr, Positive
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State
from logclock.schedules import value_at


@elementwise
def mars(
    grad, exp_avg, exp_avg_sq, previous_grad, *, ema1, ema2, correction1, correction2, eps, change_weight, norm_bound
):
    """Equation in MarsSpec."""
    corrected = grad + change_weight * (grad - previous_grad)
    corrected = corrected / maximum(norm(corrected) / norm_bound, 1.0)
    exp_avg = exp_avg + ema1 * (corrected - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (corrected * corrected - exp_avg_sq)
    update = exp_avg / (sqrt(exp_avg_sq) * correction2 + eps)
    return correction1 * update, exp_avg, exp_avg_sq, grad


@algorithm("mars", class_name="MARS", paper="arXiv:2411.10438")
class MarsSpec(BiasCorrectedSpec):
    """MARS-AdamW in its approximate form, with one gradient an update.

    With t = 1, 2, ..., the previous gradient g' starting at 0, and the norm that of the tensor:
        c = g + gamma beta1 / (1 - beta1) (g - g')
        c <- c / max(norm(c) / largest_norm, 1)
        m <- m + ema1 (c - m)
        v <- v + ema2 (c^2 - v)
        theta <- theta - lr(t) c1 m / (sqrt(v) c2 + eps) - decay theta
        g' <- g
    where beta1 = 1 - ema1, and c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t) correct the bias of the averages,
    or are 1. State: exp_avg, exp_avg_sq and previous_grad, shaped like the parameter.

    Examples:
        >>> round(MarsSpec().scalars(1)["change_weight"], 9)
        0.475

    Deviations: the exact form evaluates g' anew on the batch of g, a second backward pass per update. The authors give
        matrices to it and everything else to AdamW with settings of its own, see the recipe `mars`.
    References: Yuan et al. 2024, arXiv:2411.10438.
    """

    direction = (mars,)
    states = {**MOMENTS, "previous_grad": State()}

    lr: PeakLr = 3e-3

    ema1: Ema = 0.05
    """1 - beta1, the weight of the new corrected gradient in m."""

    ema2: Ema = 0.01
    """1 - beta2, the weight of its square in v."""

    gamma: NonNegative = 0.025
    """Strength of the correction; 0 is AdamW on gradients clipped tensor by tensor."""

    largest_norm: Positive | None = 1.0
    """Largest norm of a tensor's corrected gradient; None for no bound."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the corrections of bias, the weight of the gradient's change, and the bound as a number."""
        ema1 = value_at(self.ema1, t)
        return super().derived(t) | {
            "change_weight": self.gamma * (1 - ema1) / ema1,
            "norm_bound": math.inf if self.largest_norm is None else self.largest_norm,
        }
