"""How does a search go through every hyperparameter in turn, keep what gains enough, and know when to stop?"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping

from logclock.sweep.search import Axis, Trial, between, multipliers_of, rounded

__all__ = ["THRESHOLD", "Descent"]

Coordinate = Callable[[Trial, Mapping[Trial, float]], Iterator[Trial]]
"""Yields what to try of one hyperparameter, from where the descent stands and the losses so far."""

THRESHOLD = 3e-3
"""Nats by which a change must lower the loss to be kept; what gains less is taken for chance (arXiv:2509.02046)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descent:
    """Coordinate descent from the recipe's settings, one trial at a time, as in "Fantastic Pretraining Optimizers".

    A pass goes through the learning rate and then every axis. The learning rate is multiplied and divided by `step`, on
    and on in a direction that gains; of an axis every value is tried, and the recipe's own, with everything else as it
    stands. The best change of a coordinate is kept if it gains more than `threshold`. A pass that keeps nothing ends
    the descent; so does the budget. A run that diverged counts as an infinite loss.

    In a sweep every optimizer makes as many trials: one whose descent has ended spends those that are left between the
    best learning rate and the better of its neighbors, and takes what gains more than the threshold there too.

    Args:
        axes: Settings beside the learning rate.
        budget: Trials, the recipe's own settings being the first.
        threshold: Nats that a change must gain.
        step: Factor between neighboring learning rates.

    References: Wen et al. 2025, arXiv:2509.02046.
    """

    axes: tuple[Axis, ...] = ()
    budget: int = 24
    threshold: float = THRESHOLD
    step: float = 2.0

    def __post_init__(self) -> None:
        for name, is_valid, allowed in (
            ("budget", self.budget >= 1, "at least 1 trial"),
            ("threshold", 0 <= self.threshold < math.inf, "at least 0 and finite"),
            ("step", 1 < self.step < math.inf, "more than 1 and finite"),
        ):
            if not is_valid:
                raise ValueError(f"{name} must be {allowed}, got {getattr(self, name)}.")

    @property
    def max_rounds(self) -> int:
        """How many trials may follow the first."""
        return self.budget - 1

    def grid(self) -> list[Trial]:
        """Return the trial that comes first: the recipe's settings."""
        return [Trial(multiplier=1.0)]

    def has_ended(self, losses: Mapping[Trial, float]) -> bool:
        """Return whether a whole pass has kept nothing."""
        return self._walk(losses)[1] is None

    def needs_another(self, losses: Mapping[Trial, float]) -> bool:
        """Return whether the descent has neither ended nor spent its budget."""
        return len(losses) < self.budget and not self.has_ended(losses)

    def next_trial(self, losses: Mapping[Trial, float]) -> Trial:
        """Return what to try next; for a descent that has ended, a finer learning rate."""
        current, wanted = self._walk(losses)
        return wanted if wanted is not None else between(losses, current)

    def winner(self, losses: Mapping[Trial, float]) -> Trial:
        """Return where the descent stands: not always the lowest loss, for a gain within the threshold is not kept."""
        current, _ = self._walk(losses)
        best = min(losses, key=lambda trial: (losses[trial], trial.multiplier, trial.settings))
        return best if losses[best] < losses[current] - self.threshold else current

    def is_on_edge(self, losses: Mapping[Trial, float]) -> bool:
        """Return whether the winner has the largest or smallest learning rate tried."""
        tried = multipliers_of(losses)
        return len(tried) > 1 and self.winner(losses).multiplier in (tried[0], tried[-1])

    def _walk(self, losses: Mapping[Trial, float]) -> tuple[Trial, Trial | None]:
        """Go the way that the losses allow; return where it stands, and the trial it waits for, None at its end.

        The way follows from the losses alone, so that a sweep goes on after an interruption without a state of its own.
        """
        current = self.grid()[0]
        if current not in losses:
            return current, current
        has_changed = True
        while has_changed:
            has_changed = False
            coordinates: list[Coordinate] = [self._rates, *(functools.partial(_values, axis) for axis in self.axes)]
            for trials_of in coordinates:
                better = current
                for trial in trials_of(current, losses):
                    if trial not in losses:
                        return current, trial
                    if losses[trial] < losses[better]:
                        better = trial
                if losses[better] < losses[current] - self.threshold:
                    current, has_changed = better, True
        return current, None

    def _rates(self, current: Trial, losses: Mapping[Trial, float]) -> Iterator[Trial]:
        """Yield larger and smaller learning rates, each direction while it gains; below one that diverged, smaller."""
        place = round(math.log(current.multiplier) / math.log(self.step))  # so that rounded factors do not drift
        for sign in (1, -1) if losses[current] < math.inf else (-1,):
            last = current
            for distance in itertools.count(1):
                trial = dataclasses.replace(current, multiplier=rounded(self.step ** (place + sign * distance)))
                yield trial
                is_lost = losses[trial] == losses[last] == math.inf
                if not is_lost and not losses[trial] < losses[last] - self.threshold:
                    break
                last = trial


def _values(axis: Axis, current: Trial, losses: Mapping[Trial, float]) -> Iterator[Trial]:
    """Yield the other values of an axis, the recipe's own among them."""
    present = dict(current.settings).get(axis.path)
    if present is not None:
        yield dataclasses.replace(current, settings=tuple(pair for pair in current.settings if pair[0] != axis.path))
    for value in axis.values:
        if value != present:
            yield current.with_setting(axis.path, value)
