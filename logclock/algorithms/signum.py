"""Signum: the sign of the averaged gradient."""

from typing import Any

from logclock.rules.averages import check_look_ahead
from logclock.rules.ops import sign
from logclock.rules.slots import Ema, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State
from logclock.schedules import value_at


@elementwise
def signum(grad, exp_avg, *, ema1, ema_ahead):
    """Equation in SignumSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    return sign(exp_avg + ema_ahead * (grad - exp_avg)), exp_avg


@algorithm("signum", class_name="Signum", paper="arXiv:1802.04434")
class SignumSpec(Spec):
    """Signum: sign descent with momentum.

    With m starting at 0 and sign(0) = 0, all elementwise:
        m <- m + ema1 (g - m)
        theta <- theta - lr(t) sign(m) - decay theta                        (plain)
        theta <- theta - lr(t) sign(m + ema1 (g - m)) - decay theta         (nesterov)
    State: exp_avg, shaped like the parameter. The learning rate is the length of every coordinate's step.

    Examples:
        >>> SignumSpec(nesterov=True).scalars(1)["ema_ahead"]
        0.1

    Deviations: the average starts at 0; a public benchmark's code starts it at a copy of the weights, and so shrinks
        them in its first updates.
    References: Bernstein et al. 2018, arXiv:1802.04434.
    """

    direction = (signum,)
    states = {"exp_avg": State(weight="ema1")}

    lr: PeakLr = 1e-4

    ema1: Ema = 0.1
    """1 - mu, the weight of the new gradient in m; 1 is sign descent without momentum."""

    nesterov: bool = False
    """Whether the sign is that of an average with the gradient counted once more."""

    def validate(self) -> None:
        """Raise a ValueError for a look-ahead without momentum."""
        check_look_ahead(self)

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weight with which the gradient looks ahead."""
        return {"ema_ahead": value_at(self.ema1, t) if self.nesterov else 0.0}
