"""What is a rule: stages one after another, from the gradient to the moved parameter?"""

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from logclock.rules.random import Draws
from logclock.rules.stage import Stage
from logclock.rules.state import State

__all__ = ["SHARED_SCALARS", "Rule", "Step"]

SHARED_SCALARS = ("lr", "decay", "rate", "rate_before_decay", "decay_per_lr", "absorbed_decay", "lr_multiplier", "t")
"""Scalars that every stage may read under these names, computed by `Spec.scalars`; all others belong to one stage."""

Output = Literal["grad", "update", "moved"]


@dataclasses.dataclass(frozen=True)
class Step:
    """A stage at its place in a rule.

    Args:
        stage: The function.
        output: What its result is for the stages after it.
        owner: The wrapper or apply stage it belongs to, under whose name its states and scalars go; "" for the
            direction, whose names stand alone.
        statics: Values of its static options.
        states: Declaration of each of its states.
    """

    stage: Stage
    output: Output
    owner: str = ""
    statics: tuple[tuple[str, Any], ...] = ()
    states: tuple[State, ...] = ()

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of its states in a parameter's state."""
        return tuple(f"{self.owner}_{name}" if self.owner else name for name in self.stage.state_names)

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of its scalars in `Spec.scalars`."""
        return tuple(self.scalar_name(name) for name in self.stage.scalar_names)

    @property
    def totals(self) -> dict[str, str]:
        """Its states of which later stages read the sum over all tensors, by the name of that sum."""
        pairs = zip(self.state_names, self.states, strict=True)
        return {self.scalar_name(state.total): name for name, state in pairs if state.total is not None}

    def scalar_name(self, name: str) -> str:
        """Return the name in `Spec.scalars` of one of the stage's scalars."""
        return f"{self.owner}.{name}" if self.owner and name not in SHARED_SCALARS else name

    def keywords(self, scalars: Mapping[str, Any], draws: Draws) -> dict[str, Any]:
        """Return the stage's keyword arguments: its scalars, its static options, and what it draws from."""
        found = {name: scalars[self.scalar_name(name)] for name in self.stage.scalar_names} | dict(self.statics)
        return found if self.stage.draws_name is None else {**found, self.stage.draws_name: draws}

    def __call__(self, values: Mapping[str, Any], scalars: Mapping[str, Any]) -> dict[str, Any]:
        """Run the stage on named values (inputs and states) and return its results by name."""
        operands = [values[name] for name in (*self.stage.inputs, *self.state_names)]
        results = self.stage(*operands, **self.keywords(scalars, Draws()))
        return dict(zip((self.output, *self.state_names), results, strict=True))


@dataclasses.dataclass(frozen=True)
class Rule:
    """A complete update: stages on the gradient, the direction, its wrappers, how it is applied, averages of that.

    Args:
        name: The algorithm, and what stands around it.
        steps: In order; the result of the last is the new parameter.
    """

    name: str
    steps: tuple[Step, ...]

    @functools.cached_property
    def states(self) -> dict[str, State]:
        """Declaration of every state by name, in the order in which they are created."""
        return {name: state for step in self.steps for name, state in zip(step.state_names, step.states, strict=True)}

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of all states."""
        return tuple(self.states)

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of all scalars but the totals, which come from the tensors."""
        return tuple(
            dict.fromkeys(name for step in self.steps for name in step.scalar_names if name not in self.totals)
        )

    @functools.cached_property
    def totals(self) -> dict[str, str]:
        """The states whose sums over all tensors stages read, by the name of the sum."""
        return {total: state for step in self.steps for total, state in step.totals.items()}

    @functools.cached_property
    def shared_states(self) -> tuple[str, ...]:
        """Names of the states that are one number for all tensors."""
        return tuple(name for name, state in self.states.items() if state.is_shared)

    @property
    def is_elementwise(self) -> bool:
        """Whether no stage needs whole matrices."""
        return all(step.stage.is_elementwise for step in self.steps)

    @property
    def is_random(self) -> bool:
        """Whether a stage draws random numbers."""
        return any(step.stage.draws_name is not None for step in self.steps)

    @functools.cached_property
    def source_hash(self) -> str:
        """First 16 hex digits of the sha256 of the files that define the stages."""
        modules = dict.fromkeys(step.stage.function.__module__ for step in self.steps)
        digest = hashlib.sha256()
        for module in modules:
            path = sys.modules[module].__file__
            assert path is not None
            digest.update(Path(path).read_bytes())
        return digest.hexdigest()[:16]

    def __call__(self, param: Any, grad: Any, *states: Any, **scalars: Any) -> tuple[Any, ...]:
        """Run the update on the tensors of one parameter, alone, and return the new parameter and states."""
        values = {"param": param, "grad": grad, **dict(zip(self.state_names, states, strict=True))}
        for step in self.steps:
            if step.stage.is_elementwise:
                values |= step(values, scalars)
            else:
                stacks = {name: value.unsqueeze(0) for name, value in values.items() if isinstance(value, torch.Tensor)}
                values |= {name: value.squeeze(0) for name, value in step(stacks, scalars).items()}
            scalars |= {total: values[state] for total, state in step.totals.items()}
        return (values["moved"], *(values[name] for name in self.state_names))
