"""What is a schedule, and how are schedules combined?"""

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from logclock.config import Registry, from_dict, to_dict

__all__ = ["Constant", "Join", "Product", "Schedule", "Slot", "check", "value_at"]


class Schedule(ABC):
    """A function of the update count that is also plain data.

    Every schedule is a frozen dataclass: `schedule(t)` gives its value, with t = 1 at the first update, and
    `schedule.to_dict()` gives the numbers that rebuild it. Values are computed in float64.

    Examples:
        >>> (Constant(value=3.0) * Constant(value=0.5))(10)
        1.5
        >>> Schedule.from_dict({"kind": "constant", "value": 0.1})
        Constant(value=0.1)
    """

    family: ClassVar[Registry[Any]] = Registry("schedule", tag="kind")

    @abstractmethod
    def __call__(self, t: float) -> float:
        """Return the value for update `t`; the first update has t = 1."""

    def to_dict(self) -> dict[str, Any]:
        """Return the plain data that `from_dict` rebuilds the schedule from."""
        data: dict[str, Any] = to_dict(self)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Rebuild a schedule from its plain data; unknown kinds and keys raise."""
        schedule: Self = from_dict(cls, data)
        return schedule

    def __mul__(self, other: "Schedule") -> "Product":
        if not isinstance(other, Schedule):
            return NotImplemented
        return Product(factors=(self, other))


Slot = float | Schedule
"""A hyperparameter: one number for the whole run, or a schedule."""


def value_at(slot: Slot, t: float) -> float:
    """Return the value of a number-or-schedule at update `t`."""
    return slot(t) if isinstance(slot, Schedule) else slot


def check(holds: bool, name: str, allowed: str, given: object, *, advice: str = "") -> None:
    """Raise the ValueError `"name must allowed, got given. advice"` unless `holds`."""
    if not holds:
        raise ValueError(f"{name} must {allowed}, got {given!r}.{' ' + advice if advice else ''}")


@Schedule.family.register("constant")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The same value at every update.

    Args:
        value: The value.
    """

    value: float

    def __call__(self, t: float) -> float:
        """Return `value`."""
        return self.value


@Schedule.family.register("product")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Product(Schedule):
    """The product of schedules; `a * b` builds one.

    Args:
        factors: At least one schedule.
    """

    factors: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        check(len(self.factors) > 0, "factors", "hold at least one schedule", self.factors)

    def __call__(self, t: float) -> float:
        """Return the product of the factors at `t`."""
        result = 1.0
        for factor in self.factors:
            result *= factor(t)
        return result


@Schedule.family.register("join")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Join(Schedule):
    """One schedule after another, each on the common clock t (not restarted at its boundary).

    Args:
        schedules: One more schedule than there are boundaries.
        at: Increasing updates; the schedule after a boundary b rules from t = b on.

    Examples:
        >>> both = Join(schedules=(Constant(value=1.0), Constant(value=0.5)), at=(100,))
        >>> both(99), both(100)
        (1.0, 0.5)
    """

    schedules: tuple[Schedule, ...]
    at: tuple[float, ...]

    def __post_init__(self) -> None:
        fits = len(self.schedules) == len(self.at) + 1
        check(fits, "schedules", f"be one more than the {len(self.at)} boundaries in at", len(self.schedules))
        increasing = all(a < b for a, b in zip(self.at, self.at[1:], strict=False))
        check(increasing, "at", "be strictly increasing", self.at)

    def __call__(self, t: float) -> float:
        """Return the value of the schedule that rules at `t`."""
        return self.schedules[sum(boundary <= t for boundary in self.at)](t)
