"""What may stand around a direction? The base of apply stages and wrappers: a named option with stages of its own."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from logclock.config import Registry
from logclock.config.bounds import check_bounds
from logclock.rules.rule import SHARED_SCALARS, Output, Step
from logclock.rules.stage import Stage
from logclock.rules.state import State
from logclock.schedules import value_at

__all__ = ["Option", "scalars_by_name", "statics_of"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """A frozen dataclass of hyperparameters with the stages that they steer, as plain data `{"name": ..., ...}`.

    Attributes:
        family: The registry in which its name stands.
        stages: Its stages, each with what its result is: "grad" (before the direction), "update" or "moved".
        states: Declarations of the stages' states that are not zeros shaped like the parameter.
        matrices_only: Whether it takes 2-D parameters alone.
        absorbs_decay: Whether weight decay acts within its stages, and no longer where the update is applied.
        decays: Whether weight decay has an effect under it; otherwise a decay other than 0 is refused.
        needs_norm: Whether a parameter of norm 0 could never leave 0 under it; such a one is refused.
    """

    family: ClassVar[Registry[Any]]
    stages: ClassVar[tuple[tuple[Stage, Output], ...]]
    states: ClassVar[Mapping[str, State]] = {}
    matrices_only: ClassVar[bool] = False
    absorbs_decay: ClassVar[bool] = False
    decays: ClassVar[bool] = True
    needs_norm: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def name(self) -> str:
        """The name under which the option is registered."""
        return self.family.name_of(type(self))

    def steps(self) -> tuple[Step, ...]:
        """Return the stages at their place, under the option's name."""
        return tuple(
            Step(
                stage,
                output,
                owner=self.name,
                statics=statics_of(self, stage),
                states=tuple(self.states.get(name, State()) for name in stage.state_names),
            )
            for stage, output in self.stages
        )

    def derived(self, t: float) -> dict[str, Any]:
        """Return the scalars of update t that are not fields."""
        return {}

    def scalars(self, t: float) -> dict[str, Any]:
        """Return the scalars of update t that the stages read, by their names there, but for the shared ones."""
        known = {*SHARED_SCALARS, *(state.total for state in self.states.values())}
        names = [name for stage, _ in self.stages for name in stage.scalar_names if name not in known]
        return scalars_by_name(self, names, t)


def scalars_by_name(owner: Any, names: list[str], t: float) -> dict[str, Any]:
    """Return the value at t of every name: what `owner.derived(t)` says, else the field of that name."""
    derived = owner.derived(t)
    return {name: derived[name] if name in derived else value_at(getattr(owner, name), t) for name in names}


def statics_of(owner: Any, stage: Stage) -> tuple[tuple[str, Any], ...]:
    """Return the values of a stage's static options, which are fields or properties of `owner`."""
    return tuple((name, getattr(owner, name)) for name in stage.static_names)
