"""AdaGrad-Norm: SGD with one rate for all weights, which falls with the squared norms of all gradients so far."""

from collections.abc import Mapping
from typing import ClassVar

from logclock.rules.ops import sqrt, total
from logclock.rules.slots import NonNegative, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State


@elementwise
def summed(grad, grad_sq_sum):
    """The part of one tensor in the sum of squared norms."""
    return grad, grad_sq_sum + total(grad * grad)


@elementwise
def adagrad_norm(grad, *, grad_sq_total, initial, eps):
    """Equation in AdagradNormSpec."""
    return grad / (sqrt(grad_sq_total + initial) + eps)


@algorithm("adagrad-norm", class_name="AdaGradNorm", paper="arXiv:1806.01811")
class AdagradNormSpec(Spec):
    """AdaGrad-Norm: the scalar form of AdaGrad, a step size that needs no knowledge of noise or smoothness.

    With S starting at 0 and the norm over all tensors that the optimizer updates together:
        S <- S + norm(g)^2
        theta <- theta - lr(t) g / (sqrt(S + initial) + eps) - decay theta
    State: grad_sq_sum, one number for each tensor, its part of S; always float32. With `initial` the square of the
    paper's b_0.

    Examples:
        >>> AdagradNormSpec(lr=1.0).scalars(7)["lr"]
        1.0

    Deviations: a tensor without a gradient keeps its part of S.
    References: Ward, Wu and Bottou 2018, arXiv:1806.01811; as the optimizer of AdAdaGradNorm, Lau, Liu and Kolar 2024,
        arXiv:2402.11215.
    """

    direction = (summed, adagrad_norm)
    states: ClassVar[Mapping[str, State]] = {
        "grad_sq_sum": State(shape="number", keeps="float32", total="grad_sq_total")
    }

    lr: PeakLr = 1.0

    initial: NonNegative = 0.0
    """Added to the sum: the square of b_0, a first guess of the length of a gradient."""

    eps: NonNegative = 1e-10
    """Added to the root."""
