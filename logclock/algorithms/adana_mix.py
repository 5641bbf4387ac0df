"""ADANA-mix: Adam's fast average and ADANA's log-time average over one second moment."""

from typing import Any

from logclock.rules.families import MOMENTS, BiasCorrectedSpec
from logclock.rules.ops import sqrt
from logclock.rules.slots import Delta, Ema, Kappa, NonNegative, NonNegativeSlot, PeakLr
from logclock.rules.spec import Coupling, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State
from logclock.schedules import PowerGrowth, log_time_ema, value_at


@elementwise
def adana_mix(
    grad,
    exp_avg,
    exp_avg_sq,
    exp_avg_long,
    *,
    ema1,
    ema2,
    ema_long,
    gain,
    cooldown,
    lr_multiplier,
    correction1,
    correction2,
    eps,
):
    """Equation in AdanaMixSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    exp_avg_long = exp_avg_long + ema_long * (grad - exp_avg_long)
    gain = gain * (1 - cooldown + cooldown * lr_multiplier)
    update = (correction1 * exp_avg + gain * exp_avg_long) / (sqrt(exp_avg_sq) * correction2 + eps)
    return update, exp_avg, exp_avg_sq, exp_avg_long


@algorithm("adana-mix", class_name="ADANAMix")
class AdanaMixSpec(BiasCorrectedSpec):
    """ADANA-mix: AdamW's update plus a log-time average of the gradient with a capped gain.

    With t = 1, 2, ... and ema(t) = delta / (delta + t), all elementwise:
        m <- m + ema1 (g - m)
        v <- v + ema2 (g^2 - v)
        n <- n + ema(t) (g - n)
        theta <- theta - lr(t) (c1 m + gain(t) n) / (sqrt(v) c2 + eps) - s(t) lambda(t) theta
        gain(t) = min(1 / ema(t), gain_factor (1 + t)^(1 - kappa))
    where c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t) correct the bias of m and v, or 1 without correction;
    n has no correction. A gain of 1 / ema(t) counts every gradient since the first as much as the newest, and more
    than that has no bound. State: exp_avg, exp_avg_sq, exp_avg_long, shaped like the parameter.

    It is AdamW with gain_factor 0, ADANA with ema1 1, its weights of v and no correction, and AdEMAMix with a number
    for ema_long and gain.

    Examples:
        >>> round(AdanaMixSpec(gain_factor=4.0).scalars(8)["gain"], 9)  # the cap, 1 / ema(8)
        2.0

    Deviations: it is of this package, after an observation on one micro model that ADANA's loss at the largest batch
        is AdamW's lead, and no paper's; the cap is that of the ADANA authors' measured gain (their code, 2026).
    References: Ferbach et al. 2026, arXiv:2602.05298; Pagliardini et al. 2024, arXiv:2409.03137.
    """

    direction = (adana_mix,)
    states = {**MOMENTS, "exp_avg_long": State(weight="ema_long")}

    lr: PeakLr = 1e-3

    kappa: Kappa = 0.85
    """Damping exponent of the gain."""

    delta: Delta = 8.0
    """Log-time offset in updates; n remembers about t / delta of them."""

    ema_long: Ema | None = None
    """Weight of the new gradient in n; delta / (delta + t) if None."""

    gain_factor: NonNegative = 1.0
    """c, the gain over ADANA's before the cap; 0 is AdamW. A group may have its own."""

    gain: NonNegativeSlot | None = None
    """Weight of n as it stands, without factor and cap; the formula's if None."""

    gain_cooldown: bool = False
    """Whether the gain is multiplied by s(t), so that n fades as the learning rate does."""

    decay_coupling: Coupling = "independent"

    def derived(self, t: float) -> dict[str, Any]:
        """Return the corrections, the weight of n and its gain."""
        ema_long = value_at(log_time_ema(self.delta) if self.ema_long is None else self.ema_long, t)
        grown = self.gain_factor * PowerGrowth(kappa=self.kappa)(t)
        return super().derived(t) | {
            "ema_long": ema_long,
            "gain": min(1 / ema_long, grown) if self.gain is None else value_at(self.gain, t),
            "cooldown": float(self.gain_cooldown),
        }
