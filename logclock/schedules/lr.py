"""Which fraction of the peak learning rate applies at update t? Schedules for s(t) = lr(t) / peak_lr, all in [0, 1]."""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

from logclock.schedules.base import Schedule, check

__all__ = ["Cosine", "Eden", "InverseSqrt", "Linear", "LrSchedule", "PowerLaw", "Warmup", "WarmupStableDecay"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LrSchedule(Schedule):
    """A warm-up to the peak followed by a decay, which the subclasses define.

    With k = t - 1 (the first update has k = 0, as in the study's launcher) and W = warmup_steps, the warm-up rules
    while k < W; the decay then sees k - W.

    Args:
        warmup_steps: Length W of the warm-up in updates; 0 starts at the peak.
        warmup_start: Fraction of the peak at the first update, if there is a warm-up.
        warmup_shape: `linear` or `cosine`.
    """

    warmup_steps: float = 0.0
    warmup_start: float = 0.0
    warmup_shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        check(self.warmup_steps >= 0, "warmup_steps", "be >= 0", self.warmup_steps)
        in_range = 0 <= self.warmup_start <= 1
        check(
            in_range,
            "warmup_start",
            "lie in [0, 1]",
            self.warmup_start,
            advice="It is a fraction of the peak.",
        )
        check(
            self.warmup_shape in ("linear", "cosine"),
            "warmup_shape",
            "be 'linear' or 'cosine'",
            self.warmup_shape,
        )

    def __call__(self, t: float) -> float:
        """Return the fraction of the peak at update `t`."""
        k = t - 1
        if k >= self.warmup_steps:
            return self.decay(k - self.warmup_steps)
        fraction = k / self.warmup_steps
        if self.warmup_shape == "cosine":
            fraction = _half_cosine(fraction)
        return self.warmup_start + (1 - self.warmup_start) * fraction

    @abstractmethod
    def decay(self, k: float) -> float:
        """Return the fraction of the peak `k` updates after the warm-up; 1 at k = 0."""


def _half_cosine(x: float) -> float:
    """Rise from 0 to 1 as (1 - cos(pi x)) / 2; the square keeps the digits which that difference loses near x = 0."""
    return math.sin(0.5 * math.pi * x) ** 2


def _clamped(fraction: float) -> float:
    return min(max(fraction, 0.0), 1.0)


def _check_horizon(total_steps: float, warmup_steps: float, final: float) -> None:
    check(total_steps > warmup_steps, "total_steps", f"exceed warmup_steps = {warmup_steps}", total_steps)
    check(0 <= final <= 1, "final", "lie in [0, 1]", final, advice="It is a fraction of the peak.")


@Schedule.family.register("warmup")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Warmup(LrSchedule):
    """The warm-up alone: 1 from then on. Multiply it with any other schedule."""

    def decay(self, k: float) -> float:
        """Return 1."""
        return 1.0


@Schedule.family.register("cosine")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(LrSchedule):
    """Warm-up, then half a cosine from 1 to `final`, which is reached T updates after the first; `final` afterwards.

    The study's schedule is warmup_steps = T // 50, warmup_start = 0.01, final = 0.1.

    Args:
        total_steps: Planned updates T, warm-up included.
        final: Fraction of the peak at the end.

    Examples:
        >>> Cosine(total_steps=101, final=0.1)(1), round(Cosine(total_steps=100, final=0.1)(51), 6)
        (1.0, 0.55)
    """

    total_steps: float
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_horizon(self.total_steps, self.warmup_steps, self.final)

    def decay(self, k: float) -> float:
        """Return the cosine `k` updates after the warm-up."""
        room = self.total_steps - self.warmup_steps
        remaining = _clamped((room - k) / room)  # not 1 - k / room, which has no digits left at the end of a long run
        return self.final + (1 - self.final) * _half_cosine(remaining)


@Schedule.family.register("linear")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(LrSchedule):
    """Warm-up, then a straight line from 1 to `final`, which is reached T updates after the first; `final` afterwards.

    Args:
        total_steps: Planned updates T, warm-up included.
        final: Fraction of the peak at the end.
    """

    total_steps: float
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_horizon(self.total_steps, self.warmup_steps, self.final)

    def decay(self, k: float) -> float:
        """Return the line `k` updates after the warm-up."""
        room = self.total_steps - self.warmup_steps
        return self.final + (1 - self.final) * _clamped((room - k) / room)


@Schedule.family.register("wsd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(LrSchedule):
    """Warm-up, a plateau at 1, then a decay to `final` over the last `decay_steps` updates (WSD).

    Args:
        total_steps: Planned updates T, warm-up included.
        decay_steps: Length of the decay in updates; if None a fifth of T, or what the warm-up leaves if that is less.
        decay_shape: `linear`, `cosine` or `sqrt` (1 - sqrt of the elapsed fraction).
        final: Fraction of the peak at the end.

    References: Hu et al. 2024, arXiv:2404.06395; Haegele et al. 2024, arXiv:2405.18392 (sqrt).
    """

    total_steps: float
    decay_steps: float | None = None
    decay_shape: Literal["linear", "cosine", "sqrt"] = "linear"
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_horizon(self.total_steps, self.warmup_steps, self.final)
        room = self.total_steps - self.warmup_steps
        fits = self.decay_steps is None or 0 < self.decay_steps <= room
        check(fits, "decay_steps", f"lie in (0, {room}], what the warm-up leaves", self.decay_steps)
        check(self.decay_shape in _DECAYS, "decay_shape", f"be one of {', '.join(_DECAYS)}", self.decay_shape)

    def decay(self, k: float) -> float:
        """Return the plateau or the decay `k` updates after the warm-up."""
        room = self.total_steps - self.warmup_steps
        decay_steps = min(self.total_steps / 5, room) if self.decay_steps is None else self.decay_steps
        elapsed, remaining = _clamped((k - (room - decay_steps)) / decay_steps), _clamped((room - k) / decay_steps)
        return self.final + (1 - self.final) * _DECAYS[self.decay_shape](elapsed, remaining)


_DECAYS: dict[str, Callable[[float, float], float]] = {
    "linear": lambda _, remaining: remaining,
    "cosine": lambda _, remaining: _half_cosine(remaining),
    "sqrt": lambda elapsed, remaining: remaining / (1 + math.sqrt(elapsed)),  # = 1 - sqrt(elapsed)
}


@Schedule.family.register("inverse_sqrt")
@dataclasses.dataclass(frozen=True, kw_only=True)
class InverseSqrt(LrSchedule):
    """Warm-up of W > 0 updates, then sqrt(W / k) with k counted from the first update: no horizon is needed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.warmup_steps > 0,
            "warmup_steps",
            "be > 0",
            self.warmup_steps,
            advice="It sets the decay too.",
        )

    def decay(self, k: float) -> float:
        """Return sqrt(W / (W + k))."""
        return math.sqrt(self.warmup_steps / (self.warmup_steps + k))


@Schedule.family.register("power_law")
@dataclasses.dataclass(frozen=True, kw_only=True)
class PowerLaw(LrSchedule):
    """Warm-up of W updates, then (1 + (k - W) / time_scale)^(-exponent): no horizon is needed.

    Args:
        time_scale: Updates after the warm-up at which the decay sets in.
        exponent: How fast it decays, >= 0.
    """

    time_scale: float
    exponent: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.time_scale > 0, "time_scale", "be > 0", self.time_scale)
        check(self.exponent >= 0, "exponent", "be >= 0", self.exponent)

    def decay(self, k: float) -> float:
        """Return the power law `k` updates after the warm-up."""
        result: float = (1 + k / self.time_scale) ** -self.exponent
        return result


@Schedule.family.register("eden")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Eden(Schedule):
    """ScaledAdam's schedule: flat, then falling with the root of the updates and, beside it, of the epochs.

    With k = t - 1 updates made, e = floor(k / steps_per_epoch) epochs finished, and w the warm-up, which is a factor
    beside the decay and does not delay it:
        s = w ((k^2 + K^2) / K^2)^(-1/4) ((e^2 + E^2) / E^2)^(-1/4)
        w = warmup_start + (1 - warmup_start) min(k / warmup_steps, 1)

    Args:
        time_scale: K, updates at which the decay by updates sets in.
        epoch_scale: E, epochs at which the decay by epochs sets in.
        steps_per_epoch: Updates in an epoch; None for a single pass, without the second factor.
        warmup_steps: Length of the warm-up in updates; 0 for none.
        warmup_start: Fraction at the first update, if there is a warm-up.

    Examples:
        >>> schedule = Eden(time_scale=100, warmup_steps=0)
        >>> schedule(1), round(schedule(101), 4)
        (1.0, 0.8409)

    References: Yao et al. 2023, arXiv:2310.11230.
    """

    time_scale: float = 5000.0
    epoch_scale: float = 6.0
    steps_per_epoch: float | None = None
    warmup_steps: float = 500.0
    warmup_start: float = 0.5

    def __post_init__(self) -> None:
        check(self.time_scale > 0, "time_scale", "be > 0", self.time_scale)
        check(self.epoch_scale > 0, "epoch_scale", "be > 0", self.epoch_scale)
        advice = "None leaves the epochs out."
        is_length = self.steps_per_epoch is None or self.steps_per_epoch > 0
        check(is_length, "steps_per_epoch", "be > 0 or None", self.steps_per_epoch, advice=advice)
        check(self.warmup_steps >= 0, "warmup_steps", "be >= 0", self.warmup_steps)
        advice = "It is a fraction of the peak."
        check(0 <= self.warmup_start <= 1, "warmup_start", "lie in [0, 1]", self.warmup_start, advice=advice)

    def __call__(self, t: float) -> float:
        """Return the fraction of the peak at update `t`."""
        k = t - 1
        result: float = (1 + (k / self.time_scale) ** 2) ** -0.25
        if self.steps_per_epoch is not None:
            result *= (1 + (k // self.steps_per_epoch / self.epoch_scale) ** 2) ** -0.25
        if k < self.warmup_steps:
            result *= self.warmup_start + (1 - self.warmup_start) * (k / self.warmup_steps)
        return result
