"""SGDP: SGD whose momentum does not lengthen weights that only have a direction."""

from typing import Any

from logclock.rules.averages import check_momentum
from logclock.rules.projections import project
from logclock.rules.slots import Momentum, NonNegative, PeakLr, Positive
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.schedules import value_at


@elementwise
def sgdp(grad, momentum_buffer, *, momentum, new_weight, grad_weight, buffer_weight):
    """Equation in SgdpSpec."""
    momentum_buffer = momentum * momentum_buffer + new_weight * grad
    return grad_weight * grad + buffer_weight * momentum_buffer, momentum_buffer


@algorithm("sgdp", class_name="SGDP", paper="arXiv:2006.08217")
class SgdpSpec(Spec):
    """SGDP: SGD with momentum, less the part of its update along weights whose length does not change the loss.

    With b starting at 0:
        b <- mu b + (1 - dampening) g
        u = b                       (nesterov: g + mu b)
    and AdamP's projection of u and ratio of the decay: for every tensor with two sides or more, first for its rows
    and, if that does not hold, for the tensor as one row of all its elements:
        if abs(cos(g, theta)) < cosine_bound / sqrt(length of a row) for every row:
            u <- u - p (p . u) for every row, p = theta / (norm(theta) + eps);  decay <- decay_ratio decay
        theta <- theta - lr(t) u - decay theta
    State: momentum_buffer, shaped like the parameter. The decay is part of the update, so apply stages that reshape the
    decay do not reshape this one.

    Examples:
        >>> SgdpSpec(lr=0.1, momentum=0.9, nesterov=True).scalars(1)["buffer_weight"]
        0.9

    Deviations: the authors multiply the decay by 1 / (1 - mu), the length of the sum; give weight_decay / (1 - mu).
    References: Heo et al. 2020, arXiv:2006.08217, where cosine_bound is delta.
    """

    direction = (sgdp, project)
    absorbs_decay = True

    lr: PeakLr = 1e-3

    momentum: Momentum = 0.0
    """mu in [0, 1)."""

    dampening: NonNegative = 0.0
    """1 - the weight of the new gradient in b."""

    nesterov: bool = False
    """Whether the gradient looks ahead."""

    cosine_bound: Positive = 0.1
    """Cosine between gradient and weights, times the root of a row's length, below which they count as orthogonal."""

    decay_ratio: NonNegative = 0.1
    """Of the decay, what acts on weights that are projected."""

    eps: NonNegative = 1e-8
    """Added to the norms of the projection."""

    def validate(self) -> None:
        """Raise a ValueError for a look-ahead without momentum."""
        check_momentum(self)

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weights of gradient and buffer."""
        momentum = value_at(self.momentum, t)
        return {
            "new_weight": 1 - self.dampening,
            "grad_weight": 1.0 if self.nesterov else 0.0,
            "buffer_weight": momentum if self.nesterov else 1.0,
        }
