"""Which optimizer won, by how much, and which records say so?"""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from logclock.analysis.compute import REPORT_CONVENTION, usable_convention
from logclock.analysis.efficiency import Multiplier, MultiplierRange, multiplier_range
from logclock.analysis.imported import compared_loss, unknowns
from logclock.analysis.lr_choice import choice_costs
from logclock.analysis.lr_rules import LrTrial
from logclock.analysis.significance import (
    MINIMUM_EFFECT,
    Difference,
    jointly_judged,
    paired_difference,
    with_moderated_spreads,
)
from logclock.analysis.study import (
    OPTIMIZERS,
    Study,
    differing_paths,
    gather,
    known_lr,
    peak_lr,
    planned_steps,
)
from logclock.analysis.validation import (
    FINAL,
    HELD_OUT,
    loss_to_choose_by,
    loss_to_report,
    mixed_evaluations,
    sampling_error,
)
from logclock.records import RunRecord

__all__ = [
    "Comparison",
    "Row",
    "Run",
    "Sweep",
    "SweepPoint",
    "compare",
    "compare_study",
    "edge_warnings",
    "sweep_of",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run as a table shows it.

    Args:
        label: What the run is called.
        seed: Its seed.
        status: How it stands.
        reason: Why it ended early; None for a good end.
        last_step: The last update it made, as far as the record says.
        peak_lr: Its peak learning rate; None for an imported run that does not say it.
        final_validation_loss: Nats per token; None unless the run finished with a finite loss.
        multiplier: Over the baseline run of the same seed; None for the baseline and without such a run.
        record_hash: The record that the numbers came from.
        run_id: The hash of its configuration.
    """

    label: str
    seed: int
    status: str
    reason: str | None
    last_step: int | None
    peak_lr: float | None
    final_validation_loss: float | None
    multiplier: Multiplier | None
    record_hash: str
    run_id: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """All main runs of one label.

    Args:
        label: What the runs are called.
        is_baseline: Whether the others are compared with it.
        runs: Every run, diverged and unfinished ones included, ascending in seed.
        final_validation_loss: Mean over the finished runs, nats per token.
        loss_sd: Sample standard deviation over seeds; None below two finished runs.
        bits_per_byte: Mean over the finished runs.
        difference: To the baseline; None for the baseline, and if one of them has no finished run. Verdicts are
            adjusted (Holm) for all rows.
        search_cost: What the choice of its learning rate may have cost in nats, see `choice_costs`; 0 if it was not
            swept here, None if the sweep does not say.
        multiplier: Compute multiplier over the baseline; None in the same cases.
        peak_lr: The peak learning rate of all its runs; None for imported runs that do not say it.
        tables_lr_factor: That of embedding, head and gains over it; None if they have the same, or another optimizer.
        step_seconds: Median over the runs of their median step time; the other costs likewise.
        optimizer_step_seconds: The optimizer's part of a step.
        tokens_per_second: Throughput.
        optimizer_state_bytes: Size of the optimizer's state.
        peak_memory_bytes: Peak memory of the process or device.
    """

    label: str
    is_baseline: bool
    runs: tuple[Run, ...]
    final_validation_loss: float | None
    loss_sd: float | None
    bits_per_byte: float | None
    difference: Difference | None
    search_cost: float | None
    multiplier: MultiplierRange | None
    peak_lr: float | None
    tables_lr_factor: float | None
    step_seconds: float | None
    optimizer_step_seconds: float | None
    tokens_per_second: float | None
    optimizer_state_bytes: float | None
    peak_memory_bytes: float | None

    @property
    def finished(self) -> tuple[Run, ...]:
        """The runs that the means are over."""
        return tuple(run for run in self.runs if run.final_validation_loss is not None)

    @property
    def status(self) -> str:
        """How many runs finished and what became of the others, e.g. `1 of 2 finished, 1 diverged`."""
        others = [run.status if run.status != "finished" else "without a finite loss" for run in self.runs]
        lost = [state for state, run in zip(others, self.runs, strict=True) if run.final_validation_loss is None]
        head = f"{len(self.finished)} of {len(self.runs)} finished"
        return ", ".join([head, *(f"{lost.count(state)} {state}" for state in sorted(set(lost)))])

    @property
    def verdict(self) -> str:
        """What to conclude from the runs that finished, in a few words; read it together with `status`."""
        if not self.finished:
            return "no finished run"
        if self.is_baseline:
            return "baseline"
        return self.difference.verdict if self.difference else "no baseline to compare with"

    @property
    def record_hashes(self) -> tuple[str, ...]:
        """The records that the means are over."""
        return tuple(run.record_hash for run in self.finished)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One learning rate of a sweep.

    Args:
        peak_lr: The learning rate.
        final_validation_loss: Mean over the finished runs; None if there is none.
        runs: Every run at this learning rate.
    """

    peak_lr: float
    final_validation_loss: float | None
    runs: tuple[Run, ...]

    @property
    def status(self) -> str:
        """`finished`, or what became of the runs, with the reasons."""
        lost = [run for run in self.runs if run.final_validation_loss is None]
        return "; ".join(run.reason or run.status for run in lost) or "finished"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """The learning rates tried for one label.

    Args:
        label: What the runs are called.
        points: Ascending in the learning rate.
        total_steps: Planned updates of each run, which may be fewer than those of a main run.
        best_lr: The one with the lowest final loss; None if no run finished.
        is_best_on_edge: Whether the best is the smallest or largest tried, so that a better one may lie outside.
    """

    label: str
    points: tuple[SweepPoint, ...]
    total_steps: int
    best_lr: float | None
    is_best_on_edge: bool

    @property
    def num_runs(self) -> int:
        """The budget of this sweep."""
        return sum(len(point.runs) for point in self.points)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a study says; every number is traceable to `record_hash`es.

    Args:
        baseline: The label that the others are compared with.
        rows: One per label, the baseline first, then in order of first appearance.
        sweeps: One per swept label; empty without a sweep.
        minimum_effect: Smallest loss difference that is called one, in nats.
        sampling_error: Standard error of a difference from the finite validation set, in nats; 0 if its size is
            unknown.
        is_held_out: Whether losses are on tokens that had no part in the choice of learning rates.
        convention: Key of `RunRecord.model` by which compute was counted; `tokens` or `steps` if imported runs do not
            say more.
        warnings: What makes the comparison less fair or less certain than it looks, in sentences.
        loss_name: Which loss is compared.
        is_imported: Whether the runs are those of other programs.
    """

    baseline: str
    rows: tuple[Row, ...]
    sweeps: tuple[Sweep, ...]
    minimum_effect: float
    sampling_error: float
    is_held_out: bool
    convention: str
    warnings: tuple[str, ...]
    loss_name: str = "validation loss"
    is_imported: bool = False

    def row(self, label: str) -> Row:
        """Return the row of a label.

        Raises:
            ValueError: There is none.
        """
        for row in self.rows:
            if row.label == label:
                return row
        raise ValueError(f"unknown label {label!r}. Known: {', '.join(row.label for row in self.rows)}.")


def compare(
    records: Iterable[RunRecord],
    *,
    baseline: str | None = None,
    minimum_effect: float = MINIMUM_EFFECT,
    convention: str = REPORT_CONVENTION,
) -> Comparison:
    """Compare optimizers by their records.

    Args:
        records: The records of one study, e.g. `Ledger(path).records()`; see `gather` for how they are sorted.
        baseline: A label; otherwise what the records' tags say, otherwise the first label.
        minimum_effect: Smallest loss difference that is called one, in nats.
        convention: Key of `RunRecord.model` by which compute is counted.

    Raises:
        ValueError: The records must not be merged; see `gather`.
    """
    study = gather(records, baseline=baseline)
    return compare_study(study, minimum_effect=minimum_effect, convention=convention)


def compare_study(
    study: Study, *, minimum_effect: float = MINIMUM_EFFECT, convention: str = REPORT_CONVENTION
) -> Comparison:
    """Compare the labels of a study that `gather` has checked."""
    convention = usable_convention(study.records, convention)
    sweeps = tuple(sweep_of(label, _alike(runs, study.main.get(label, ()))) for label, runs in study.sweep.items())
    costs = _search_costs(study, sweeps)
    main = [record for runs in study.main.values() for record in runs]
    reported, sampling = loss_to_report(main), sampling_error(main)
    differences = _differences(study, reported, minimum_effect, costs, sampling)
    rows = tuple(
        _row(study, label, reported, differences.get(label), costs.get(label, 0.0), convention) for label in study.main
    )
    return Comparison(
        baseline=study.baseline,
        rows=rows,
        sweeps=sweeps,
        minimum_effect=minimum_effect,
        sampling_error=sampling,
        convention=convention,
        is_held_out=reported == HELD_OUT,
        warnings=(
            *_main_warnings(study, rows),
            *mixed_evaluations(main),
            *_sweep_warnings(study, rows, sweeps),
            *unknowns(main, tuned=[sweep.label for sweep in sweeps]),
        ),
        loss_name=compared_loss(main),
        is_imported=any(record.is_imported for record in main),
    )


def _alike(runs: Sequence[RunRecord], main: Sequence[RunRecord]) -> Sequence[RunRecord]:
    """Return the runs of a search that differ from the main runs in the learning rate alone, not in other settings."""
    settings = {record.tags.get("settings", "") for record in main}
    return [record for record in runs if not main or record.tags.get("settings", "") in settings]


def _search_costs(study: Study, sweeps: Sequence[Sweep]) -> dict[str, float | None]:
    """Return what the choice of each swept learning rate may have cost; see `choice_costs`."""
    return choice_costs(
        {
            sweep.label: (
                [LrTrial(lr=point.peak_lr, loss=point.final_validation_loss) for point in sweep.points],
                peak_lr(study.main[sweep.label][0]),
            )
            for sweep in sweeps
            if sweep.label in study.main and sweep.best_lr is not None
        }
    )


def _differences(
    study: Study, reported: str, minimum_effect: float, costs: Mapping[str, float | None], sampling: float
) -> dict[str, Difference]:
    """Return the difference of every label to the baseline, with moderated spreads, judged together."""
    losses = {
        label: {seed: _reported(record, reported) for seed, record in study.finished(label).items()}
        for label in study.main
    }
    found = {
        label: paired_difference(
            by_seed,
            losses[study.baseline],
            minimum_effect=minimum_effect,
            search_error=math.hypot(costs.get(label) or 0.0, costs.get(study.baseline) or 0.0),
            sampling_error=sampling,
        )
        for label, by_seed in losses.items()
        if label != study.baseline and by_seed and losses[study.baseline]
    }
    return jointly_judged(with_moderated_spreads(found, share_baseline=True))


def _row(
    study: Study,
    label: str,
    reported: str,
    difference: Difference | None,
    search_cost: float | None,
    convention: str,
) -> Row:
    finished, reference = study.finished(label), study.finished(study.baseline)
    losses = [_reported(record, reported) for record in finished.values()]
    bits = "held_out_bits_per_byte" if reported == HELD_OUT else "final_bits_per_byte"
    multiplier = None if difference is None else multiplier_range(finished, reference, convention=convention)
    by_seed = dict(multiplier.by_seed) if multiplier else {}
    records = study.main[label]
    return Row(
        label=label,
        is_baseline=label == study.baseline,
        runs=tuple(_run(record, reported, multiplier=by_seed.get(record.seed)) for record in records),
        final_validation_loss=_mean(losses),
        loss_sd=statistics.stdev(losses) if len(losses) >= 2 else None,
        bits_per_byte=_mean(record.metrics.get(bits) for record in finished.values()),
        difference=difference,
        search_cost=search_cost,
        multiplier=multiplier,
        peak_lr=known_lr(records[0]),
        tables_lr_factor=records[0].config.get("tables_lr_factor"),
        **_costs(list(finished.values()) or list(records)),
    )


def _run(record: RunRecord, metric: str = FINAL, *, multiplier: Multiplier | None = None) -> Run:
    is_finished = record.status == "finished"
    return Run(
        label=record.label,
        seed=record.seed,
        status=record.status,
        reason=record.reason,
        last_step=_last_step(record),
        peak_lr=known_lr(record),
        final_validation_loss=record.metrics.get(metric) if is_finished else None,
        multiplier=multiplier,
        record_hash=record.record_hash,
        run_id=record.run_id,
    )


def sweep_of(label: str, records: Sequence[RunRecord]) -> Sweep:
    """Return what the runs of one label's search say."""
    chosen_by = loss_to_choose_by(records)
    by_lr: dict[float, list[Run]] = {}
    for record in sorted(records, key=lambda record: (peak_lr(record), record.seed)):
        by_lr.setdefault(peak_lr(record), []).append(_run(record, chosen_by))
    points = tuple(
        SweepPoint(
            peak_lr=lr,
            final_validation_loss=_mean(run.final_validation_loss for run in runs),
            runs=tuple(runs),
        )
        for lr, runs in by_lr.items()
    )
    ranked = [
        (point.final_validation_loss, point.peak_lr) for point in points if point.final_validation_loss is not None
    ]
    best = min(ranked)[1] if ranked else None
    edges = (points[0].peak_lr, points[-1].peak_lr)
    return Sweep(
        label=label,
        points=points,
        total_steps=planned_steps(records[0]),
        best_lr=best,
        is_best_on_edge=best is not None and best in edges,
    )


def _main_warnings(study: Study, rows: Sequence[Row]) -> list[str]:
    warnings = [f"{row.label}: {row.status}." for row in rows if len(row.finished) < len(row.runs)]
    seeds = {row.label: tuple(run.seed for run in row.runs) for row in rows}
    if len(set(seeds.values())) > 1:
        lists = "; ".join(f"{label} {', '.join(map(str, given))}" for label, given in seeds.items())
        warnings.append(f"The optimizers ran with different seeds ({lists}); differences use the shared ones.")
    main = [record for group in study.main.values() for record in group]
    # A run's seed and its optimizer may differ; another difference makes the comparison one of several things at once.
    other = [
        path
        for path in differing_paths(record.config for record in main)
        if path.split(".")[0] not in (*OPTIMIZERS, "label", "tags") and "seed" not in path
    ]
    if other:
        warnings.append(f"The main runs differ in more than the optimizer and the seed: {', '.join(other)}.")
    odd = [record for label in study.main for record in study.finished(label).values() if _ends_off_curve(record)]
    if odd:
        names = ", ".join(f"{record.label} seed {record.seed}" for record in odd)
        warnings.append(
            f"The final loss is not the last point of the validation curve ({names}); multipliers use the curve."
        )
    conditions = ("compile_model", "device", "git_commit", "logclock", "num_threads", "platform", "precision", "torch")
    changed = [key for key in conditions if len({str(record.provenance.get(key)) for record in main}) > 1]
    if changed:
        warnings.append(f"The main runs differ in {', '.join(changed)}; step times may not be comparable.")
    return warnings


def _sweep_warnings(study: Study, rows: Sequence[Row], sweeps: Sequence[Sweep]) -> list[str]:
    if not sweeps:
        return []
    warnings = []
    main_steps, sweep_steps = planned_steps(study.main[study.baseline][0]), sweeps[0].total_steps
    if main_steps != sweep_steps:
        warnings.append(
            f"Learning rates were swept over {sweep_steps:,} steps, the main runs took {main_steps:,}; the best "
            "learning rate can depend on the length of a run."
        )
    budgets: Mapping[str, int] = {row.label: 0 for row in rows} | {
        sweep.label: len(study.sweep[sweep.label]) for sweep in sweeps
    }
    if len(set(budgets.values())) > 1:
        counts = ", ".join(f"{label} {count}" for label, count in budgets.items())
        warnings.append(f"Unequal sweep budgets: {counts} runs. The optimizer with more runs had better chances.")
    warnings += edge_warnings(sweeps)
    used = {row.label: row.peak_lr for row in rows}
    warnings += [
        f"{sweep.label}: the main runs used learning rate {lr:g}, the sweep's best is {sweep.best_lr:g}."
        for sweep in sweeps
        if sweep.best_lr is not None
        and (lr := used.get(sweep.label)) is not None
        and not math.isclose(lr, sweep.best_lr)
    ]
    return warnings


def edge_warnings(sweeps: Sequence[Sweep]) -> list[str]:
    """Say which sweeps found nothing, or their best at the edge of what they tried."""
    warnings = []
    for sweep in sweeps:
        if sweep.best_lr is None:
            warnings.append(f"{sweep.label}: no run of the sweep finished.")
        elif sweep.is_best_on_edge:
            warnings.append(
                f"{sweep.label}: the best learning rate, {sweep.best_lr:g}, is at the edge of those tried; "
                "a better one may lie beyond."
            )
    return warnings


def _costs(records: Sequence[RunRecord]) -> dict[str, float | None]:
    names = (
        "step_seconds",
        "optimizer_step_seconds",
        "tokens_per_second",
        "optimizer_state_bytes",
        "peak_memory_bytes",
    )
    return {name: _median(record.cost.get(name) for record in records) for name in names}


def _reported(record: RunRecord, metric: str) -> float:
    loss = record.metrics[metric]
    if loss is None:
        raise ValueError(f"{record.label}, record {record.record_hash}: {metric} is not a finite number.")
    return loss


def _ends_off_curve(record: RunRecord) -> bool:
    return record.validation["loss"][-1:] != [record.metrics["final_validation_loss"]]


def _last_step(record: RunRecord) -> int | None:
    steps = [record.metrics.get("final_step"), *record.train.get("step", [])[-1:]]
    known = [step for step in steps if step is not None]
    return int(known[0]) if known else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
