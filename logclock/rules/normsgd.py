"""NormSGD: momentum divided by its own length, tensor by tensor."""

import dataclasses
from typing import Any

import torch

from logclock.rules.rule import whole_tensor
from logclock.rules.spec import Coupling, DecayOrder, Spec, check_momentum, check_slots, lr_and_decay, register
from logclock.schedules import Slot, value_at


@whole_tensor
def normsgd(param, grad, momentum_buffer, *, lr, momentum, grad_weight, buffer_weight, eps, decay):
    """One update; equation in NormsgdSpec."""
    momentum_buffer = momentum * momentum_buffer + grad
    direction = grad_weight * grad + buffer_weight * momentum_buffer
    norms = torch.linalg.vector_norm(direction.flatten(1), dim=1) if direction.dim() > 1 else direction.abs()
    update = direction / (norms.reshape(-1, *[1] * (direction.dim() - 1)) + eps)
    return param * (1 - decay) - lr * update, momentum_buffer


@register("normsgd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class NormsgdSpec(Spec):
    """Normalised SGD with momentum: every tensor moves by the distance lr(t).

    With B starting at 0 and norm(.) the Euclidean (Frobenius) norm of one tensor:
        B <- mu B + G
        M <- G + mu B                                  (nesterov; otherwise M <- B)
        theta <- theta - lr(t) M / (norm(M) + eps) - decay theta
    State: momentum_buffer, shaped like the parameter.

    Args:
        lr: Peak learning rate: the length of an update of each tensor, whatever its size.
        momentum: mu in [0, 1).
        nesterov: Whether the gradient looks ahead.
        eps: Added to the norm.
        weight_decay: lambda(t).
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> NormsgdSpec(lr=0.01).scalars(1)["buffer_weight"]
        0.95

    Deviations: the warm-up study's code starts B at a copy of the weights, so that its first hundred updates mostly
        shrink them.
    References: Riabinin et al. 2026, arXiv:2602.05813; Cutkosky and Mehta 2020, arXiv:2002.03305.
    """

    rule = normsgd

    lr: float = 1e-2
    momentum: Slot = 0.95
    nesterov: bool = True
    eps: float = 1e-8
    weight_decay: Slot = 0.0
    decay_coupling: Coupling = "coupled"
    decay_order: DecayOrder = "before"
    lr_schedule: Slot = 1.0

    def __post_init__(self) -> None:
        check_slots(self)
        check_momentum(self.momentum, nesterov=self.nesterov)

    def scalars(self, t: float, lr: Any = None) -> dict[str, Any]:
        """Return the scalars of update t."""
        lr, decay = lr_and_decay(self, t, lr)
        momentum = value_at(self.momentum, t)
        return {
            "lr": lr,
            "momentum": momentum,
            "grad_weight": 1.0 if self.nesterov else 0.0,
            "buffer_weight": momentum if self.nesterov else 1.0,
            "eps": self.eps,
            "decay": decay,
        }
