"""How much weight decay at update t? Constructors for lambda(t), before the learning-rate schedule multiplies it."""

import math

from logclock.schedules.base import Constant, Schedule, check
from logclock.schedules.momentum import InverseTime

__all__ = ["constant_decay", "log_time_decay", "matched_decay"]


def log_time_decay(omega: float = 4.0, *, offset: float | None = None, total_steps: float | None = None) -> InverseTime:
    """Return the log-time weight decay lambda(t) = omega / (offset + t).

    The study ran offset = T / 10 for T planned updates; its text writes omega / t, which is offset near 0 and removes
    everything in the first updates unless the learning rate is warmed up. At equal omega the forms differ in total
    strength: with a cosine to 10 % the sum of s(t) lambda(t) is 2.2 for `constant_decay`, 6.8 for offset = T / 10 and
    17 for offset = 1, all at omega = 4.

    Args:
        omega: Dimensionless strength.
        offset: Updates added to t, >= 1; the decay starts at omega / offset.
        total_steps: Planned updates T, instead of `offset`: it is then T / 10 in whole updates, and at least 1.

    Raises:
        TypeError: Not exactly one of `offset` and `total_steps` is given.

    References: Ferbach et al. 2026, arXiv:2602.05298, released launcher.
    """
    if (offset is None) == (total_steps is None):
        given = "neither" if offset is None else f"offset={offset!r} and total_steps={total_steps!r}"
        raise TypeError(
            f"log_time_decay takes either offset or total_steps, got {given}. total_steps=T means offset=T // 10."
        )
    if total_steps is not None:
        check(total_steps >= 1, "total_steps", "be >= 1", total_steps)
        offset = max(total_steps // 10, 1)
    assert offset is not None
    check(offset >= 1, "offset", "be >= 1 update", offset, advice="The study used T / 10.")
    return InverseTime(scale=omega, offset=offset)


def constant_decay(omega: float = 4.0, *, total_steps: float) -> Constant:
    """Return the study's decay for AdamW: the constant omega / T.

    Args:
        omega: Dimensionless strength.
        total_steps: Planned updates T.
    """
    check(total_steps >= 1, "total_steps", "be >= 1", total_steps)
    return Constant(value=omega / total_steps)


def matched_decay(decay: Schedule, *, lr_schedule: Schedule, total_steps: int) -> Constant:
    """Return the constant lambda that removes as much as `decay` does over the run: equal sums of s(t) lambda(t).

    The control for a comparison of shapes: at equal omega the study's log-time decay is 3.1 times as strong as its
    constant one.

    Args:
        decay: lambda(t), to be multiplied by s(t) only (independent decay).
        lr_schedule: s(t).
        total_steps: Planned updates T.
    """
    check(total_steps >= 1, "total_steps", "be >= 1", total_steps)
    steps = range(1, total_steps + 1)
    multipliers = [lr_schedule(t) for t in steps]
    total = math.fsum(multipliers)
    check(total > 0, "lr_schedule", "be positive somewhere", total)
    return Constant(value=math.fsum(s * decay(t) for s, t in zip(multipliers, steps, strict=True)) / total)
