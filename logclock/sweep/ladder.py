"""Which runs make a ladder: every optimizer tuned alike at every size, each size trained in proportion to itself?"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from logclock.records import RunRecord
from logclock.sweep.adaptive import Arm, SweepOutcome, Track, run_sweep, searches
from logclock.sweep.search import Axis, Search, check_axes
from logclock.sweep.timing import RunCost
from logclock.sweep.workers import Executor
from logclock.train.config import RunConfig
from logclock.train.progress import Display

__all__ = ["Ladder", "LadderOutcome", "LadderPlan", "ladder_configs", "plan_ladder", "run_ladder"]

PHASE = "ladder"

Build = Callable[[str, int, int, int | None], RunConfig]
"""Returns the run of (optimizer, size, seed, total_steps)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ladder:
    """Optimizers at several sizes of one model, with one token budget rule and one search for all.

    At each size, from the smallest up, every optimizer searches settings as in `run_sweep` and runs every seed at its
    winner. The learning-rate grid of a size is centred on the recipe's own rule times a factor: 1 at the smallest
    size, and with `follows` the winning multiplier of the size below after that. So the recipe gives the slope of the
    rule and the runs its level; an optimizer whose recipe is off spends its extensions once, at the smallest size.

    Args:
        build: Makes a run, e.g. from a recipe.
        optimizers: Names that become the labels; the first is the baseline.
        sizes: E.g. numbers of heads, ascending.
        tokens_per_param: Token budget of a run over D, the total parameters with both vocabulary tables.
        multipliers: The grid of learning rates, factors on its centre.
        extensions: How often the grid may grow at a size; granted to all optimizers if one needs it.
        axes: Settings beside the learning rate to search, by optimizer.
        seeds: The first is that of the search.
        tracks: `tuned`, `defaults` or both.
        follows: Whether the grid of a size is centred on the winner of the size below.
    """

    build: Build
    optimizers: tuple[str, ...]
    sizes: tuple[int, ...]
    tokens_per_param: float = 20.0
    multipliers: tuple[float, ...] = (0.5, 1.0, 2.0)
    extensions: int = 2
    axes: Mapping[str, tuple[Axis, ...]] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1)
    tracks: tuple[Track, ...] = ("tuned",)
    follows: bool = True

    def __post_init__(self) -> None:
        for name in ("optimizers", "sizes", "seeds", "tracks"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                given = ", ".join(map(str, values)) or "none"
                raise ValueError(f"{name} must be distinct and at least one, got {given}.")
        if list(self.sizes) != sorted(self.sizes):
            raise ValueError(f"sizes must ascend, got {self.sizes}: a size may follow from those below it.")
        for optimizer, search in self.searches().items():
            check_axes(self.config(optimizer, self.sizes[0]), search.axes)

    def steps(self, size: int) -> int:
        """Return the updates of every run at a size: the whole steps in the token budget."""
        config = self.build(self.optimizers[0], size, self.seeds[0], None)
        return config.model.size().steps_for(tokens_per_step=config.tokens_per_step, ratio=self.tokens_per_param)

    def config(self, optimizer: str, size: int, *, seed: int | None = None) -> RunConfig:
        """Return the run of an optimizer with the recipe's own settings."""
        return self.build(optimizer, size, self.seeds[0] if seed is None else seed, self.steps(size))

    def arms(self, size: int) -> dict[str, Arm]:
        """Return what `run_sweep` takes."""
        steps = self.steps(size)

        def arm(optimizer: str) -> Arm:
            return lambda seed, _: self.build(optimizer, size, seed, steps)

        return {optimizer: arm(optimizer) for optimizer in self.optimizers}

    def searches(self) -> dict[str, Search]:
        """Return the search of every optimizer, centred on the recipe's rule."""
        return searches(
            self.optimizers,
            tracks=self.tracks,
            multipliers=self.multipliers,
            extensions=self.extensions,
            axes=self.axes,
        )

    def stages(self, *, num_rounds: int) -> list[int]:
        """Return how many runs every optimizer makes at a size, stage by stage: grid, rounds, seeds and defaults.

        Args:
            num_rounds: How many rounds follow the grid.
        """
        stages = [len(self.multipliers)] + [1] * num_rounds if "tuned" in self.tracks else []
        others = (len(self.seeds) - 1 if stages else 0) + (len(self.seeds) if "defaults" in self.tracks else 0)
        return [*stages, others]

    @property
    def round_range(self) -> tuple[int, int]:
        """The fewest and the most rounds that may follow the grid: values of axes always, extensions when needed."""
        values = max((sum(len(axis.values) for axis in s.axes) for s in self.searches().values()), default=0)
        return values, max((search.max_rounds for search in self.searches().values()), default=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderOutcome:
    """What came out of a ladder.

    Args:
        records: Of all runs, size by size.
        sweeps: The outcome at each size.
        was_stopped: Whether a signal ended it; the same call goes on.
    """

    records: list[RunRecord]
    sweeps: dict[int, SweepOutcome]
    was_stopped: bool


def run_ladder(
    ladder: Ladder,
    *,
    tags: Mapping[str, str],
    out: str | os.PathLike[str],
    display: Display,
    num_jobs: int | None = None,
    data_root: str | Path | None = None,
    command: str | None = None,
    executor: Executor | None = None,
) -> LadderOutcome:
    """Make the runs of a ladder that the ledger does not hold yet, size by size.

    Every record has the tags `phase` = `ladder`, `size`, `track`, `lr_multiplier` (on the recipe's rule, whatever the
    centre) and, where an axis differs from the recipe, `settings`.

    Args:
        ladder: The ladder.
        tags: Common to all runs.
        out: Directory of the study, with its ledger.
        display: Where progress shows.
        num_jobs: Runs at a time; see `run_jobs`.
        data_root: Where datasets lie that are given by name.
        command: What the user typed, for the records.
        executor: Where the processes live; on this machine if None.

    Raises:
        RuntimeError: A run failed.
    """
    sweeps: dict[int, SweepOutcome] = {}
    centres: dict[str, float] = {}
    for size in ladder.sizes:
        sweeps[size] = run_sweep(
            ladder.arms(size),
            multipliers=ladder.multipliers,
            extensions=ladder.extensions,
            axes=ladder.axes,
            centres=centres,
            seeds=ladder.seeds,
            tracks=ladder.tracks,
            phase=PHASE,
            tags={**tags, "size": str(size)},
            out=out,
            display=display,
            num_jobs=num_jobs,
            data_root=data_root,
            command=command,
            executor=executor,
        )
        if sweeps[size].was_stopped:
            break
        if ladder.follows:
            centres |= {label: winner.multiplier for label, winner in sweeps[size].winners.items()}
        for label in sweeps[size].on_edge:
            display.message(f"size {size}, {label}: the best learning rate is still at the edge of its grid")
    return LadderOutcome(
        records=[record for sweep in sweeps.values() for record in sweep.records],
        sweeps=sweeps,
        was_stopped=any(sweep.was_stopped for sweep in sweeps.values()),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderPlan:
    """What a ladder will cost.

    Args:
        ladder: The ladder.
        costs: Of one run, by optimizer and size.
        done: Runs that the ledger holds, by optimizer and size.
        num_jobs: Runs at a time.
    """

    ladder: Ladder
    costs: Mapping[tuple[str, int], RunCost]
    done: Mapping[tuple[str, int], int]
    num_jobs: int

    def num_runs(self, *, num_rounds: int) -> int:
        """Return the runs that are left, with so many rounds after the grid at every size."""
        return sum(len(stage) for size in self.ladder.sizes for stage in self._left(size, num_rounds))

    def seconds(self, *, num_rounds: int) -> float:
        """Return how long the runs that are left take; a stage begins when the one before it has ended."""
        return math.fsum(
            _makespan(stage, self.num_jobs) for size in self.ladder.sizes for stage in self._left(size, num_rounds)
        )

    @property
    def load(self) -> float:
        """How busy the machine was with something else while the runs were timed; 1 at rest."""
        loads = sorted(cost.load for cost in self.costs.values())
        return loads[len(loads) // 2]

    def fits(self, budget_seconds: float) -> bool:
        """Return whether the ladder ends within a budget even if it needs every round."""
        return self.seconds(num_rounds=self.ladder.round_range[1]) <= budget_seconds

    def alternatives(self, budget_seconds: float) -> list[tuple[str, float]]:
        """Return smaller ladders that fit, as options of the command line, each with its seconds at most."""
        found: list[tuple[str, Ladder]] = []
        replace = dataclasses.replace
        fewest, most = self.ladder.round_range
        for extensions in reversed(range(self.ladder.extensions if most > fewest else 0)):
            found.append((f"--extensions {extensions}", replace(self.ladder, extensions=extensions)))
        if len(self.ladder.seeds) > 1:
            seed = self.ladder.seeds[0]
            found.append((f"--seeds {seed}", replace(self.ladder, seeds=(seed,))))
        for number in reversed(range(1, len(self.ladder.sizes))):
            sizes = self.ladder.sizes[:number]
            found.append((f"--sizes {' '.join(map(str, sizes))}", replace(self.ladder, sizes=sizes)))
        fitting: dict[str, tuple[str, float]] = {}
        for options, ladder in found:  # of each kind the largest that fits
            seconds = replace(self, ladder=ladder).seconds(num_rounds=ladder.round_range[1])
            if seconds <= budget_seconds:
                fitting.setdefault(options.split()[0], (options, seconds))
        return list(fitting.values())

    def _left(self, size: int, num_rounds: int) -> list[list[float]]:
        """Return the seconds of the runs left at a size, stage by stage."""
        stages: list[list[float]] = []
        skip = {optimizer: self.done.get((optimizer, size), 0) for optimizer in self.ladder.optimizers}
        for count in self.ladder.stages(num_rounds=num_rounds):
            stage = []
            for optimizer in self.ladder.optimizers:
                skipped = min(skip[optimizer], count)
                skip[optimizer] -= skipped
                stage += [self.costs[optimizer, size].seconds] * (count - skipped)
            stages.append(stage)
        return stages


def plan_ladder(ladder: Ladder, *, costs: Sequence[RunCost], records: Iterable[RunRecord], num_jobs: int) -> LadderPlan:
    """Return what a ladder costs, given a timing of every optimizer at every size.

    Args:
        ladder: The ladder.
        costs: In the order of `ladder_configs`.
        records: What the ledger holds.
        num_jobs: Runs at a time.

    Raises:
        ValueError: The ledger holds runs of another ladder.
    """
    done: dict[tuple[str, int], int] = {}
    models = {str(size): (ladder.steps(size), ladder.config(ladder.optimizers[0], size)) for size in ladder.sizes}
    for record in records:
        size = record.tags.get("size", "")
        if record.tags.get("phase") != PHASE or size not in models:
            continue
        steps, config = models[size]
        dataset = record.config["data"]["dataset"]
        if (record.config["total_steps"], dataset) != (steps, config.data.dataset):
            raise ValueError(
                f"the ledger holds runs of another ladder: at size {size}, {record.label!r} was made with "
                f"{record.config['total_steps']} steps on {dataset}, planned are {steps} on {config.data.dataset}. "
                "Choose another directory with --out."
            )
        if record.status in ("finished", "diverged"):
            done[record.label, int(size)] = done.get((record.label, int(size)), 0) + 1
    pairs = [(optimizer, size) for size in ladder.sizes for optimizer in ladder.optimizers]
    return LadderPlan(ladder=ladder, costs=dict(zip(pairs, costs, strict=True)), done=done, num_jobs=num_jobs)


def ladder_configs(ladder: Ladder) -> list[RunConfig]:
    """Return one run of every optimizer at every size, sizes first: what has to be timed."""
    return [ladder.config(optimizer, size) for size in ladder.sizes for optimizer in ladder.optimizers]


def _makespan(durations: Sequence[float], num_jobs: int) -> float:
    """Return when the last of some jobs ends if the longest start first on `num_jobs` workers."""
    ends = [0.0] * num_jobs
    for duration in sorted(durations, reverse=True):
        ends[ends.index(min(ends))] += duration
    return max(ends)
