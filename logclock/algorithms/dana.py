"""DANA: stochastic gradient descent with a logarithmic-time momentum, in the sum form of its theory."""

from typing import Any

from logclock.rules.slots import Delta, NonNegative, NonNegativeSlot, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State
from logclock.schedules import PowerLaw, Schedule, check, log_time_ema, value_at


@elementwise
def dana(grad, momentum_buffer, *, gamma1, gamma2, gamma3, damping):
    """Equation in DanaSpec."""
    momentum_buffer = (1 - damping) * momentum_buffer + gamma1 * grad
    return gamma2 * grad + gamma3 * momentum_buffer, momentum_buffer


@algorithm("dana", class_name="Dana", paper="arXiv:2505.16098")
class DanaSpec(Spec):
    """DANA: SGD with momentum whose memory grows with t and whose gain falls with t.

    With y starting at 0 and t = 1, 2, ...:
        y <- (1 - Delta(t)) y + gamma1(t) g
        theta <- theta - lr(t) (gamma2(t) g + gamma3(t) y) - decay theta        (the new y)
        Delta(t) = delta / (delta + t),  gamma3(t) = c3 t^-kappa
    The learning rate multiplies gamma2 and gamma3; with lr = 1 they are the coefficients of the theory. A constant
    gamma3 = c3 / d, for d parameters, is DANA-constant. State: momentum_buffer, shaped like the parameter.

    Examples:
        >>> DanaSpec(lr=0.2).scalars(4)["gamma3"]
        0.25

    Deviations: public code also has delta / (1 + t) for Delta, which is negative for 1 - Delta while t < delta - 1.
    References: Ferbach et al. 2025, arXiv:2505.16098.
    """

    direction = (dana,)
    states = {"momentum_buffer": State(weight="damping")}

    lr: PeakLr = 1e-3

    kappa: NonNegative = 0.5
    """How fast the gain falls, >= 0: 1 / (2 alpha) for a spectrum j^(-2 alpha); 0.5 is alpha = 1."""

    delta: Delta = 6.0
    """Log-time offset in updates; the momentum remembers t / delta of them."""

    c3: NonNegative = 0.5
    """Gain on the momentum at the first update, relative to the gradient's; 0.5 is safe, 1 close to the edge."""

    gamma1: NonNegativeSlot = 1.0
    """Weight of the gradient in the momentum."""

    gamma2: NonNegativeSlot = 1.0
    """Step along the gradient, in units of lr."""

    gamma3: NonNegativeSlot | None = None
    """Step along the momentum, in units of lr; c3 t^-kappa if None."""

    damping: NonNegativeSlot | None = None
    """Delta(t), the fraction of the momentum that one update forgets; delta / (delta + t) if None."""

    def validate(self) -> None:
        """Raise a ValueError for a momentum that would grow by itself."""
        is_fraction = self.damping is None or isinstance(self.damping, Schedule) or self.damping <= 1
        check(is_fraction, "damping", "lie in [0, 1]", self.damping, advice="It is 1 - momentum.")

    def derived(self, t: float) -> dict[str, Any]:
        """Return the gain and the damping, where they follow from kappa and delta."""
        decaying = self.c3 * PowerLaw(time_scale=1.0, exponent=self.kappa)(t)
        return {
            "gamma3": decaying if self.gamma3 is None else value_at(self.gamma3, t),
            "damping": value_at(log_time_ema(self.delta) if self.damping is None else self.damping, t),
        }
