"""DANA: stochastic gradient descent with a logarithmic-time momentum, in the sum form of its theory."""

import dataclasses
from typing import Any

from logclock.rules.rule import elementwise
from logclock.rules.spec import Coupling, DecayOrder, Spec, check_slots, lr_and_decay, register
from logclock.schedules import PowerLaw, Schedule, Slot, check, log_time_ema, value_at


@elementwise
def dana(param, grad, momentum_buffer, *, gamma1, gamma2, gamma3, damping, decay):
    """One update; equation in DanaSpec."""
    momentum_buffer = (1 - damping) * momentum_buffer + gamma1 * grad
    return param - gamma2 * grad - gamma3 * momentum_buffer - decay * param, momentum_buffer


@register("dana")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DanaSpec(Spec):
    """DANA: SGD with momentum whose memory grows with t and whose gain falls with t.

    With y starting at 0 and t = 1, 2, ...:
        y <- (1 - Delta(t)) y + gamma1(t) g
        theta <- theta - lr(t) (gamma2(t) g + gamma3(t) y) - decay theta        (the new y)
        Delta(t) = delta / (delta + t),  gamma3(t) = c3 t^-kappa
    The learning rate multiplies gamma2 and gamma3; with lr = 1 they are the coefficients of the theory. A constant
    gamma3 = c3 / d, for d parameters, is DANA-constant. State: momentum_buffer, shaped like the parameter.

    Args:
        lr: Peak learning rate, per update.
        kappa: How fast the gain falls, >= 0: 1 / (2 alpha) for a spectrum j^(-2 alpha); 0.5 is alpha = 1.
        delta: Log-time offset in updates; the momentum remembers t / delta of them.
        c3: Gain on the momentum at the first update, relative to the gradient's; 0.5 is safe, 1 close to the edge.
        weight_decay: lambda(t), decoupled from the gradient.
        gamma1: Weight of the gradient in the momentum.
        gamma2: Step along the gradient, in units of lr.
        gamma3: Step along the momentum, in units of lr; c3 t^-kappa if None.
        damping: Delta(t), the fraction of the momentum that one update forgets; delta / (delta + t) if None.
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> DanaSpec(lr=0.2).scalars(4)["gamma3"]
        0.05

    Deviations: public code also has delta / (1 + t) for Delta, which is negative for 1 - Delta while t < delta - 1.
    References: Ferbach et al. 2025, arXiv:2505.16098.
    """

    rule = dana

    lr: float = 1e-3
    kappa: float = 0.5
    delta: float = 6.0
    c3: float = 0.5
    weight_decay: Slot = 0.0
    gamma1: Slot = 1.0
    gamma2: Slot = 1.0
    gamma3: Slot | None = None
    damping: Slot | None = None
    decay_coupling: Coupling = "coupled"
    decay_order: DecayOrder = "before"
    lr_schedule: Slot = 1.0

    def __post_init__(self) -> None:
        check_slots(self)
        check(self.kappa >= 0, "kappa", "be >= 0", self.kappa)
        check(self.c3 >= 0, "c3", "be >= 0", self.c3)
        for name in ("gamma1", "gamma2", "gamma3"):
            slot = getattr(self, name)
            check(slot is None or isinstance(slot, Schedule) or slot >= 0, name, "be >= 0", slot)
        if isinstance(self.damping, int | float):
            check(0 <= self.damping <= 1, "damping", "lie in [0, 1]", self.damping, advice="It is 1 - momentum.")
        log_time_ema(self.delta)  # raises for values out of range

    def scalars(self, t: float, lr: Any = None) -> dict[str, Any]:
        """Return the scalars of update t."""
        lr, decay = lr_and_decay(self, t, lr)
        if self.gamma3 is None:
            gamma3 = self.c3 * PowerLaw(time_scale=1.0, exponent=self.kappa)(t)
        else:
            gamma3 = value_at(self.gamma3, t)
        return {
            "gamma1": value_at(self.gamma1, t),
            "gamma2": lr * value_at(self.gamma2, t),
            "gamma3": lr * gamma3,
            "damping": value_at(log_time_ema(self.delta) if self.damping is None else self.damping, t),
            "decay": decay,
        }
