"""What does a league say: who ends lowest, what is chance, what is that worth in the baseline's compute?"""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from logclock.analysis.compare import Comparison, Row, Sweep, compare_study
from logclock.analysis.compute import REPORT_CONVENTION, total_compute
from logclock.analysis.efficiency import equal_loss_compute
from logclock.analysis.scaling import Point
from logclock.analysis.significance import Difference
from logclock.analysis.study import gather, peak_lr
from logclock.analysis.validation import loss_to_report
from logclock.records import RunRecord, StepCost

__all__ = ["LeagueMultiplier", "LeagueResult", "LeagueRow", "Place", "analyse_league"]

Place = Literal["inside", "lowest", "highest", "nowhere"]
"""Where the best learning rate lies among those tried; nowhere if every run of the search diverged."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeagueMultiplier:
    """The baseline's compute at an entry's loss over the compute of the league's runs, from finished runs.

    Args:
        value: From the mean loss; the end of the rungs where the loss lies beyond them.
        interval: Of the difference's interval, carried over by the baseline's line; ends may be those of the rungs.
        bound: `<` or `>` where the loss lies beyond the baseline's rungs, so that the value is only a bound.
    """

    value: float
    interval: tuple[float, float] | None
    bound: Literal["<", ">", ""]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeagueRow:
    """An entry.

    Args:
        rank: 1 is the lowest mean loss; None without a finished run.
        label: The entry.
        loss: Mean over the finished seeds, nats per token.
        loss_sd: Sample standard deviation over them; None below two.
        difference: To the baseline, judged together with all others; None for the baseline itself.
        behind_first: To the entry of rank 1, judged likewise; None for that entry.
        multiplier: Over the baseline; None without a finished run or without rungs.
        peak_lr: The best learning rate; None if every run of the search diverged.
        place: Where it lies among those tried.
        num_trials: Learning rates tried in whole runs.
        num_diverged: How many of those diverged.
        finished: `3 of 3 finished`, with what became of the others.
        cost: Of the optimizer's step; None if it was not measured.
        record_hashes: The records that the mean is over.
    """

    rank: int | None
    label: str
    loss: float | None
    loss_sd: float | None
    difference: Difference | None
    behind_first: Difference | None
    multiplier: LeagueMultiplier | None
    peak_lr: float | None
    place: Place
    num_trials: int
    num_diverged: int
    finished: str
    cost: StepCost | None
    record_hashes: tuple[str, ...]

    @property
    def is_level_with_first(self) -> bool:
        """Whether it is the first, or no difference to the first was shown."""
        if self.loss is None:
            return False
        return self.behind_first is None or self.behind_first.verdict not in ("better", "worse")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeagueResult:
    """What a league says; every number is traceable to record hashes.

    Args:
        baseline: What the others are compared with.
        first: The label of rank 1.
        rows: By loss, those without a finished run last.
        rungs: Compute and mean loss of the baseline at every length, ascending; one alone gives no multipliers.
        scouted: Learning rates tried in short runs, for each entry; 0 without a scouting pass.
        comparison: With the baseline, as `logclock report` has it.
        records: The runs of the league, those of the scouting pass and of the rungs left out.
    """

    baseline: str
    first: str
    rows: tuple[LeagueRow, ...]
    rungs: tuple[Point, ...]
    scouted: int
    comparison: Comparison
    records: tuple[RunRecord, ...]

    def row(self, label: str) -> LeagueRow:
        """Return the row of an entry."""
        return next(row for row in self.rows if row.label == label)


def analyse_league(
    records: Iterable[RunRecord],
    *,
    rungs: Sequence[Iterable[RunRecord]] = (),
    scouting: Iterable[RunRecord] = (),
    costs: Mapping[str, StepCost] | None = None,
    baseline: str | None = None,
    convention: str = REPORT_CONVENTION,
) -> LeagueResult:
    """Rank the entries of a league by their records.

    Args:
        records: Of the league's ledger; see `gather` for how they are sorted.
        rungs: Records of the baseline at other lengths, a ledger each.
        scouting: Records of the scouting pass.
        costs: Of the optimizers' steps, by label.
        baseline: A label; otherwise the one that the records name.
        convention: Key of `RunRecord.model` by which compute is counted.

    Raises:
        ValueError: Records must not be merged, or no run of the baseline finished.
    """
    study = gather(records, baseline=baseline)
    comparison = compare_study(study, convention=convention)
    losses = {row.label: row.final_validation_loss for row in comparison.rows if row.final_validation_loss is not None}
    if study.baseline not in losses:
        raise ValueError(f"no run of the baseline {study.baseline!r} finished, so there is nothing to compare with.")
    first = min(losses, key=lambda label: (losses[label], label))
    to_first = compare_study(gather(study.records, baseline=first), convention=convention)
    finished = next(iter(study.finished(study.baseline).values()))
    here = Point(compute=total_compute(finished, convention), loss=losses[study.baseline])
    metric = loss_to_report(record for runs in study.main.values() for record in runs)
    others = (_rung(gather(runs).main[study.baseline], metric, convention) for runs in rungs)
    points = tuple(sorted([here, *filter(None, others)], key=lambda point: point.compute))
    sweeps = {sweep.label: sweep for sweep in comparison.sweeps}
    by_label = {row.label: row for row in comparison.rows}
    order = sorted(by_label.keys() | sweeps.keys(), key=lambda label: (losses.get(label, math.inf), label))
    scouted: dict[str, set[float]] = {}
    for record in scouting:
        scouted.setdefault(record.label, set()).add(peak_lr(record))
    return LeagueResult(
        baseline=study.baseline,
        first=first,
        rows=tuple(
            _row(
                label,
                rank=rank if label in losses else None,
                row=by_label.get(label),
                sweep=sweeps.get(label),
                behind_first=to_first.row(label).difference if label in by_label else None,
                multiplier=_multiplier(by_label.get(label), here, points),
                cost=(costs or {}).get(label),
            )
            for rank, label in enumerate(order, start=1)
        ),
        rungs=points,
        scouted=max(map(len, scouted.values()), default=0),
        comparison=comparison,
        records=study.records,
    )


def _row(
    label: str,
    *,
    rank: int | None,
    row: Row | None,
    sweep: Sweep | None,
    behind_first: Difference | None,
    multiplier: LeagueMultiplier | None,
    cost: StepCost | None,
) -> LeagueRow:
    trials = sweep.points if sweep is not None else ()
    return LeagueRow(
        rank=rank,
        label=label,
        loss=row.final_validation_loss if row is not None else None,
        loss_sd=row.loss_sd if row is not None else None,
        difference=row.difference if row is not None else None,
        behind_first=behind_first,
        multiplier=multiplier,
        peak_lr=row.peak_lr if row is not None else None,
        place=_place(sweep),
        num_trials=len(trials),
        num_diverged=sum(point.final_validation_loss is None for point in trials),
        finished=row.status if row is not None else "every run diverged",
        cost=cost,
        record_hashes=row.record_hashes if row is not None else (),
    )


def _place(sweep: Sweep | None) -> Place:
    if sweep is None or sweep.best_lr is None:
        return "nowhere"
    if not sweep.is_best_on_edge:
        return "inside"
    return "lowest" if sweep.best_lr == sweep.points[0].peak_lr else "highest"


def _rung(runs: Sequence[RunRecord], metric: str, convention: str) -> Point | None:
    """Return compute and mean loss of the baseline at another length; None if no run of it finished."""
    finished = [run for run in runs if run.status == "finished" and run.metrics.get(metric) is not None]
    if not finished:
        return None
    loss = statistics.fmean(loss for run in finished if (loss := run.metrics[metric]) is not None)
    return Point(compute=total_compute(finished[0], convention), loss=loss)


def _multiplier(row: Row | None, here: Point, rungs: Sequence[Point]) -> LeagueMultiplier | None:
    """Return an entry's multiplier: its difference set against the baseline's mean loss at the league's length."""
    if row is None or row.final_validation_loss is None or len(rungs) < 2:
        return None
    if row.is_baseline:
        return LeagueMultiplier(value=1.0, interval=None, bound="")
    if row.difference is None or row.difference.mean is None:
        return None
    value, bound = _read_off(here.loss + row.difference.mean, here, rungs)
    interval = None
    if row.difference.interval is not None:
        high, low = (_read_off(here.loss + end, here, rungs)[0] for end in row.difference.interval)
        interval = low, high
    return LeagueMultiplier(value=value, interval=interval, bound=bound)


def _read_off(loss: float, here: Point, rungs: Sequence[Point]) -> tuple[float, Literal["<", ">", ""]]:
    """Return the baseline's compute at a loss over the league's, and whether the rungs end before it."""
    if loss > rungs[0].loss:
        return rungs[0].compute / here.compute, "<"
    best = min(rungs, key=lambda point: point.loss)
    if loss < best.loss:
        return best.compute / here.compute, ">"
    return equal_loss_compute(rungs, loss) / here.compute, ""
