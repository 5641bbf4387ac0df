"""NormSGD: momentum divided by its own length, tensor by tensor."""

from typing import Any

from logclock.rules.averages import check_momentum
from logclock.rules.ops import norm
from logclock.rules.slots import Momentum, NonNegative, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.schedules import value_at


@elementwise
def normsgd(grad, momentum_buffer, *, momentum, grad_weight, buffer_weight, eps):
    """Equation in NormsgdSpec."""
    momentum_buffer = momentum * momentum_buffer + grad
    direction = grad_weight * grad + buffer_weight * momentum_buffer
    return direction / (norm(direction) + eps), momentum_buffer


@algorithm("normsgd", class_name="NormSGD", paper="arXiv:2602.05813; arXiv:2002.03305")
class NormsgdSpec(Spec):
    """Normalised SGD with momentum: every tensor moves by the distance lr(t).

    With B starting at 0 and norm(.) the Euclidean (Frobenius) norm of one tensor:
        B <- mu B + G
        M <- G + mu B                                  (nesterov; otherwise M <- B)
        theta <- theta - lr(t) M / (norm(M) + eps) - decay theta
    State: momentum_buffer, shaped like the parameter. The learning rate is the length of an update of each tensor,
    whatever its size.

    Examples:
        >>> NormsgdSpec(lr=0.01).scalars(1)["buffer_weight"]
        0.95

    Deviations: the warm-up paper's code starts B at a copy of the weights, so that its first hundred updates mostly
        shrink them.
    References: Riabinin et al. 2026, arXiv:2602.05813; Cutkosky and Mehta 2020, arXiv:2002.03305.
    """

    direction = (normsgd,)

    lr: PeakLr = 1e-2

    momentum: Momentum = 0.95
    """mu in [0, 1)."""

    nesterov: bool = True
    """Whether the gradient looks ahead."""

    eps: NonNegative = 1e-8
    """Added to the norm."""

    def validate(self) -> None:
        """Raise a ValueError for a look-ahead without momentum."""
        check_momentum(self)

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weights of gradient and buffer in M."""
        momentum = value_at(self.momentum, t)
        return {
            "grad_weight": 1.0 if self.nesterov else 0.0,
            "buffer_weight": momentum if self.nesterov else 1.0,
        }
