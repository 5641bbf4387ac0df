"""What does an optimizer declare, and how do the papers' conventions become the numbers of one update?"""

import dataclasses
import functools
from abc import ABC
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeVar, dataclass_transform

from logclock.config import Registry, from_dict
from logclock.config.bounds import check_bounds
from logclock.rules.apply import Apply, Decay
from logclock.rules.options import Option, scalars_by_name, statics_of
from logclock.rules.rule import Rule, Step
from logclock.rules.slots import NonNegativeSlot, PeakLr, Slot
from logclock.rules.stage import Stage
from logclock.rules.state import State
from logclock.rules.wrappers import Wrapper
from logclock.schedules import check, value_at

__all__ = ["Coupling", "DecayOrder", "Spec", "algorithm", "check_matrix"]

Coupling = Literal["independent", "coupled"]
"""Whether decay is multiplied by s(t) = lr / peak_lr (independent) or by lr itself (coupled, as torch does)."""

DecayOrder = Literal["before", "after"]
"""Whether decay acts on the parameter before the update (torch; equal to acting at once with it) or after it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec(ABC):
    """An optimizer as data: a direction, hyperparameters with defaults, and the scalars of update t.

    A spec is a frozen keyword-only dataclass, made by `@algorithm`. Every slot takes a number or a schedule. A scalar
    of the direction is the field of that name at t, or what `derived` says.

    Attributes:
        direction: The stages that turn a gradient into an update.
        states: Declarations of the direction's states that are not zeros shaped like the parameter.
        matrices_only: Whether embeddings, head and vectors need another optimizer.
        second_gradients: Stages that take another gradient than that of an update, by the name of the optimizer's
            method that gives it to them; their result is left unused, their states are those of the direction.
        absorbs_decay: Whether weight decay is part of the update, and no longer acts where that is applied: for
            methods whose decay depends on the gradient. Its stages read `absorbed_decay` and, for a decay
            after the update, `rate_before_decay`.
        cuts_heads: Whether its `row_blocks` should be the number of heads of a query or key projection.
        takes_stacks: Whether, if it takes matrices only, it takes 3-D parameters too, as stacks of matrices.
        class_name: Name of the optimizer class that stands for it.
        paper: Where it is from.
    """

    family: ClassVar[Registry[Any]] = Registry("optimizer", tag="name", home="logclock.algorithms")
    direction: ClassVar[tuple[Stage, ...]]
    states: ClassVar[Mapping[str, State]] = {}
    second_gradients: ClassVar[Mapping[str, Stage]] = {}
    matrices_only: ClassVar[bool] = False
    absorbs_decay: ClassVar[bool] = False
    cuts_heads: ClassVar[bool] = False
    takes_stacks: ClassVar[bool] = False
    class_name: ClassVar[str]
    paper: ClassVar[str] = ""

    lr: PeakLr
    """Peak learning rate, per update."""

    weight_decay: NonNegativeSlot = 0.0
    """lambda(t)."""

    decay_coupling: Coupling = "coupled"
    """Whether lambda is multiplied by s(t) or by lr(t)."""

    decay_order: DecayOrder = "before"
    """Whether decay comes before or after the update."""

    lr_schedule: Slot = 1.0
    """Multiplier s(t) on the parameter's own clock."""

    apply: Apply = dataclasses.field(default=Decay(), metadata={"omit_default": True})
    """How the update meets the weights: a name, or a dict of the name and its settings."""

    wrappers: tuple[Wrapper, ...] = dataclasses.field(default=(), metadata={"omit_default": True})
    """What stands around the direction, innermost first: names, or dicts of a name and its settings."""

    def __post_init__(self) -> None:
        if not isinstance(self.apply, Apply):  # plain data, as in groups
            object.__setattr__(self, "apply", from_dict(Apply, self.apply, path="apply"))
        if not all(isinstance(wrapper, Wrapper) for wrapper in self.wrappers) or not isinstance(self.wrappers, tuple):
            found = from_dict(tuple[Wrapper, ...], self.wrappers, path="wrappers")
            object.__setattr__(self, "wrappers", found)
        check_bounds(self)
        for name in ("decay_coupling", "decay_order"):
            choices = {"decay_coupling": ("independent", "coupled"), "decay_order": ("before", "after")}[name]
            check(getattr(self, name) in choices, name, f"be {choices[0]!r} or {choices[1]!r}", getattr(self, name))
        self._check_options()
        self.validate()

    def validate(self) -> None:  # noqa: B027  most have nothing to add
        """Raise a ValueError for values that do not go together."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the direction's scalars of update t that are not fields, or not the field as it stands."""
        return {}

    @property
    def num_turns(self) -> int:
        """How many sets the parameters are divided into, that take turns with work which few updates need."""
        return 1

    def due(self, t: float, turn: int) -> dict[str, Any]:
        """Return those of the direction's scalars of update t that are other ones for parameters of another turn."""
        return {}

    def makes_update(self, t: float) -> bool:
        """Return whether call t (1 at the first) moves the parameter; a call that does not only fills states."""
        return True

    def is_due(self, name: str, t: float) -> bool:
        """Return whether the second gradient of that name should be given before update t."""
        return False

    def missing(self, t: float, state: Mapping[str, Any]) -> str:
        """Return what has to be done before update t of a parameter with this state, an empty string if nothing."""
        return ""

    def second_rule(self, name: str) -> Rule:
        """Return the rule that takes a second gradient; it writes states only."""
        stage = self.second_gradients[name]
        states = tuple(self.states.get(state, State()) for state in stage.state_names)
        return _rule(f"{name}", (Step(stage, "update", statics=statics_of(self, stage), states=states),))

    def second_scalars(self, name: str, t: float, given: dict[str, float]) -> dict[str, Any]:
        """Return the scalars of a second gradient given before update t: the spec's, and those of the call."""
        names = [scalar for scalar in self.second_gradients[name].scalar_names if scalar not in given]
        return {**scalars_by_name(self, names, t), **given}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The direction's stages as these settings need them: an idle one goes, with its state."""
        return self.direction

    @property
    def rule(self) -> Rule:
        """The stages in order: on the gradient, direction, wrappers of the update, apply, wrappers of the move."""
        return _rule_of(self)

    def scalars(self, t: float, lr: Any = None, *, turn: int = 0) -> dict[str, Any]:
        """Return the rule's scalars for update t (1 at the first).

        With gamma the learning rate lr s(t), lambda the weight decay and d the fraction that it removes, s(t) lambda
        for independent and gamma lambda for coupled decay: `lr` is gamma, or gamma (1 - d) for decay after the update,
        with which both orders are theta - lr u - decay theta; `rate` is gamma itself; `rate_before_decay` is gamma if
        decay comes after the update and 0 otherwise; `decay_per_lr` is d / gamma; it goes under `absorbed_decay`, and
        both d and `decay_per_lr` are 0, if the direction absorbs the decay.

        Args:
            t: Update count.
            lr: The current learning rate if something outside schedules it (a number or a 0-d tensor); None: the peak.
            turn: Of the parameter, from 0 to `num_turns` - 1.
        """
        rate = (self.lr if lr is None else lr) * value_at(self.lr_schedule, t)
        weight_decay = value_at(self.weight_decay, t)
        is_coupled = self.decay_coupling == "coupled"
        decay = (rate if is_coupled else rate / self.lr) * weight_decay
        decay_per_lr = weight_decay if is_coupled else weight_decay / self.lr
        if self.absorbs_decay or any(wrapper.absorbs_decay for wrapper in self.wrappers):
            decay = 0.0
        if not self.makes_update(t):
            rate, decay = 0.0, 0.0
        is_after = self.decay_order == "after"
        found = {
            "lr": rate * (1 - decay) if is_after else rate,
            "decay": decay,
            "rate": rate,
            "rate_before_decay": rate if is_after else 0.0,
            "decay_per_lr": 0.0 if self.absorbs_decay else decay_per_lr,
            "absorbed_decay": decay_per_lr if self.absorbs_decay else 0.0,
            "lr_multiplier": rate / self.lr,
            "t": float(t),
        }
        found |= self.due(t, turn)
        known = {*found, *self.rule.totals}
        own = [name for stage in self.stages for name in stage.scalar_names if name not in known]
        found |= scalars_by_name(self, own, t)
        for option in self._options():
            found |= {f"{option.name}.{name}": value for name, value in option.scalars(t).items()}
        return {name: found[name] for name in self.rule.scalar_names}

    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the state `name` of a parameter of this shape."""
        state = self.rule.states[name]
        found = state.shape_for(tuple(shape), self)
        longest = None if state.empty_above is None else getattr(self, state.empty_above)
        return found if longest is None or max(found, default=0) <= longest else (0,) * len(found)

    def num_blocks(self, shape: tuple[int, ...]) -> int:
        """Return into how many equal blocks the rows of a parameter are cut, for states with a number for each."""
        return 1

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise a ValueError for a parameter of a shape that the rule does not take."""
        takers: tuple[Spec | Option, ...] = (self, *self._options())
        for taker in takers:
            if taker.matrices_only:
                name = type(taker).family.name_of(type(taker))
                check_matrix(shape, name=name, takes_stacks=isinstance(taker, Spec) and taker.takes_stacks)

    def evaluation(self, t: float) -> tuple[Wrapper, dict[str, float]] | None:
        """Return the wrapper that evaluates at another point than it trains at, with its scalars after update t."""
        for wrapper in self.wrappers:
            if wrapper.evaluation is not None:
                names = list(wrapper.evaluation.scalar_names)
                return wrapper, scalars_by_name(wrapper, names, t)
        return None

    def _options(self) -> tuple[Option, ...]:
        return (*self.wrappers, self.apply)

    def _check_options(self) -> None:
        names = [wrapper.name for wrapper in self.wrappers]
        check(
            len(set(names)) == len(names), "wrappers", "be different ones", names, advice="Each may stand there once."
        )
        travelling = [wrapper.name for wrapper in self.wrappers if wrapper.evaluation is not None]
        check(
            len(travelling) <= 1,
            "wrappers",
            "hold one that trains at another point than it evaluates",
            travelling,
            advice="The weights can be evaluated at one point only.",
        )
        check(
            self.apply.decays or self.weight_decay == 0,
            "weight_decay",
            f"be 0 with apply={self.apply.name!r}",
            self.weight_decay,
            advice="It keeps the norm of every tensor, so that decay would have no effect.",
        )


@functools.lru_cache(maxsize=256)  # a step asks for it several times
def _rule_of(spec: Spec) -> Rule:
    own = tuple(
        Step(
            stage,
            "update",
            statics=statics_of(spec, stage),
            states=tuple(spec.states.get(name, State()) for name in stage.state_names),
        )
        for stage in spec.stages
    )
    around = tuple(step for wrapper in spec.wrappers for step in wrapper.steps())
    ends = spec.apply.steps()
    names = [type(spec).family.name_of(type(spec))]
    names += [option.name for option in spec._options() if option != Decay()]
    return _rule(
        "+".join(names),
        tuple(step for step in ends if step.output == "grad")
        + own
        + tuple(step for step in around if step.output == "update")
        + tuple(step for step in ends if step.output == "moved")
        + tuple(step for step in around if step.output == "moved"),
    )


@functools.cache
def _rule(name: str, steps: tuple[Step, ...]) -> Rule:
    return Rule(name, steps)


S = TypeVar("S", bound=type)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def algorithm(name: str, *, class_name: str, paper: str = "") -> Callable[[S], S]:
    """Return a class decorator that makes a spec of a class and registers it: the door for every optimizer.

    The optimizer class, its signature, the export `logclock.CLASS_NAME` and the rows in the documentation follow.

    Args:
        name: As in `logclock list optimizers` and in parameter groups.
        class_name: As a user imports it.
        paper: A reference, e.g. "arXiv:2302.06675".
    """

    def add(cls: S) -> S:
        spec: Any = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        spec.class_name, spec.paper = class_name, paper
        Spec.family.register(name)(spec)
        return spec  # type: ignore[no-any-return]

    return add


def check_matrix(shape: tuple[int, ...], *, name: str, takes_stacks: bool = False) -> None:
    """Raise a ValueError unless a parameter is a matrix, or a stack of matrices where those are taken."""
    check(
        len(shape) == 2 or (takes_stacks and len(shape) == 3),
        f"a parameter of {name}",
        "be a matrix (2-D)",
        tuple(shape),
        advice="logclock.matrix_param_groups gives hidden matrices to it and everything else to another algorithm."
        + (" It takes stacks of matrices too (3-D)." if takes_stacks else ""),
    )
