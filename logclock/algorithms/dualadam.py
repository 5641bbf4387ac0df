"""DualAdam: begins as InvAdam and turns into Adam along a line."""

from typing import Any

from logclock.rules.families import BiasCorrectedSpec
from logclock.rules.ops import sqrt
from logclock.rules.slots import PeakLr, Rate
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise


@elementwise
def dualadam(grad, exp_avg, exp_avg_sq, *, ema1, ema2, correction1, correction2, eps, share, inverse_share):
    """Equation in DualadamSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    root = sqrt(exp_avg_sq) * correction2 + eps
    return correction1 * (exp_avg * (share / root + inverse_share * root)), exp_avg, exp_avg_sq


@algorithm("dualadam", class_name="DualAdam", paper="arXiv:2603.07122")
class DualadamSpec(BiasCorrectedSpec):
    """DualAdam: InvAdam's step fades while Adam's takes over, in 1 / switch_rate updates.

    With t = 1, 2, ..., a = max(0, 1 - switch_rate t), all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        r = sqrt(v) c2 + eps
        theta <- theta - lr(t) c1 m ((1 - a) / r + a r) - decay theta
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t), or 1 without correction; once a is below switch_rate it
    counts as 0, and this is AdamW. State: exp_avg, exp_avg_sq, shaped like the parameter.

    Examples:
        >>> [round(DualadamSpec(lr=1e-3).scalars(t)["inverse_share"], 9) for t in (1, 50, 99, 100)]
        [0.99, 0.5, 0.01, 0.0]

    References: arXiv:2603.07122.
    """

    direction = (dualadam,)

    lr: PeakLr = 1e-3

    switch_rate: Rate = 0.01
    """By how much InvAdam's share falls per update; 1 is AdamW from the start."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the corrections and the shares of the two steps."""
        left = max(0.0, 1 - self.switch_rate * t)
        inverse_share = left if left >= self.switch_rate else 0.0
        return super().derived(t) | {"share": 1 - inverse_share, "inverse_share": inverse_share}
