"""AdaGrad: SGD whose rate for each weight falls with the squares of all its gradients so far."""

from collections.abc import Mapping
from typing import ClassVar

from logclock.rules.ops import sqrt
from logclock.rules.slots import NonNegative, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State


@elementwise
def adagrad(grad, grad_sq_sum, *, initial, eps):
    """Equation in AdagradSpec."""
    grad_sq_sum = grad_sq_sum + grad * grad
    return grad / (sqrt(grad_sq_sum + initial) + eps), grad_sq_sum


@algorithm("adagrad", class_name="AdaGrad", paper="JMLR 12:2121-2159 (2011)")
class AdagradSpec(Spec):
    """AdaGrad: a sum of squares instead of an average, so that steps shrink like 1 / sqrt(t) by themselves.

    With S starting at 0, all elementwise:
        S <- S + g^2
        theta <- theta - lr(t) g / (sqrt(S + initial) + eps) - decay theta
    State: grad_sq_sum (S), shaped like the parameter, always float32: a sum has no end.

    Examples:
        >>> AdagradSpec(lr=0.1).scalars(7)["lr"]
        0.1

    References: Duchi, Hazan and Singer 2011, JMLR 12:2121-2159; as the optimizer of AdAdaGrad, Lau, Liu and Kolar 2024,
        arXiv:2402.11215.
    """

    direction = (adagrad,)
    states: ClassVar[Mapping[str, State]] = {"grad_sq_sum": State(keeps="float32")}

    lr: PeakLr = 1e-2

    initial: NonNegative = 0.0
    """Added to the sum: torch's initial_accumulator_value."""

    eps: NonNegative = 1e-10
    """Added to the root."""
