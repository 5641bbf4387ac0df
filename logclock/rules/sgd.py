"""SGD with heavy-ball or Nesterov momentum, in the sum form of torch.optim.SGD."""

import dataclasses
from typing import Any

from logclock.rules.rule import elementwise
from logclock.rules.spec import Coupling, DecayOrder, Spec, check_momentum, check_slots, lr_and_decay, register
from logclock.schedules import Slot, value_at


@elementwise
def sgd(param, grad, momentum_buffer, *, lr, momentum, grad_weight, buffer_weight, decay):
    """One update; equation in SgdSpec."""
    momentum_buffer = momentum * momentum_buffer + grad
    update = grad_weight * grad + buffer_weight * momentum_buffer
    return param - lr * update - decay * param, momentum_buffer


@register("sgd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SgdSpec(Spec):
    """Stochastic gradient descent with momentum.

    With b starting at 0:
        b <- mu b + g
        theta <- theta - lr(t) b - decay theta                 (heavy ball)
        theta <- theta - lr(t) (g + mu b) - decay theta        (nesterov)
    State: momentum_buffer, shaped like the parameter (kept for momentum 0 too, so that it can be scheduled).

    Args:
        lr: Peak learning rate, per update.
        momentum: mu in [0, 1).
        nesterov: Whether the gradient looks ahead.
        weight_decay: lambda(t), decoupled from the gradient.
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> SgdSpec(lr=0.1, momentum=0.9, nesterov=True).scalars(1)["buffer_weight"]
        0.9

    Deviations: weight decay is decoupled; `torch.optim.SGD` adds it to the gradient.
    References: Polyak 1964; Sutskever et al. 2013 (the Nesterov form used by torch).
    """

    rule = sgd

    lr: float = 1e-3
    momentum: Slot = 0.0
    nesterov: bool = False
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
            "decay": decay,
        }
