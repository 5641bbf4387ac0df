"""What do runs at several sizes say: who needs less compute, how it grows, and how sure that is?"""

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from logclock.analysis.compute import CONVENTION, REPORT_CONVENTION, compute_per_token, total_compute
from logclock.analysis.imported import compared_loss, unknowns
from logclock.analysis.ladder_multipliers import size_multipliers, size_trends
from logclock.analysis.ladder_result import (
    LadderCell,
    LadderCost,
    LadderMultiplier,
    LadderResult,
    LadderSize,
    LadderTrial,
)
from logclock.analysis.lr_choice import choice_costs
from logclock.analysis.lr_rules import LrRuleFit, LrTrial, fit_lr_rule, lr_curvature
from logclock.analysis.scaling import FORMS, HUBER_DELTA, NUM_SAMPLES, Form, HoldOut, LawFit, Point, fit_laws, hold_out
from logclock.analysis.significance import (
    MINIMUM_EFFECT,
    PooledDifference,
    jointly_judged,
    pooled_difference,
)
from logclock.analysis.study import (
    check_equal,
    check_rule,
    choose_baseline,
    cite,
    known_lr,
    planned_steps,
    tokens_per_step,
)
from logclock.analysis.validation import (
    HELD_OUT,
    loss_to_choose_by,
    loss_to_report,
    mixed_evaluations,
    sampling_error,
)
from logclock.records import RunRecord

__all__ = ["analyse_ladder", "gather_ladder", "ladder_lr_rules"]

PHASE = "ladder"
# A sample of the broken law takes fifty times as long as one of the others, its two terms being nearly interchangeable.
MOST_BROKEN_SAMPLES = 200
TRACKS = ("tuned", "defaults")
LACK_OF_FIT = 0.01  # chance of a false alarm below which a law is said not to hold

Content = TypeVar("Content")
Cells = dict[tuple[str, str], list[RunRecord]]


def gather_ladder(records: Iterable[RunRecord], *, track: str = "tuned") -> Cells:
    """Sort the records of a ladder by label and size, refusing what must not be merged.

    A run belongs to a ladder if `tags["phase"]` is `ladder`; `tags["size"]` names its size, and `tags["track"]`
    (without the tag: `tuned`) the tracks it counts for. Of several records of one run the last counts.

    Args:
        records: The records, e.g. `Ledger(path).records()`.
        track: `tuned` or `defaults`.

    Raises:
        ValueError: No run belongs to the track, one has no size, or runs differ in dataset, within a size in model,
            length or batch, or within a label in the rule.
    """
    if track not in TRACKS:
        raise ValueError(f"track must be one of {', '.join(TRACKS)}, got {track!r}.")
    given = {(record.label, record.run_id): record for record in records}
    ladder = [record for record in given.values() if record.tags.get("phase") == PHASE]
    kept = [record for record in ladder if track in record.tags.get("track", "tuned").split(",")]
    if not kept:
        raise ValueError(
            f"got {len(given)} records, {len(ladder)} of a ladder and none of its track {track!r}. A ladder's records "
            "have tags['phase'] == 'ladder'; `logclock ladder` writes them."
        )
    check_equal(kept, "dataset fingerprint", lambda record: record.data.get("fingerprint"), "dataset")
    check_equal(kept, "loss that is compared", lambda record: record.config.get("loss"), "loss")
    cells: Cells = {}
    for record in kept:
        if "size" not in record.tags:
            raise ValueError(f"{cite(record)}: a record of a ladder needs tags['size'], has {sorted(record.tags)}.")
        cells.setdefault((record.label, record.tags["size"]), []).append(record)
    for size in {size for _, size in cells}:
        runs = [record for (_, name), group in cells.items() if name == size for record in group]
        check_equal(runs, f"model of size {size}", lambda record: json.dumps(record.model, sort_keys=True), "model")
        check_equal(runs, f"total_steps of size {size}", planned_steps, "run length")
        with_series = [record for record in runs if record.train.get("step")]
        check_equal(with_series, f"tokens per step of size {size}", tokens_per_step, "batch size")
    for label in {label for label, _ in cells}:
        check_rule([record for (name, _), group in cells.items() if name == label for record in group])
    return cells


def analyse_ladder(
    records: Iterable[RunRecord],
    *,
    baseline: str | None = None,
    track: str = "tuned",
    form: Form | None = None,
    forms: Sequence[Form] = tuple(FORMS),
    convention: str = REPORT_CONVENTION,
    minimum_effect: float = MINIMUM_EFFECT,
    confidence: float = 0.9,
    num_samples: int = NUM_SAMPLES,
) -> LadderResult:
    """Analyse a ladder by its records: the best setting of every optimizer at every size, laws, multipliers, verdicts.

    Args:
        records: The records of one ladder, e.g. `Ledger(path).records()`; see `gather_ladder` for how they are sorted.
        baseline: A label; otherwise what the records' tags say, otherwise the first label.
        track: `tuned` or `defaults`.
        form: The law that curves are drawn with; `saturated`, or `power` where the runs determine no more, if None.
        forms: The laws to fit.
        convention: Key of `RunRecord.model` by which compute is counted.
        minimum_effect: Smallest loss difference that is called one, in nats.
        confidence: Coverage of the intervals of fits and multipliers.
        num_samples: Bootstrap samples of each fit.

    Raises:
        ValueError: The records must not be merged, the baseline is unknown, or no run of it finished. A size at which
            no run finished is left out with a warning.
    """
    warnings: list[str] = []
    runs = _without_unfinished_sizes(gather_ladder(records, track=track), warnings)
    all_records = tuple(record for group in runs.values() for record in group)
    given = list(dict.fromkeys(label for label, _ in runs))
    name = choose_baseline(baseline, all_records, given)
    labels = (name, *(label for label in given if label != name))
    sizes = _sizes(runs, convention)
    compute = {size.name: size.compute for size in sizes}
    cells = {
        (label, size.name): _cell(label, size.name, runs[label, size.name], loss_to_report(all_records))
        for label in labels
        for size in sizes
        if (label, size.name) in runs
    }
    if not any(cell.losses for cell in _of(name, cells).values()):
        raise ValueError(f"no run of the baseline {name!r} finished, so there is nothing to compare with.")
    cells = _with_search_costs(cells, warnings)
    sampling = sampling_error(all_records)
    differences = _differences(labels, cells, minimum_effect, sampling)
    multipliers = _multipliers(labels, cells, compute, differences, confidence, warnings)
    beside = _convention_beside(convention, all_records)
    beside_compute = {size.name: size.compute for size in _sizes(runs, beside)} if beside else {}
    others = _multipliers(labels, cells, beside_compute, differences, confidence, []) if beside else {}
    cells = {
        (label, size): dataclasses.replace(
            cell,
            multiplier=multipliers.get(label, {}).get(size),
            multiplier_beside=others.get(label, {}).get(size),
        )
        for (label, size), cell in cells.items()
    }
    fits, hold_outs = _fits(
        _points(labels, cells, compute), forms, num_samples=num_samples, confidence=confidence, warnings=warnings
    )
    warnings += _extended(multipliers)
    drawn = _chosen(form, fits)
    if drawn is not None:
        warnings += _lack_of_fit(fits[drawn])
    return LadderResult(
        baseline=name,
        labels=labels,
        sizes=sizes,
        track=track,
        convention=convention,
        convention_beside=beside,
        cells=cells,
        form=drawn,
        fits=fits,
        hold_outs=hold_outs,
        lr_rules=_lr_rules(labels, sizes, cells, num_samples),
        differences=differences,
        trends=size_trends(differences, multipliers, {size.name: size.non_embedding_params for size in sizes}),
        sampling_error=sampling,
        is_held_out=loss_to_report(all_records) == HELD_OUT,
        minimum_effect=minimum_effect,
        confidence=confidence,
        cost={label: _cost([record for group in _of(label, runs).values() for record in group]) for label in labels},
        warnings=(
            *warnings,
            *mixed_evaluations(all_records),
            *_fairness(labels, sizes, cells),
            *unknowns(all_records, tuned=_searched(cells)),
        ),
        records=all_records,
        loss_name=compared_loss(all_records),
        is_imported=any(record.is_imported for record in all_records),
    )


def _searched(cells: Mapping[tuple[str, str], LadderCell]) -> set[str]:
    """Return the labels of which several settings were run at every size."""
    alone = {label for (label, _), cell in cells.items() if len(cell.trials) < 2}
    return {label for label, _ in cells} - alone


def ladder_lr_rules(
    records: Iterable[RunRecord], *, track: str = "tuned", num_samples: int = 0
) -> tuple[dict[str, LrRuleFit], tuple[LadderSize, ...]]:
    """Return the learning-rate rules of a ladder alone, and its sizes: laws and verdicts take most of the time.

    Args:
        records: As for `analyse_ladder`.
        track: `tuned` or `defaults`.
        num_samples: Bootstrap samples of each fit.
    """
    all_records = list(records)
    runs = _without_unfinished_sizes(gather_ladder(all_records, track=track), [])
    sizes = _sizes(runs, REPORT_CONVENTION)
    cells = {key: _cell(*key, group, loss_to_report(all_records)) for key, group in runs.items()}
    return _lr_rules(list(dict.fromkeys(label for label, _ in runs)), sizes, cells, num_samples), sizes


def _of(label: str, by_cell: Mapping[tuple[str, str], Content]) -> dict[str, Content]:
    """Return what belongs to a label, by size."""
    return {size: content for (owner, size), content in by_cell.items() if owner == label}


def _without_unfinished_sizes(cells: Cells, warnings: list[str]) -> Cells:
    """Leave out the sizes of an interrupted ladder at which nothing has finished yet, and say so."""
    finished = {size for (_, size), group in cells.items() if any(record.status == "finished" for record in group)}
    if not finished:
        count = sum(map(len, cells.values()))
        raise ValueError(f"none of the ladder's {count} runs finished. Start the ladder again to go on.")
    missing = dict.fromkeys(size for _, size in cells if size not in finished)
    warnings += [f"Size {size}: no run has finished; it is left out." for size in missing]
    return {key: group for key, group in cells.items() if key[1] in finished}


def _sizes(cells: Cells, convention: str) -> tuple[LadderSize, ...]:
    sizes = []
    for name in {size for _, size in cells}:
        runs = [record for (_, size), group in cells.items() if size == name for record in group]
        record = next(record for record in runs if record.status == "finished")
        sizes.append(
            LadderSize(
                name=name,
                non_embedding_params=record.model["non_embedding_params"],
                total_params=record.model["total_params"],
                total_steps=planned_steps(record),
                tokens=total_compute(record, convention) / compute_per_token(record, convention),
                compute=total_compute(record, convention),
            )
        )
    return tuple(sorted(sizes, key=lambda size: size.compute))


def _cell(label: str, size: str, records: Sequence[RunRecord], reported: str) -> LadderCell:
    search_seed = min(record.seed for record in records)
    by_setting: dict[str, list[RunRecord]] = {}
    for record in records:
        by_setting.setdefault(_setting(record), []).append(record)
    searched = [record for record in records if record.seed == search_seed]
    chosen_by = loss_to_choose_by(searched)
    trials = {_setting(record): _trial(record, chosen_by) for record in searched}
    ranked = [(trial.loss, trial.peak_lr or 0.0, key) for key, trial in trials.items() if trial.loss is not None]
    best = min(ranked)[2] if ranked else None
    tried = sorted({trial.peak_lr for trial in trials.values() if trial.peak_lr is not None})
    group = sorted(by_setting.get(best or "", ()), key=lambda record: record.seed)
    chosen = trials[best] if best is not None else None
    alike = [t for t in trials.values() if chosen is not None and t.settings == chosen.settings]
    return LadderCell(
        label=label,
        size=size,
        trials=tuple(sorted(trials.values(), key=lambda trial: (trial.peak_lr or 0.0, trial.settings))),
        best=chosen,
        is_best_on_edge=chosen is not None and len(tried) > 1 and chosen.peak_lr in (tried[0], tried[-1]),
        losses={r.seed: loss for r in group if (loss := _loss(r, reported)) is not None},
        curvature=lr_curvature(_lr_trials(alike)),
        search_cost=None,
        multiplier=None,
        multiplier_beside=None,
        cost=_cost(records),
        record_hashes=tuple(record.record_hash for record in group),
    )


def _lr_trials(trials: Iterable[LadderTrial]) -> list[LrTrial]:
    """Return the trials whose learning rate is known."""
    return [LrTrial(lr=trial.peak_lr, loss=trial.loss) for trial in trials if trial.peak_lr is not None]


def _setting(record: RunRecord) -> str:
    """Return what a run's seeds share: its configuration without them."""
    return json.dumps({key: value for key, value in record.config.items() if key != "seed"}, sort_keys=True)


def _trial(record: RunRecord, metric: str) -> LadderTrial:
    return LadderTrial(
        peak_lr=known_lr(record),
        lr_multiplier=record.tags.get("lr_multiplier"),
        settings=record.tags.get("settings", ""),
        loss=_loss(record, metric),
        status=record.status if record.reason is None else f"{record.status}: {record.reason}",
        record_hash=record.record_hash,
    )


def _loss(record: RunRecord, metric: str) -> float | None:
    return record.metrics.get(metric) if record.status == "finished" else None


def _with_search_costs(
    cells: Mapping[tuple[str, str], LadderCell], warnings: list[str]
) -> dict[tuple[str, str], LadderCell]:
    """Add what the choice of every learning rate may have cost, and say where that is unknown."""
    searches = {
        key: (_lr_trials(_alike(cell)), cell.best.peak_lr)
        for key, cell in cells.items()
        if cell.best is not None and cell.best.peak_lr is not None
    }
    costs = choice_costs(searches)
    unknown = [f"{label} at size {size}" for (label, size), cost in costs.items() if cost is None]
    if unknown:
        warnings.append(
            f"Two learning rates show no optimum, so intervals leave out what the choice cost: {', '.join(unknown)}."
        )
    return {key: dataclasses.replace(cell, search_cost=costs.get(key)) for key, cell in cells.items()}


def _alike(cell: LadderCell) -> list[LadderTrial]:
    """Return the trials that differ from the best in the learning rate alone."""
    return [trial for trial in cell.trials if cell.best is not None and trial.settings == cell.best.settings]


def _losses(label: str, cells: Mapping[tuple[str, str], LadderCell]) -> dict[str, Mapping[int, float]]:
    return {size: cell.losses for size, cell in _of(label, cells).items() if cell.losses}


def _multipliers(
    labels: Sequence[str],
    cells: Mapping[tuple[str, str], LadderCell],
    compute: Mapping[str, float],
    differences: Mapping[str, PooledDifference],
    confidence: float,
    warnings: list[str],
) -> dict[str, dict[str, LadderMultiplier]]:
    """Return the multipliers over the first label, by label and size."""
    found = {}
    baseline = _losses(labels[0], cells)
    for label in labels[1:]:
        try:
            found[label] = size_multipliers(
                _losses(label, cells), baseline, compute, differences[label], confidence=confidence
            )
        except ValueError as reason:  # one size only, or a baseline that does not fall where it must be extended
            warnings.append(f"{label}: no multipliers between finished runs, because {reason}")
    return found


def _extended(multipliers: Mapping[str, Mapping[str, LadderMultiplier]]) -> list[str]:
    """Say which multipliers rest on the baseline's line beyond its runs."""
    by_size: dict[str, list[str]] = {}
    for label, found in multipliers.items():
        for size, one in found.items():
            if one.is_extended:
                by_size.setdefault(size, []).append(label)
    return [
        f"Size {size}: the baseline's line is extended beyond its runs for the multipliers of {', '.join(labels)}."
        for size, labels in by_size.items()
    ]


def _convention_beside(convention: str, records: Sequence[RunRecord]) -> str | None:
    """Return the second convention of a report: the study's, or the other one if that is the first."""
    beside = CONVENTION if convention != CONVENTION else REPORT_CONVENTION
    return beside if all(beside in record.model for record in records) else None


def _points(
    labels: Sequence[str], cells: Mapping[tuple[str, str], LadderCell], compute: Mapping[str, float]
) -> dict[str, list[Point]]:
    """Return every finished run at a best setting, by label; a label without one has no entry."""
    points = {
        label: [
            Point(compute=compute[size], loss=loss)
            for size, cell in _of(label, cells).items()
            for loss in cell.losses.values()
        ]
        for label in labels
    }
    return {label: ends for label, ends in points.items() if ends}


def _differences(
    labels: Sequence[str],
    cells: Mapping[tuple[str, str], LadderCell],
    minimum_effect: float,
    sampling: float,
) -> dict[str, PooledDifference]:
    """Return the difference of every label to the first, over sizes and seeds, judged together."""
    baseline = labels[0]
    found = {
        label: pooled_difference(
            _losses(label, cells),
            _losses(baseline, cells),
            minimum_effect=minimum_effect,
            search_errors={
                size: math.hypot(cell.search_cost or 0.0, cells[baseline, size].search_cost or 0.0)
                for size, cell in _of(label, cells).items()
                if (baseline, size) in cells
            },
            sampling_error=sampling,
        )
        for label in labels[1:]
    }
    means = jointly_judged(found)
    single = jointly_judged({(label, size): one for label in found for size, one in found[label].by_size.items()})
    return {
        label: dataclasses.replace(one, by_size={size: single[label, size] for size in one.by_size})
        for label, one in means.items()
    }


def _fits(
    points: Mapping[str, Sequence[Point]],
    forms: Sequence[Form],
    *,
    num_samples: int,
    confidence: float,
    warnings: list[str],
) -> tuple[dict[Form, LawFit], dict[Form, dict[str, HoldOut]]]:
    """Return what can be fitted, and say why the rest cannot."""
    fits: dict[Form, LawFit] = {}
    hold_outs: dict[Form, dict[str, HoldOut]] = {}
    for form in forms:
        samples = min(num_samples, MOST_BROKEN_SAMPLES) if form == "broken" else num_samples
        try:
            fits[form] = fit_laws(_with_sizes(points, form, 0), form=form, num_samples=samples)
            more = _with_sizes(points, form, 1)
            hold_outs[form] = hold_out(more, form=form, num_samples=samples, confidence=confidence)
        except ValueError as reason:
            what = "prediction of the largest size by" if form in fits else "fit of"
            warnings.append(f"No {what} the {form} law: {reason}")
    return fits, hold_outs


def _lack_of_fit(fit: LawFit) -> list[str]:
    """Say that the sizes do not lie on a law, if the seeds are close enough together to show it."""
    found = fit.lack_of_fit()
    if found is None or found.p_value >= LACK_OF_FIT or found.misfit < HUBER_DELTA:
        return []
    return [
        f"The {fit.form} law misses the sizes by {100 * found.misfit:.2g} % of the loss, where seeds differ by "
        f"{100 * found.noise:.2g} % (lack of fit, p = {found.p_value:.1g}): its multipliers and exponents are rougher "
        "than their intervals say."
    ]


def _with_sizes(points: Mapping[str, Sequence[Point]], form: Form, spare: int) -> dict[str, Sequence[Point]]:
    """Keep the labels with as many sizes as a law of theirs has numbers beside the floor, and some to spare."""
    needed = 2 * FORMS[form][0] + spare
    return {label: runs for label, runs in points.items() if len({point.compute for point in runs}) >= needed}


def _chosen(form: Form | None, fits: Mapping[Form, LawFit]) -> Form | None:
    if form is not None and form not in fits:
        raise ValueError(f"form {form!r} was asked for, and the runs determine {', '.join(fits) or 'no law'}.")
    order: tuple[Form, ...] = ("saturated", "power") if form is None else (form,)
    return next((name for name in order if name in fits), None)


def _lr_rules(
    labels: Sequence[str],
    sizes: Sequence[LadderSize],
    cells: Mapping[tuple[str, str], LadderCell],
    num_samples: int,
) -> dict[str, LrRuleFit]:
    """Return the rule of every label whose learning rate was searched at two sizes or more."""
    rules = {}
    for label in labels:
        trials: dict[float, list[LrTrial]] = {
            size.non_embedding_params: _lr_trials(
                trial for trial in cell.trials if cell.best is not None and trial.settings == cell.best.settings
            )
            for size in sizes
            if (cell := cells.get((label, size.name))) is not None and len(cell.trials) > 1 and cell.best is not None
        }
        if len(trials) > 1:
            rules[label] = fit_lr_rule(trials, num_samples=min(num_samples, 200))
    return rules


def _cost(records: Sequence[RunRecord]) -> LadderCost:
    seconds = [record.cost.get("wall_seconds") for record in records]
    known = [value for value in seconds if value is not None]
    memory = [value for record in records if (value := record.cost.get("peak_memory_bytes")) is not None]
    return LadderCost(
        num_runs=len(records),
        hours=sum(known) / 3600 if len(known) == len(seconds) else None,
        peak_memory_bytes=max(memory, default=None),
        **{
            name: _median(record.cost.get(name) for record in records)
            for name in ("tokens_per_second", "step_seconds", "optimizer_step_seconds", "optimizer_state_bytes")
        },
    )


def _fairness(
    labels: Sequence[str], sizes: Sequence[LadderSize], cells: Mapping[tuple[str, str], LadderCell]
) -> list[str]:
    """Say what makes the ladder less fair or less certain than it looks."""
    warnings = []
    for size in sizes:
        row = {label: cells[label, size.name] for label in labels if (label, size.name) in cells}
        absent = [label for label in labels if label not in row]
        if absent:
            warnings.append(f"Size {size.name}: {', '.join(absent)} did not run.")
        counts = {label: len(cell.trials) for label, cell in row.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{label} {count}" for label, count in counts.items())
            warnings.append(
                f"Size {size.name}: unequal searches ({listed} settings); who tried more had better chances."
            )
        edges = [f"{label} ({_rate(cell.best)})" for label, cell in row.items() if cell.is_best_on_edge and cell.best]
        if edges:
            warnings.append(f"Size {size.name}: best learning rate at the edge of those tried: {', '.join(edges)}.")
        lost = [
            f"{label} {_rate(trial)} ({trial.status})"
            for label, cell in row.items()
            for trial in cell.trials
            if trial.loss is None and not trial.status.startswith("diverged")
        ]
        if lost:
            warnings.append(f"Size {size.name}: runs without a result: {', '.join(lost)}.")
    alone = [cell for cell in cells.values() if len(cell.losses) == 1]
    if alone:
        which = "every optimizer and size" if len(alone) == len(cells) else f"{len(alone)} of {len(cells)} cells"
        warnings.append(f"One seed at the best setting for {which}: nothing is known about the spread there.")
    return warnings


def _rate(trial: LadderTrial) -> str:
    return "at an unknown learning rate" if trial.peak_lr is None else f"{trial.peak_lr:.3g}"


def _median(values: Iterable[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
