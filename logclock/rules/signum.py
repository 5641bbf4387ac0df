"""Signum: the sign of the averaged gradient."""

import dataclasses
from typing import Any

from logclock.rules.ops import sign
from logclock.rules.rule import elementwise
from logclock.rules.spec import Coupling, DecayOrder, Spec, check_look_ahead, check_slots, lr_and_decay, register
from logclock.schedules import Slot, value_at


@elementwise
def signum(param, grad, exp_avg, *, lr, ema1, ema_ahead, decay):
    """One update; equation in SignumSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    update = sign(exp_avg + ema_ahead * (grad - exp_avg))
    return param - lr * update - decay * param, exp_avg


@register("signum")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SignumSpec(Spec):
    """Signum: sign descent with momentum.

    With m starting at 0 and sign(0) = 0, all elementwise:
        m <- m + ema1 (g - m)
        theta <- theta - lr(t) sign(m) - decay theta                        (plain)
        theta <- theta - lr(t) sign(m + ema1 (g - m)) - decay theta         (nesterov)
    State: exp_avg, shaped like the parameter.

    Args:
        lr: Peak learning rate, per update: the length of every coordinate's step.
        ema1: 1 - mu, the weight of the new gradient in m; 1 is sign descent without momentum.
        nesterov: Whether the sign is that of an average with the gradient counted once more.
        weight_decay: lambda(t).
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> SignumSpec(nesterov=True).scalars(1)["ema_ahead"]
        0.1

    Deviations: the average starts at 0; a public benchmark's code starts it at a copy of the weights, and so shrinks
        them in its first updates.
    References: Bernstein et al. 2018, arXiv:1802.04434.
    """

    rule = signum

    lr: float = 1e-4
    ema1: Slot = 0.1
    nesterov: bool = False
    weight_decay: Slot = 0.0
    decay_coupling: Coupling = "coupled"
    decay_order: DecayOrder = "before"
    lr_schedule: Slot = 1.0

    def __post_init__(self) -> None:
        check_slots(self)
        check_look_ahead(self)

    def scalars(self, t: float, lr: Any = None) -> dict[str, Any]:
        """Return the scalars of update t."""
        lr, decay = lr_and_decay(self, t, lr)
        ema1 = value_at(self.ema1, t)
        return {"lr": lr, "ema1": ema1, "ema_ahead": ema1 if self.nesterov else 0.0, "decay": decay}
