"""Simplified AdEMAMix: one long sum of gradients, with the newest one weighed anew."""

from typing import Any

from logclock.rules.averages import total_weight
from logclock.rules.ops import sqrt
from logclock.rules.slots import Ema, NonNegative, NonNegativeSlot, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State
from logclock.schedules import Schedule, check


@elementwise
def simplified_ademamix(grad, momentum_buffer, exp_avg_sq, *, ema1, ema2, grad_weight, correction2, eps):
    """Equation in SimplifiedAdemamixSpec."""
    momentum_buffer = (1 - ema1) * momentum_buffer + grad
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    update = (momentum_buffer + grad_weight * grad) / (sqrt(exp_avg_sq) * correction2 + eps)
    return update, momentum_buffer, exp_avg_sq


@algorithm("simplified-ademamix", class_name="SimplifiedAdEMAMix", paper="arXiv:2502.02431")
class SimplifiedAdemamixSpec(Spec):
    """Simplified AdEMAMix: AdEMAMix with the gradient itself in place of its fast average.

    With t = 1, 2, ..., all elementwise:
        b <- (1 - ema1) b + g
        v <- v + ema2 (g^2 - v)
        theta <- theta - lr(t) (b + grad_weight(t) g) / (sqrt(v) c2 + eps) - decay theta
    where c2 = 1 / sqrt(1 - beta2^t), or 1 without correction. State: momentum_buffer (b, a sum), exp_avg_sq, shaped
    like the parameter. The sum grows to 1 / ema1 gradients, so the learning rate is about ema1 times AdamW's. It is
    ADANA with a memory and a gain that stay: lr grad_weight is ADANA's lr and 1 / (grad_weight ema1) its gain.

    Examples:
        >>> round(SimplifiedAdemamixSpec(ema2=0.05).scalars(1)["correction2"], 4)
        4.4721

    Deviations: none from the equation; one package divides the sum by its weight (1 - beta1^t) / (1 - beta1), which is
        another scale of lr.
    References: Morwani et al. 2025, arXiv:2502.02431.
    """

    direction = (simplified_ademamix,)
    states = {"momentum_buffer": State(weight="ema1"), "exp_avg_sq": State(weight="ema2")}

    lr: PeakLr = 1e-4

    ema1: Ema = 0.01
    """1 - beta1, what the sum forgets per update; `HalfLifeRamp(start=0.1, end=1 - beta1, steps=...)` warms it up."""

    ema2: Ema = 0.05
    """1 - beta2, the weight of the new squared gradient in v."""

    grad_weight: NonNegativeSlot = 0.0
    """Weight of the newest gradient beside its 1 in the sum (the paper's alpha): 0 for large batches, up to 100 for
    small ones."""

    eps: NonNegative = 1e-8
    """Added to the root."""

    bias_correction: bool = True
    """Whether v is corrected; needs a constant ema2."""

    def validate(self) -> None:
        """Raise a ValueError for a correction of an average that is scheduled."""
        check(
            not self.bias_correction or not isinstance(self.ema2, Schedule),
            "ema1 and ema2",
            "be numbers with bias_correction=True",
            (self.ema1, self.ema2),
            advice="beta^t is the bias of a constant average only; set bias_correction=False for a scheduled ema2.",
        )

    def derived(self, t: float) -> dict[str, Any]:
        """Return the correction of the root."""
        return {"correction2": total_weight(self.ema2, t) ** -0.5 if self.bias_correction else 1.0}  # type: ignore[arg-type]
