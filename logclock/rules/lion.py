"""Lion: the sign of an average that looks one gradient ahead."""

import dataclasses
from typing import Any

from logclock.rules.ops import sign
from logclock.rules.rule import elementwise
from logclock.rules.spec import Coupling, DecayOrder, Spec, check_slots, lr_and_decay, register
from logclock.schedules import Slot, value_at


@elementwise
def lion(param, grad, exp_avg, *, lr, ema1, ema2, decay):
    """One update; equation in LionSpec."""
    update = sign(exp_avg + ema1 * (grad - exp_avg))
    exp_avg = exp_avg + ema2 * (grad - exp_avg)
    return param - lr * update - decay * param, exp_avg


@register("lion")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LionSpec(Spec):
    """Lion: every coordinate moves by lr, in a direction that a single average decides.

    With m starting at 0 and sign(0) = 0, all elementwise:
        u = sign(m + ema1 (g - m))
        m <- m + ema2 (g - m)
        theta <- theta - lr(t) u - decay theta
    State: exp_avg, shaped like the parameter.

    Args:
        lr: Peak learning rate, per update: the length of every coordinate's step. A third to a tenth of AdamW's.
        ema1: 1 - beta1, the weight of the new gradient in the direction.
        ema2: 1 - beta2, the weight of the new gradient in m; smaller than ema1, so that m remembers longer.
        weight_decay: lambda(t). Coupled, three to ten times AdamW's, so that lr lambda stays.
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> LionSpec().scalars(1)["ema1"]
        0.1

    References: Chen et al. 2023, arXiv:2302.06675.
    """

    rule = lion

    lr: float = 1e-4
    ema1: Slot = 0.1
    ema2: Slot = 0.01
    weight_decay: Slot = 0.0
    decay_coupling: Coupling = "coupled"
    decay_order: DecayOrder = "before"
    lr_schedule: Slot = 1.0

    def __post_init__(self) -> None:
        check_slots(self)

    def scalars(self, t: float, lr: Any = None) -> dict[str, Any]:
        """Return the scalars of update t."""
        lr, decay = lr_and_decay(self, t, lr)
        return {"lr": lr, "ema1": value_at(self.ema1, t), "ema2": value_at(self.ema2, t), "decay": decay}
