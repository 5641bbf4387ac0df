"""ADOPT: each gradient is divided by the second moment of those before it, and what is averaged is the quotient."""

import math
from typing import Any

from logclock.rules.families import MOMENTS
from logclock.rules.ops import maximum, minimum, sqrt
from logclock.rules.slots import Ema, NonNegative, PeakLr, Positive
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.schedules import value_at


@elementwise
def adopt(grad, exp_avg, exp_avg_sq, *, ema1, ema2, eps, bound):
    """Equation in AdoptSpec."""
    ratio = maximum(minimum(grad / maximum(sqrt(exp_avg_sq), eps), bound), -bound)
    exp_avg = exp_avg + ema1 * (ratio - exp_avg)
    return exp_avg, exp_avg, exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)


@algorithm("adopt", class_name="ADOPT", paper="arXiv:2411.02853")
class AdoptSpec(Spec):
    """ADOPT: Adam in another order, so that no gradient is divided by a moment that holds it.

    The first call sets v = g^2 and moves nothing. With t = 2, 3, ... and c(t) = (t - 1)^clip_exponent, elementwise:
        r = min(max(g / max(sqrt(v), eps), -c(t)), c(t))
        m <- m + ema1 (r - m)
        theta <- theta - lr(t) m - decay theta
        v <- v + ema2 (g^2 - v)
    No bias correction: m starts at 0. State: exp_avg (m), exp_avg_sq (v), shaped like the parameter.

    Examples:
        >>> AdoptSpec().scalars(17)["bound"]
        2.0

    Deviations: weight decay is decoupled from the gradient, which the authors' class does with `decouple=True` only.
    References: Taniguchi et al. 2024, arXiv:2411.02853.
    """

    direction = (adopt,)
    states = MOMENTS

    lr: PeakLr = 1e-3

    ema1: Ema = 0.1
    """1 - beta1, the weight of the new quotient in m."""

    ema2: Ema = 0.0001
    """1 - beta2, the weight of the new squared gradient in v."""

    eps: Positive = 1e-6
    """Smallest root that is divided by."""

    clip_exponent: NonNegative | None = 0.25
    """The quotient's bound is the number of updates made, to this power; None for no bound."""

    def makes_update(self, t: float) -> bool:
        """Return whether there is a second moment: the first call makes it."""
        return t > 1

    def derived(self, t: float) -> dict[str, Any]:
        """Return the bound, and the weights with which the first call sets v to its g^2 and leaves m at 0."""
        if t <= 1:
            return {"ema1": 0.0, "ema2": 1.0, "bound": 0.0}
        bound = math.inf if self.clip_exponent is None else (t - 1) ** self.clip_exponent
        return {"ema1": value_at(self.ema1, t), "ema2": value_at(self.ema2, t), "bound": bound}
