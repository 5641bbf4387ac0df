"""Who wins when every optimizer (or variant of one) is tuned with the same budget?"""

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from logclock.config.registry import suggestion
from logclock.records import Ledger, RunRecord
from logclock.sweep.executor import Job, run_jobs
from logclock.sweep.search import Axis, Search, SearchRule, Trial, check_axes, configure
from logclock.sweep.workers import Executor
from logclock.train.config import RunConfig, run_id
from logclock.train.progress import Display

__all__ = ["Arm", "SweepOutcome", "Track", "run_sweep", "searches"]

Arm = Callable[[int, int | None], RunConfig]
"""Returns the run of (seed, steps); None for the arm's own number of steps."""

Track = Literal["tuned", "defaults"]
"""`tuned` searches and runs every seed at the winner; `defaults` runs every seed with the recipe's own settings."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepOutcome:
    """What came out of a sweep.

    Args:
        records: Of all runs, arm by arm.
        winners: The trial with the lowest final validation loss, by label; an arm without a finished run has none.
        losses: Final validation loss of every trial, by label; infinite if the run diverged.
        on_edge: Labels whose winner is at the edge of their grid, which was not allowed to grow further.
        was_stopped: Whether a signal ended the sweep before its end; the same call goes on.
    """

    records: list[RunRecord]
    winners: dict[str, Trial]
    losses: dict[str, dict[Trial, float]]
    on_edge: tuple[str, ...]
    was_stopped: bool


def run_sweep(
    arms: Mapping[str, Arm],
    *,
    multipliers: Sequence[float] = (0.5, 1.0, 2.0),
    extensions: int = 2,
    axes: Mapping[str, Sequence[Axis]] | None = None,
    centres: Mapping[str, float] | None = None,
    rules: Mapping[str, SearchRule] | None = None,
    seeds: Sequence[int] = (0,),
    steps: int | None = None,
    sweep_steps: int | None = None,
    tracks: Sequence[Track] = ("tuned",),
    phase: str | None = None,
    tags: Mapping[str, str] | None = None,
    out: str | os.PathLike[str],
    display: Display,
    num_jobs: int | None = None,
    data_root: str | Path | None = None,
    command: str | None = None,
    executor: Executor | None = None,
) -> SweepOutcome:
    """Search settings for every arm with the same number of runs, then run every seed at each arm's winner.

    The search is `Search`'s, with the first seed; the losses that it sees are final validation losses. Runs that the
    ledger holds are not made again, so the same call goes on where one was interrupted.

    A run of the search that is a run of the comparison too, as the winner's first seed is unless `sweep_steps` is
    given, is made once and says both: `tags["phase"]` is `sweep`, `main` or `main,sweep`. Main runs that an earlier
    sweep of these arms left at settings that are not the winners any more become `former`. Every record also has
    `lr_multiplier`, `settings` (where an axis differs from the recipe) and `track` among its tags.

    Args:
        arms: What to compare; keys are the labels.
        multipliers: Factors on each arm's own peak learning rate.
        extensions: How often a grid may grow while its best is on the edge.
        axes: Settings beside the learning rate to search, by label.
        centres: Another factor for the whole grid, by label; 1 where none is given.
        rules: The search of every label, instead of one made of the four arguments above.
        seeds: The first is that of the search.
        steps: Updates of a run; None for the arm's own.
        sweep_steps: Updates of a run of the search, if they are to be shorter.
        tracks: `tuned`, `defaults` or both, in which case the records need a `phase`.
        phase: Tag of all runs instead of `main` and `sweep`.
        tags: Common to all runs.
        out: Directory of the study, with its ledger.
        display: Where progress shows.
        num_jobs: Runs at a time; see `run_jobs`.
        data_root: Where datasets lie that are given by name.
        command: What the user typed, for the records.
        executor: Where the processes live; on this machine if None.

    Raises:
        ValueError: Something is given twice or not at all, or an arm does not take a value of an axis.
        RuntimeError: A run failed, so the budgets would not be equal.
    """
    plan = _Plan(
        arms=arms,
        searches=searches(
            arms, tracks=tracks, multipliers=multipliers, extensions=extensions, axes=axes, centres=centres
        )
        if rules is None
        else rules,
        seeds=tuple(seeds),
        steps=steps,
        sweep_steps=steps if sweep_steps is None else sweep_steps,
        tracks=tuple(tracks),
        phase=phase,
        tags=dict(tags or {}),
    )
    for label, search in plan.searches.items():
        check_axes(arms[label](plan.seeds[0], plan.sweep_steps), search.axes)
    ledger = Ledger(Path(out) / "ledger.jsonl")
    runs = _Runs(out=out, display=display, num_jobs=num_jobs, data_root=data_root, command=command, executor=executor)
    losses, is_complete = _search(plan, ledger, runs)
    if not is_complete:
        records = list(runs.made.values())
        return SweepOutcome(records=records, winners={}, losses=losses, on_edge=(), was_stopped=True)
    winners = {
        label: plan.searches[label].winner(tried)
        for label, tried in losses.items()
        if math.isfinite(min(tried.values(), default=math.inf))
    }
    for label in plan.searches.keys() - winners.keys():
        display.message(f"{label}: all {len(losses[label])} runs diverged; no winner")
    jobs = plan.jobs(losses, winners)
    is_complete = runs.make([job for job in jobs if not _is_made(job, runs.made)])
    if is_complete and phase is None:
        _retire(ledger, plan, {run_id(job.config) for job in jobs})
    return SweepOutcome(
        records=[runs.made[run_id(job.config)] for job in jobs],
        winners=winners,
        losses=losses,
        on_edge=tuple(label for label in winners if plan.searches[label].is_on_edge(losses[label])),
        was_stopped=not is_complete,
    )


def _search(plan: "_Plan", ledger: Ledger, runs: "_Runs") -> tuple[dict[str, dict[Trial, float]], bool]:
    """Try settings in rounds of one for every arm; return the losses, and False if a signal came before the end."""
    losses: dict[str, dict[Trial, float]] = {label: {} for label in plan.arms}
    new = {label: search.grid() for label, search in plan.searches.items()}
    for num_round in range(plan.max_rounds + 1):
        if not runs.make(_as_in(ledger, plan.search_jobs(new))):
            return losses, False
        for label, trials in new.items():
            tried = [*losses[label], *trials]
            losses[label] = _losses_to_choose_by({trial: runs.made[plan.search_id(label, trial)] for trial in tried})
        needing = [label for label, search in plan.searches.items() if search.needs_another(losses[label])]
        if not needing or num_round == plan.max_rounds:
            break
        runs.display.message(
            f"another trial for each of {len(plan.arms)}: {', '.join(needing)} at the edge or with values left"
        )
        new = {label: [search.next_trial(losses[label])] for label, search in plan.searches.items()}
    return losses, True


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Runs:
    """Makes runs, or gives them other tags, and keeps their records by run id."""

    out: str | os.PathLike[str]
    display: Display
    num_jobs: int | None
    data_root: str | Path | None
    command: str | None
    executor: Executor | None
    made: dict[str, RunRecord] = dataclasses.field(default_factory=dict)

    def make(self, jobs: Sequence[Job]) -> bool:
        """Return whether all came to an end."""
        records = run_jobs(
            jobs,
            out=self.out,
            display=self.display,
            num_jobs=self.num_jobs,
            data_root=self.data_root,
            command=self.command,
            executor=self.executor,
        )
        self.made.update({record.run_id: record for record in records})
        if any(record.status == "running" for record in records):  # a signal came; failures show the next time
            return False
        failed = [record for record in records if record.status == "failed"]
        if failed:
            raise RuntimeError(
                f"{len(failed)} of {len(records)} runs failed, the first of them {failed[0].label!r} "
                f"({failed[0].reason}); without them the budgets are not equal. Start it again to make them."
            )
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
    """Which runs belong to a sweep, and what for."""

    arms: Mapping[str, Arm]
    searches: Mapping[str, SearchRule]
    seeds: tuple[int, ...]
    steps: int | None
    sweep_steps: int | None
    tracks: tuple[Track, ...]
    phase: str | None
    tags: dict[str, str]

    def __post_init__(self) -> None:
        for name, values in (("seeds", self.seeds), ("tracks", self.tracks)):
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"{name} must be distinct and at least one, got {', '.join(map(str, values)) or 'none'}."
                )
        if len(self.tracks) > 1 and self.phase is None:
            raise ValueError(
                "both tracks need a phase of their own: a comparison takes the main runs of a label for seeds of one "
                "setting. Give phase=..., or one track."
            )

    @property
    def max_rounds(self) -> int:
        return max((search.max_rounds for search in self.searches.values()), default=0)

    def search_jobs(self, trials: Mapping[str, Sequence[Trial]]) -> list[Job]:
        """Return the runs of the search alone."""
        wanted = {self.search_id(label, trial) for label, tried in trials.items() for trial in tried}
        return [job for job in self.jobs(trials, {}) if run_id(job.config) in wanted]

    def search_id(self, label: str, trial: Trial) -> str:
        return run_id(configure(self.arms[label](self.seeds[0], self.sweep_steps), trial))

    def jobs(self, trials: Mapping[str, Iterable[Trial]], winners: Mapping[str, Trial]) -> list[Job]:
        """Return the runs of the search and those of the comparison, each once, with all that it is for."""
        jobs: list[Job] = []
        for label, arm in self.arms.items():
            uses = [(trial, self.seeds[0], self.sweep_steps, "sweep", "tuned") for trial in trials.get(label, ())]
            if label in winners:
                uses += [(winners[label], seed, self.steps, "main", "tuned") for seed in self.seeds]
            if "defaults" in self.tracks:
                uses += [(Trial(multiplier=1.0), seed, self.steps, "main", "defaults") for seed in self.seeds]
            merged: dict[str, tuple[RunConfig, Trial, list[str], list[str]]] = {}
            for trial, seed, steps, phase, track in uses:
                config = configure(arm(seed, steps), trial)
                _, _, phases, tracks = merged.setdefault(run_id(config), (config, trial, [], []))
                phases.append(phase)
                tracks.append(track)
            for config, trial, phases, tracks in merged.values():
                tags = {"phase": self.phase or ",".join(sorted(set(phases))), "track": ",".join(sorted(set(tracks)))}
                jobs.append(Job(config=config, label=label, tags=self.tags | tags | trial.tags()))
        return jobs


def searches(
    arms: Collection[str],
    *,
    tracks: Sequence[Track],
    multipliers: Sequence[float],
    extensions: int,
    axes: Mapping[str, Sequence[Axis]] | None = None,
    centres: Mapping[str, float] | None = None,
) -> dict[str, Search]:
    """Return the search of every arm, as `run_sweep` makes it; none if only the defaults run."""
    axes, centres = axes or {}, centres or {}
    for name, given in (("axes", axes), ("centres", centres)):
        for label in given:
            if label not in arms:
                raise ValueError(
                    f"{name} name {label!r}, which is no arm.{suggestion(label, arms)} Arms: {', '.join(arms)}."
                )
    if not arms:
        raise ValueError("a sweep needs at least one arm, got none.")
    if "tuned" not in tracks:
        return {}
    found = {
        label: Search(
            multipliers=tuple(centres.get(label, 1.0) * multiplier for multiplier in multipliers),
            axes=tuple(axes.get(label, ())),
            extensions=extensions,
        )
        for label in arms
    }
    if len(multipliers) == 1 and len({search.max_rounds for search in found.values()}) > 1:
        raise ValueError(
            "with one multiplier every arm needs as many values on its axes as the others: who has fewer spends the "
            "trials on a finer grid of learning rates. Give two multipliers or more."
        )
    return found


def _as_in(ledger: Ledger, jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs with the phases that the ledger has for them.

    A sweep that is started again must not write that the winner is only a run of the search.
    """
    known = {record.run_id: record for record in ledger.records()}
    return [
        dataclasses.replace(job, tags=known[run_id(job.config)].tags)
        if _differs_in_phase_alone(job, known.get(run_id(job.config)))
        else job
        for job in jobs
    ]


def _retire(ledger: Ledger, plan: _Plan, current: Collection[str]) -> None:
    """Take main runs that an earlier sweep of the arms left, around other learning rates, out of the comparison.

    They stay in the ledger: as trials if they were some, otherwise as `former`.
    """
    lengths = {label: arm(plan.seeds[0], plan.steps).total_steps for label, arm in plan.arms.items()}
    for record in ledger.records():
        phases = record.tags.get("phase", "").split(",")
        is_same_study = record.tags.items() >= plan.tags.items()
        if record.run_id in current or "main" not in phases or record.label not in plan.arms or not is_same_study:
            continue
        if record.config["total_steps"] == lengths[record.label]:
            others = ",".join(phase for phase in phases if phase != "main")
            ledger.append(dataclasses.replace(record, tags=record.tags | {"phase": others or "former"}))


def _differs_in_phase_alone(job: Job, record: RunRecord | None) -> bool:
    return (
        record is not None
        and record.label == job.label
        and "phase" in record.tags
        and record.tags | {"phase": job.tags["phase"]} == job.tags
    )


def _is_made(job: Job, made: Mapping[str, RunRecord]) -> bool:
    record = made.get(run_id(job.config))
    return record is not None and (record.label, record.tags) == (job.label, job.tags)


def _losses_to_choose_by(records: Mapping[Trial, RunRecord]) -> dict[Trial, float]:
    """Return what a search compares; a run that diverged, or ended without a loss, is worse than any other.

    That is the loss on the half of the validation set that is not reported, unless a run of the search was made before
    there was one.
    """
    ended = [record for record in records.values() if record.status == "finished"]
    name = "selection_loss" if all("selection_loss" in r.metrics for r in ended) else "final_validation_loss"
    losses = {}
    for trial, record in records.items():
        loss = record.metrics.get(name)
        losses[trial] = loss if record.status == "finished" and loss is not None else math.inf
    return losses
