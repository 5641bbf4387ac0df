"""How fast does an average forget? Schedules for ema1 and ema2, the weight 1 - beta of the newest sample."""

import dataclasses
import math
from typing import Literal

from logclock.schedules.base import Schedule, Slot, check, value_at

__all__ = ["DebiasedEma", "HalfLifeRamp", "InverseTime", "MemoryCooldown", "log_time_ema", "memory_ema"]


@Schedule.family.register("inverse_time")
@dataclasses.dataclass(frozen=True, kw_only=True)
class InverseTime(Schedule):
    """The shape of logarithmic time: scale / (offset + t).

    With scale = offset = delta it is the weight 1 - beta(t) = delta / (delta + t) of an average whose memory grows as
    t / delta; with scale = omega it is the weight decay omega / (offset + t). It returns the small number itself
    because 1 - beta computed from a float32 beta is wrong by 3 % at t = 1e7.

    Args:
        scale: The numerator.
        offset: Updates added to t; larger means a later, gentler start.

    Examples:
        >>> InverseTime(scale=8.0, offset=8.0)(8)
        0.5

    References: Ferbach et al. 2026, arXiv:2602.05298.
    """

    scale: float
    offset: float

    def __post_init__(self) -> None:
        check(self.scale >= 0, "scale", "be >= 0", self.scale)
        check(self.offset >= 0, "offset", "be >= 0", self.offset)

    def __call__(self, t: float) -> float:
        """Return scale / (offset + t)."""
        return self.scale / (self.offset + t)


def log_time_ema(delta: float = 8.0) -> InverseTime:
    """Return the log-time averaging weight delta / (delta + t).

    Args:
        delta: Log-time offset in updates; the average remembers about t / delta updates.
    """
    check(delta > 0, "delta", "be > 0", delta, advice="The average remembers about t / delta updates.")
    return InverseTime(scale=delta, offset=delta)


@Schedule.family.register("debiased_ema")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DebiasedEma(Schedule):
    """The weights of a constant average with its bias corrected: ema / (1 - (1 - ema)^t).

    An average that starts at zero and takes in its t-th sample with this weight equals, after every update, the
    average of constant weight `ema` divided by 1 - (1 - ema)^t. So a rule without bias correction can use one: ADANA
    with `ema2=DebiasedEma(ema=0.001)` has Adam's second moment.

    Args:
        ema: 1 - beta, the weight from t >> 1 / ema on, in (0, 1].

    Examples:
        >>> DebiasedEma(ema=0.5)(1), round(DebiasedEma(ema=0.5)(2), 6)
        (1.0, 0.666667)

    References: Kingma and Ba 2015, arXiv:1412.6980, section 3.
    """

    ema: float

    def __post_init__(self) -> None:
        check(0 < self.ema <= 1, "ema", "lie in (0, 1]", self.ema, advice="It is 1 - beta, not beta.")

    def __call__(self, t: float) -> float:
        """Return the weight of sample `t`."""
        if self.ema == 1:
            return 1.0
        return -self.ema / math.expm1(t * math.log1p(-self.ema))


@Schedule.family.register("half_life_ramp")
@dataclasses.dataclass(frozen=True, kw_only=True)
class HalfLifeRamp(Schedule):
    """AdEMAMix's warm-up of a slow average: the half-life grows linearly from one value to another.

    An average with newest weight e has beta = 1 - e and a half-life of ln(1/2) / ln(beta) - 1 updates in the authors'
    form. That number is interpolated linearly in t over `steps` updates and turned back into a weight.

    Args:
        start: Weight of the newest sample at t = 0, in (0, 1).
        end: Weight from t = `steps` on, in (0, 1).
        steps: Length of the ramp in updates.

    References: Pagliardini et al. 2024, arXiv:2409.03137.
    """

    start: float
    end: float
    steps: float

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = getattr(self, name)
            check(0 < value < 1, name, "lie in (0, 1)", value, advice="It is 1 - beta, not beta.")
        check(self.steps > 0, "steps", "be > 0", self.steps)

    def __call__(self, t: float) -> float:
        """Return the weight whose half-life lies t / steps of the way from start to end."""
        if t >= self.steps:
            return self.end
        fraction = t / self.steps
        half_life = (1 - fraction) * _half_life(self.start) + fraction * _half_life(self.end)
        return -math.expm1(-math.log(2) / (half_life + 1))


def _half_life(ema: float) -> float:
    return -math.log(2) / math.log1p(-ema) - 1  # log1p: ln(1 - ema) keeps its digits when ema is 1e-8


def memory_ema(memory: float) -> float:
    """Return the constant averaging weight 1 / memory of an average that remembers `memory` updates.

    Memory M means beta = 1 - 1/M: weights fall by a factor e over M updates and by 2 over 0.69 M, and beta = 0.9 is a
    memory of 10. In this unit one may tune an optimizer's memory as one tunes its learning rate: Everett and Qiu found
    AdamW's best to grow from 20 updates to 1280 as training grew 128-fold.

    Args:
        memory: M in updates, >= 1; 1 is the newest sample alone.

    Examples:
        >>> memory_ema(20)
        0.05

    References: Everett and Qiu 2026, arXiv:2609.04577 (the tuning, not this notation).
    """
    check(1 <= memory < math.inf, "memory", "be finite and >= 1 update", memory, advice="beta = 1 - 1 / memory.")
    return 1 / memory


@Schedule.family.register("memory_cooldown")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryCooldown(Schedule):
    """Any average, with a memory that shrinks over the last part of training.

    An average with newest weight e remembers 1 / e updates. That memory is multiplied by a factor f, which is 1 until
    the last S = fraction T updates and `final` at t = T and after; what is returned is min(base(t) / f(t), 1), since no
    average remembers less than the newest sample. With x = (t - (T - S)) / S
        geometric:  f = final^x
        linear:     f = 1 - (1 - final) x

    The bias correction of AdamW holds for constant averages only: use `bias_correction=False`, or an optimizer that has
    none. The total weight of the samples is 1 minus the product of 1 - ema over all updates, no function of t alone.
    With a base that is 1 at t = 1 it is 1 from then on, whatever follows, and there is no bias to correct.

    Args:
        base: Newest weight without the cooldown, a number or a schedule.
        total_steps: Planned updates T.
        fraction: Share of T that the cooldown takes, in (0, 1].
        final: Share of the memory that is left at t = T, in (0, 1]; 1 is no cooldown.
        shape: `geometric` or `linear` in the memory.

    Examples:
        >>> cooldown = MemoryCooldown(base=memory_ema(100), total_steps=1000, fraction=0.2, final=0.01)
        >>> cooldown(800), round(cooldown(900), 12), cooldown(1000)
        (0.01, 0.1, 1.0)

    References: Everett and Qiu 2026, arXiv:2609.04577, for the idea; this form is ours.
    """

    base: Slot
    total_steps: float
    fraction: float
    final: float
    shape: Literal["geometric", "linear"] = "geometric"

    def __post_init__(self) -> None:
        if not isinstance(self.base, Schedule):
            check(0 < self.base <= 1, "base", "lie in (0, 1]", self.base, advice="It is 1 - beta, not beta.")
        check(1 <= self.total_steps < math.inf, "total_steps", "be finite and >= 1", self.total_steps)
        check(0 < self.fraction <= 1, "fraction", "lie in (0, 1]", self.fraction, advice="It is a share of T.")
        check(0 < self.final <= 1, "final", "lie in (0, 1]", self.final, advice="It is a share of the memory.")
        check(self.shape in ("geometric", "linear"), "shape", "be 'geometric' or 'linear'", self.shape)

    def __call__(self, t: float) -> float:
        """Return the weight of the newest sample at `t`."""
        room = self.fraction * self.total_steps
        elapsed = min(max((t - (self.total_steps - room)) / room, 0.0), 1.0)
        linear = max(1 - (1 - self.final) * elapsed, self.final)  # a difference of near numbers may fall below its end
        factor: float = self.final**elapsed if self.shape == "geometric" else linear
        return min(value_at(self.base, t) / factor, 1.0)
