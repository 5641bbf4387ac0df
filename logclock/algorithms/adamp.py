"""AdamP: Adam whose momentum does not lengthen weights that only have a direction."""

from typing import Any

from logclock.rules.averages import check_look_ahead
from logclock.rules.families import BiasCorrectedSpec
from logclock.rules.ops import sqrt
from logclock.rules.projections import project
from logclock.rules.slots import NonNegative, PeakLr, Positive
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise
from logclock.schedules import value_at


@elementwise
def adamp(grad, exp_avg, exp_avg_sq, *, ema1, ema2, ema_ahead, correction1, correction2, eps):
    """Equation in AdampSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    ahead = exp_avg + ema_ahead * (grad - exp_avg)
    return correction1 * (ahead / (sqrt(exp_avg_sq) * correction2 + eps)), exp_avg, exp_avg_sq


@algorithm("adamp", class_name="AdamP", paper="arXiv:2006.08217")
class AdampSpec(BiasCorrectedSpec):
    """AdamP: Adam, less the part of its update along weights whose length does not change the loss.

    With t = 1, 2, ..., elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        u = c1 m / (sqrt(v) c2 + eps)
    (nesterov: m + ema1 (g - m) in place of m in u) and, for every tensor with two sides or more, first for its rows
    (output channels) and, if that does not hold, for the tensor as one row of all its elements:
        if abs(cos(g, theta)) < cosine_bound / sqrt(length of a row) for every row:
            u <- u - p (p . u) for every row, p = theta / (norm(theta) + eps);  decay <- decay_ratio decay
        theta <- theta - lr(t) u - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t), or 1 without correction. State: exp_avg, exp_avg_sq,
    shaped like the parameter. The decay is part of the update, so apply stages that reshape the decay do not reshape
    this one.

    Examples:
        >>> [stage.name for stage in AdampSpec.direction]
        ['adamp', 'project']

    References: Heo et al. 2020, arXiv:2006.08217, where cosine_bound is delta.
    """

    direction = (adamp, project)
    absorbs_decay = True

    lr: PeakLr = 1e-3

    nesterov: bool = False
    """Whether the gradient counts once more in the update."""

    cosine_bound: Positive = 0.1
    """Cosine between gradient and weights, times the root of a row's length, below which they count as orthogonal."""

    decay_ratio: NonNegative = 0.1
    """Of the decay, what acts on weights that are projected."""

    eps: NonNegative = 1e-8
    """Added to the root, and to the norms of the projection."""

    def validate(self) -> None:
        """Raise a ValueError for a look-ahead without momentum, or a correction of averages that are scheduled."""
        super().validate()
        check_look_ahead(self)

    def derived(self, t: float) -> dict[str, Any]:
        """Return the corrections, and the weight with which the gradient looks ahead."""
        return super().derived(t) | {"ema_ahead": value_at(self.ema1, t) if self.nesterov else 0.0}
