"""AdaBelief: AdamW that divides by how far gradients are from their average, instead of by how large they are."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from logclock.rules.averages import bias_corrections, total_weight
from logclock.rules.ops import sqrt
from logclock.rules.slots import Fraction, NonNegative, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State


@elementwise
def adabelief(grad, exp_avg, exp_avg_var, *, ema1, ema2, correction1, correction2, eps, floor):
    """Equation in AdabeliefSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    surprise = grad - exp_avg
    exp_avg_var = exp_avg_var + ema2 * (surprise * surprise - exp_avg_var) + eps
    return correction1 * (exp_avg / (sqrt(exp_avg_var) * correction2 + floor)), exp_avg, exp_avg_var


@algorithm("adabelief", class_name="AdaBelief", paper="arXiv:2010.07468")
class AdabeliefSpec(Spec):
    """AdaBelief: steps are long where the gradient is what its average foretold, and short where it surprises.

    With t = 1, 2, ..., all elementwise:
        m <- m + ema1 (g - m)
        s <- s + ema2 ((g - m)^2 - s) + eps
        theta <- theta - lr(t) c1 m / (sqrt(s) c2 + eps) - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t). State: exp_avg, exp_avg_var, shaped like the
    parameter. eps goes into s at every update, which so has a floor of eps / ema2. With `rectify`, the step is
    multiplied by RAdam's factor for the uncertainty of s, and is lr(t) c1 m while fewer than five samples count.

    Examples:
        >>> spec = AdabeliefSpec(lr=1e-3, rectify=True)
        >>> spec.scalars(5)["floor"], round(spec.scalars(1000)["correction1"], 3)
        (1.0, 0.645)

    Deviations: `rectify` is off, as in the paper's algorithm; it is on in the authors' package.
    References: Zhuang et al. 2020, arXiv:2010.07468; Liu et al. 2020, arXiv:1908.03265 (rectification).
    """

    direction = (adabelief,)
    states: ClassVar[Mapping[str, State]] = {
        "exp_avg": State(weight="ema1"),
        "exp_avg_var": State(weight="ema2"),
    }

    lr: PeakLr = 1e-3

    ema1: Fraction = 0.1
    """1 - beta1, the weight of the new gradient in m."""

    ema2: Fraction = 0.001
    """1 - beta2, the weight of the new squared surprise in s."""

    eps: NonNegative = 1e-16
    """Added to s at every update, and to its root. Where gradients are small, the knob that matters: 1e-8 for
    convolutions and 1e-16 for transformers in the authors' package."""

    rectify: bool = False
    """Whether RAdam's factor for the variance of 1 / sqrt(s) multiplies the step."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the corrections, and what is added to the root; a root that counts too few samples is left out."""
        correction1, correction2 = bias_corrections(self.ema1, self.ema2, t)
        floor = self.eps
        factor = rectification(self.ema2, t) if self.rectify else 1.0
        if factor is None:
            factor, correction2, floor = 1.0, 0.0, 1.0
        return {"correction1": factor * correction1, "correction2": correction2, "floor": floor}


def rectification(ema2: float, t: float) -> float | None:
    """Return RAdam's factor, or None where fewer than five samples count in the average."""
    weight = total_weight(ema2, t)
    longest = 2 / ema2 - 1
    length = longest - 2 * t * (1 - weight) / weight
    if length < 5:
        return None
    rise = (length - 4) * (length - 2) * longest
    return math.sqrt(rise / ((longest - 4) * (longest - 2) * length))
