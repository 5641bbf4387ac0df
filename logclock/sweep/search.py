"""Which setting of an optimizer is tried next, so that every optimizer gets as many tries as the others?"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from logclock.config import override, to_dict
from logclock.config.registry import suggestion
from logclock.train.config import Optimizers, RunConfig

__all__ = ["Axis", "Search", "SearchRule", "Trial", "best_trial", "check_axes", "configure", "with_lr_multiplier"]

DIGITS = 4
"""Multipliers are rounded to so many significant digits, so that tables, tags and configurations agree."""

FACTOR = re.compile(r"x(\d*\.?\d+(?:e[+-]?\d+)?)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting beside the learning rate, and the values to try for it.

    Args:
        path: A path as `--set` takes it, e.g. `optimizer.kappa`.
        values: As `--set` takes them; `x0.5` stands for half of what the run has there, a number or a schedule.
    """

    path: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.path or not self.values or not all(self.values) or len(set(self.values)) < len(self.values):
            raise ValueError(
                f"an axis needs a path and distinct values, got {self.path!r} with {', '.join(self.values) or 'none'}. "
                "Write PATH=VALUE,VALUE, for example optimizer.kappa=0.8,0.9 or optimizer.weight_decay=x0.5,x2."
            )

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """Read `PATH=VALUE,VALUE`."""
        path, _, values = text.partition("=")
        return cls(path=path, values=tuple(filter(None, values.split(","))))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A setting of an optimizer.

    Args:
        multiplier: Factor on the recipe's peak learning rate.
        settings: Value by path, of the axes that differ from the recipe.
    """

    multiplier: float
    settings: tuple[tuple[str, str], ...] = ()

    def with_setting(self, path: str, value: str) -> "Trial":
        """Return the trial with one axis at another value."""
        return dataclasses.replace(self, settings=tuple(sorted((dict(self.settings) | {path: value}).items())))

    def tags(self) -> dict[str, str]:
        """Return what a record says of the trial: `lr_multiplier`, and `settings` if there are any."""
        settings = " ".join(f"{path}={value}" for path, value in self.settings)
        return {"lr_multiplier": f"{self.multiplier:g}"} | ({"settings": settings} if settings else {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """The rule by which an optimizer's next trial follows from the losses of those before.

    First all multipliers of the grid, with the recipe's other settings. After that one trial at a time:
        1. while the best trial has the largest or smallest multiplier tried: one step of the grid beyond it,
           at most `extensions` times;
        2. then each value of each axis, in the order given, with everything else as in the best trial;
        3. after that, the middle (in ln) between the best multiplier and the better of its neighbours.
    A run that diverged counts as an infinite loss; if all did, the smallest multiplier is the best.

    A sweep goes on while some optimizer is at 1 or 2, and every round gives one trial to every optimizer. So all get
    the same number of runs: who needs no extension and has no axis left spends the trial on a finer grid.

    Args:
        multipliers: The grid, in any order; one alone has no edge and is not extended.
        axes: Settings to try beside the learning rate.
        extensions: How often the grid may grow.
    """

    multipliers: tuple[float, ...]
    axes: tuple[Axis, ...] = ()
    extensions: int = 2

    def __post_init__(self) -> None:
        positive = all(0 < multiplier < math.inf for multiplier in self.multipliers)
        if not self.multipliers or not positive or len(set(self.multipliers)) < len(self.multipliers):
            raise ValueError(
                f"multipliers must be distinct, positive and at least one, got {self.multipliers}. "
                "Usual are 0.5, 1 and 2."
            )
        if self.extensions < 0:
            raise ValueError(f"extensions must be >= 0, got {self.extensions}. 0 keeps the grid as it is.")
        paths = [axis.path for axis in self.axes]
        if len(set(paths)) < len(paths) or "optimizer.lr" in paths:
            raise ValueError(
                f"axes must be distinct settings beside the learning rate, got {', '.join(paths)}. "
                "The learning rate is searched by multipliers."
            )

    @property
    def max_rounds(self) -> int:
        """How many trials may follow the grid."""
        extensions = self.extensions if len(self.multipliers) > 1 else 0
        return extensions + sum(len(axis.values) for axis in self.axes)

    def grid(self) -> list[Trial]:
        """Return the trials that come first."""
        return [Trial(multiplier=rounded(multiplier)) for multiplier in self.multipliers]

    def needs_another(self, losses: Mapping[Trial, float]) -> bool:
        """Return whether the best trial is at the edge of a grid that may still grow, or a value was not tried."""
        return self._beyond_the_edge(losses) is not None or self._untried_value(losses) is not None

    def next_trial(self, losses: Mapping[Trial, float]) -> Trial:
        """Return what to try next.

        Args:
            losses: Final validation loss of every trial so far; infinite if the run diverged.
        """
        return self._beyond_the_edge(losses) or self._untried_value(losses) or between(losses, best_trial(losses))

    def winner(self, losses: Mapping[Trial, float]) -> Trial:
        """Return the trial that the other seeds run."""
        return best_trial(losses)

    def is_on_edge(self, losses: Mapping[Trial, float]) -> bool:
        """Return whether the best trial has the largest or smallest of several multipliers."""
        tried = multipliers_of(losses)
        return len(tried) > 1 and best_trial(losses).multiplier in (tried[0], tried[-1])

    def _beyond_the_edge(self, losses: Mapping[Trial, float]) -> Trial | None:
        """Return the trial one step outside the grid, or None if the best is inside or the grid has grown enough."""
        lowest, highest = min(map(rounded, self.multipliers)), max(map(rounded, self.multipliers))
        tried = multipliers_of(losses)
        grown = sum(1 for multiplier in tried if not lowest <= multiplier <= highest)
        if grown >= self.extensions or not self.is_on_edge(losses):
            return None
        best = best_trial(losses)
        neighbour = tried[1] if best.multiplier == tried[0] else tried[-2]
        return dataclasses.replace(best, multiplier=rounded(best.multiplier**2 / neighbour))

    def _untried_value(self, losses: Mapping[Trial, float]) -> Trial | None:
        for axis in self.axes:
            for value in axis.values:
                if not any((axis.path, value) in trial.settings for trial in losses):
                    return best_trial(losses).with_setting(axis.path, value)
        return None


class SearchRule(Protocol):
    """What a sweep asks of a search, `Search` or `Descent`: the next trial from the losses of those before."""

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Settings beside the learning rate that it may try."""

    @property
    def max_rounds(self) -> int:
        """How many trials may follow the first ones."""

    def grid(self) -> list[Trial]:
        """Return the trials that come first."""

    def needs_another(self, losses: Mapping[Trial, float]) -> bool:
        """Return whether it has something left to try."""

    def next_trial(self, losses: Mapping[Trial, float]) -> Trial:
        """Return what to try next, a finer learning rate if it has nothing left."""

    def winner(self, losses: Mapping[Trial, float]) -> Trial:
        """Return the trial that the other seeds run."""

    def is_on_edge(self, losses: Mapping[Trial, float]) -> bool:
        """Return whether a better learning rate may lie beyond those tried."""


def best_trial(losses: Mapping[Trial, float]) -> Trial:
    """Return the trial with the lowest loss; of equals, the one with the smallest multiplier."""
    return min(losses, key=lambda trial: (losses[trial], trial.multiplier, trial.settings))


def multipliers_of(losses: Mapping[Trial, float]) -> list[float]:
    """Return the multipliers tried, ascending, whatever the other settings."""
    return sorted({trial.multiplier for trial in losses})


def rounded(multiplier: float) -> float:
    """Return a multiplier as it is written down."""
    return float(f"{multiplier:.{DIGITS}g}")


def with_lr_multiplier(config: RunConfig, multiplier: float) -> RunConfig:
    """Return the run with its peak learning rates multiplied and nothing else changed."""
    if not multiplier > 0:
        raise ValueError(f"a learning-rate multiplier must be > 0, got {multiplier}.")
    faster = Optimizers(*(dataclasses.replace(spec, lr=spec.lr * multiplier) for spec in config.optimizers.specs))
    return dataclasses.replace(config, optimizer=faster, rest_optimizer=None)


def configure(config: RunConfig, trial: Trial) -> RunConfig:
    """Return a run with the trial's learning rate and settings.

    Raises:
        ValueError: A path is unknown, or a factor is meant for something that is neither number nor schedule.
    """
    assignments = [f"{path}={_value(config, path, value)}" for path, value in trial.settings]
    return override(with_lr_multiplier(config, trial.multiplier), assignments)


def check_axes(config: RunConfig, axes: Sequence[Axis]) -> None:
    """Raise before hours of training if a run does not take a value of an axis, or has it already."""
    for axis in axes:
        for value in axis.values:
            if configure(config, Trial(multiplier=1.0).with_setting(axis.path, value)) == config:
                raise ValueError(f"{axis.path}={value} is what the run has anyway. Leave it out: the grid tries it.")


def _value(config: RunConfig, path: str, value: str) -> str:
    """Return the value to assign; a factor becomes the product with what the run has there."""
    match = FACTOR.fullmatch(value)
    if match is None:
        return value
    present, factor = _present(config, path), float(match[1])
    if isinstance(present, Mapping) and "kind" in present:
        return json.dumps({"kind": "product", "factors": [{"kind": "constant", "value": factor}, present]})
    if isinstance(present, bool) or not isinstance(present, int | float):
        raise ValueError(
            f"{path}={value} multiplies what the run has there, which is {present!r}. "
            "A factor needs a number or a schedule; write the value itself."
        )
    return json.dumps(present * factor)


def _present(config: RunConfig, path: str) -> Any:
    value = to_dict(config)
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            known = list(value) if isinstance(value, Mapping) else []
            raise ValueError(f"unknown path {path!r}.{suggestion(key, known)} `logclock show` lists every path.")
        value = value[key]
    return value


def between(losses: Mapping[Trial, float], best: Trial) -> Trial:
    """Return the trial between the best multiplier and the better one of its neighbours, or above it if it has none."""
    tried = multipliers_of(losses)
    place = tried.index(best.multiplier)
    neighbours = tried[max(place - 1, 0) : place] + tried[place + 1 : place + 2]
    lowest = {m: min(loss for trial, loss in losses.items() if trial.multiplier == m) for m in neighbours}
    if not neighbours:
        return dataclasses.replace(best, multiplier=rounded(best.multiplier * math.sqrt(2)))
    neighbour = min(neighbours, key=lambda multiplier: (lowest[multiplier], multiplier))
    return dataclasses.replace(best, multiplier=rounded(math.sqrt(best.multiplier * neighbour)))
