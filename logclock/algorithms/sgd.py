"""SGD with heavy-ball or Nesterov momentum, in the sum form of torch.optim.SGD."""

from typing import Any

from logclock.rules.averages import check_momentum
from logclock.rules.slots import Momentum, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.schedules import value_at


@elementwise
def sgd(grad, momentum_buffer, *, momentum, grad_weight, buffer_weight):
    """Equation in SgdSpec."""
    momentum_buffer = momentum * momentum_buffer + grad
    return grad_weight * grad + buffer_weight * momentum_buffer, momentum_buffer


@algorithm("sgd", class_name="SGD", paper="Polyak 1964; Sutskever et al. 2013")
class SgdSpec(Spec):
    """Stochastic gradient descent with momentum.

    With b starting at 0:
        b <- mu b + g
        theta <- theta - lr(t) b - decay theta                 (heavy ball)
        theta <- theta - lr(t) (g + mu b) - decay theta        (nesterov)
    State: momentum_buffer, shaped like the parameter (kept for momentum 0 too, so that it can be scheduled). Weight
    decay is decoupled from the gradient.

    Examples:
        >>> SgdSpec(lr=0.1, momentum=0.9, nesterov=True).scalars(1)["buffer_weight"]
        0.9

    Deviations: weight decay is decoupled; `torch.optim.SGD` adds it to the gradient.
    References: Polyak 1964; Sutskever et al. 2013 (the Nesterov form used by torch).
    """

    direction = (sgd,)

    lr: PeakLr = 1e-3

    momentum: Momentum = 0.0
    """mu in [0, 1)."""

    nesterov: bool = False
    """Whether the gradient looks ahead."""

    def validate(self) -> None:
        """Raise a ValueError for a look-ahead without momentum."""
        check_momentum(self)

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weights of gradient and buffer in the step."""
        momentum = value_at(self.momentum, t)
        return {
            "grad_weight": 1.0 if self.nesterov else 0.0,
            "buffer_weight": momentum if self.nesterov else 1.0,
        }
