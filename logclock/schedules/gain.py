"""How strongly does the momentum term count? Schedules for the gain (the papers' alpha)."""

import dataclasses

from logclock.schedules.base import Schedule, check

__all__ = ["LinearRamp", "PowerGrowth"]


@Schedule.family.register("power_growth")
@dataclasses.dataclass(frozen=True, kw_only=True)
class PowerGrowth(Schedule):
    """ADANA's damped gain: (1 + t)^(1 - kappa).

    kappa = 0 is undamped log-time Nesterov (unstable under noise); kappa = 1 means no growth at all.

    Args:
        kappa: Damping exponent in [0, 1].

    Examples:
        >>> PowerGrowth(kappa=0.5)(8)
        3.0

    References: Ferbach et al. 2026, arXiv:2602.05298.
    """

    kappa: float

    def __post_init__(self) -> None:
        advice = "kappa = 1 means no growth of the momentum gain."
        check(0 <= self.kappa <= 1, "kappa", "lie in [0, 1]", self.kappa, advice=advice)

    def __call__(self, t: float) -> float:
        """Return (1 + t)^(1 - kappa)."""
        exponent = 1 - self.kappa
        result: float = (1 + t) ** exponent
        return result


@Schedule.family.register("linear_ramp")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearRamp(Schedule):
    """A straight line from `start` at t = 0 to `end` at t = `steps`, constant afterwards (AdEMAMix's gain).

    Args:
        start: Value at t = 0, before the first update.
        end: Value from t = `steps` on.
        steps: Length of the ramp in updates.

    References: Pagliardini et al. 2024, arXiv:2409.03137.
    """

    start: float
    end: float
    steps: float

    def __post_init__(self) -> None:
        check(self.steps > 0, "steps", "be > 0", self.steps)

    def __call__(self, t: float) -> float:
        """Return the point of the line at `t`."""
        if t >= self.steps:
            return self.end
        return self.start + (self.end - self.start) * (t / self.steps)
