"""What do runs at several sizes say: who needs less compute, how it grows, and how sure that is?"""

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from logclock.analysis.compute import CONVENTION, compute_per_token, total_compute
from logclock.analysis.efficiency import interpolated_multiplier
from logclock.analysis.lr_rules import LrCurvature, LrRuleFit, LrTrial, fit_lr_rule, lr_curvature
from logclock.analysis.scaling import FORMS, NUM_SAMPLES, Form, HoldOut, LawFit, Point, fit_laws, hold_out
from logclock.analysis.significance import (
    MINIMUM_EFFECT,
    PooledDifference,
    pooled_difference,
    t_quantile,
)
from logclock.analysis.study import (
    check_equal,
    check_rule,
    choose_baseline,
    cite,
    peak_lr,
    planned_steps,
    tokens_per_step,
)
from logclock.records import RunRecord

__all__ = [
    "LadderCell",
    "LadderCost",
    "LadderMultiplier",
    "LadderResult",
    "LadderSize",
    "LadderTrial",
    "analyse_ladder",
    "gather_ladder",
]

PHASE = "ladder"
# A sample of the broken law takes fifty times as long as one of the others, its two terms being nearly interchangeable.
MOST_BROKEN_SAMPLES = 200
TRACKS = ("tuned", "defaults")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderSize:
    """One rung.

    Args:
        name: What `tags["size"]` calls it, e.g. the number of heads.
        non_embedding_params: P.
        total_params: D.
        total_steps: Planned updates.
        tokens: That a whole run trains on.
        compute: FLOP of a whole run by the ladder's convention.
    """

    name: str
    non_embedding_params: int
    total_params: int
    total_steps: int
    tokens: float
    compute: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderTrial:
    """One setting of an optimizer at one size, run with the seed of the search.

    Args:
        peak_lr: Learning rate.
        lr_multiplier: Its factor on the ladder's centre, as the tag says; None without the tag.
        settings: What else differs from the recipe, as the tag says; empty without it.
        loss: Final validation loss with the seed of the search; None unless that run finished.
        status: `finished`, or how the run ended with its reason.
        record_hash: The record.
    """

    peak_lr: float
    lr_multiplier: str | None
    settings: str
    loss: float | None
    status: str
    record_hash: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderMultiplier:
    """A compute multiplier over the baseline at one size, from the ends of runs.

    Args:
        value: From the mean losses; 1.2 means that the baseline needs 20 % more compute for the same loss.
        interval: Student t interval of the mean over seeds, on the scale of ln; None without a size of two seeds.
        by_seed: From the runs of each shared seed alone.
    """

    value: float
    interval: tuple[float, float] | None
    by_seed: Mapping[int, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderCost:
    """What runs took.

    Args:
        num_runs: How many there are, the search included.
        hours: Their wall time together; None if a run does not say.
        tokens_per_second: Median over the runs; the other costs likewise.
        step_seconds: Of a whole training step.
        optimizer_step_seconds: The optimizer's part of it.
        optimizer_state_bytes: Size of the optimizer's state.
        peak_memory_bytes: The largest of the runs.
    """

    num_runs: int
    hours: float | None
    tokens_per_second: float | None
    step_seconds: float | None
    optimizer_step_seconds: float | None
    optimizer_state_bytes: float | None
    peak_memory_bytes: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderCell:
    """All runs of one optimizer at one size.

    Args:
        label: The optimizer.
        size: Name of the size.
        trials: Every setting tried, ascending in the learning rate.
        best: The one with the lowest loss at the seed of the search; None if no run finished.
        is_best_on_edge: Whether the best has the smallest or largest of several learning rates tried.
        losses: Final losses of the best setting by seed, finished runs only.
        curvature: Parabola through the learning rates near the best; None if they show no minimum.
        multiplier: Over the baseline; None for the baseline and where it cannot be read off.
        cost: Of all its runs.
        record_hashes: The records of the best setting.
    """

    label: str
    size: str
    trials: tuple[LadderTrial, ...]
    best: LadderTrial | None
    is_best_on_edge: bool
    losses: Mapping[int, float]
    curvature: LrCurvature | None
    multiplier: LadderMultiplier | None
    cost: LadderCost
    record_hashes: tuple[str, ...]

    @property
    def loss(self) -> float | None:
        """Mean over the seeds of the best setting."""
        return statistics.fmean(self.losses.values()) if self.losses else None

    @property
    def loss_sd(self) -> float | None:
        """Sample standard deviation over the seeds; None below two."""
        return statistics.stdev(self.losses.values()) if len(self.losses) > 1 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderResult:
    """What a ladder says; every number is traceable to record hashes.

    Args:
        baseline: The label that the others are compared with.
        labels: The baseline first.
        sizes: Ascending.
        track: `tuned` (the best setting of a search) or `defaults` (the recipe's settings).
        convention: Key of `RunRecord.model` by which compute is counted.
        cells: By label and name of the size; a label may lack a size.
        form: The law that curves are drawn with; None if the runs determine none.
        fits: The laws that the runs determine, by form.
        hold_outs: The prediction of the largest size from the others, by form and label.
        lr_rules: Learning-rate rules of the labels that have two sizes or more.
        differences: To the baseline in nats, by label, the baseline itself left out.
        minimum_effect: Smallest loss difference that is called one, in nats.
        confidence: Coverage of the intervals of fits and multipliers; that of differences is their own.
        cost: Of each label, all sizes together.
        warnings: What makes the ladder less fair or less certain than it looks, in sentences.
        records: The runs of the track.
    """

    baseline: str
    labels: tuple[str, ...]
    sizes: tuple[LadderSize, ...]
    track: str
    convention: str
    cells: Mapping[tuple[str, str], LadderCell]
    form: Form | None
    fits: Mapping[Form, LawFit]
    hold_outs: Mapping[Form, Mapping[str, HoldOut]]
    lr_rules: Mapping[str, LrRuleFit]
    differences: Mapping[str, PooledDifference]
    minimum_effect: float
    confidence: float
    cost: Mapping[str, LadderCost]
    warnings: tuple[str, ...]
    records: tuple[RunRecord, ...]

    @property
    def fit(self) -> LawFit | None:
        """The laws that curves are drawn with."""
        return None if self.form is None else self.fits[self.form]

    def cells_of(self, label: str) -> tuple[LadderCell, ...]:
        """Return the cells of a label, ascending in size."""
        return tuple(self.cells[label, size.name] for size in self.sizes if (label, size.name) in self.cells)

    def size(self, name: str) -> LadderSize:
        """Return a size by name.

        Raises:
            ValueError: There is none.
        """
        for size in self.sizes:
            if size.name == name:
                return size
        raise ValueError(f"unknown size {name!r}. Known: {', '.join(size.name for size in self.sizes)}.")


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
    convention: str = CONVENTION,
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
    cells = _without_unfinished_sizes(gather_ladder(records, track=track), warnings)
    all_records = tuple(record for group in cells.values() for record in group)
    given = list(dict.fromkeys(label for label, _ in cells))
    name = choose_baseline(baseline, all_records, given)
    labels = (name, *(label for label in given if label != name))
    sizes = _sizes(cells, convention)
    analysed = {
        (label, size.name): _cell(label, size.name, cells[label, size.name])
        for label in labels
        for size in sizes
        if (label, size.name) in cells
    }
    compute = {size.name: size.compute for size in sizes}
    multipliers = {
        label: _multipliers(label, name, analysed, compute, confidence, warnings) for label in labels if label != name
    }
    analysed = {
        (label, size): dataclasses.replace(cell, multiplier=multipliers.get(label, {}).get(size))
        for (label, size), cell in analysed.items()
    }
    points = {
        label: [
            Point(compute=compute[size], loss=loss)
            for (owner, size), cell in analysed.items()
            if owner == label
            for loss in cell.losses.values()
        ]
        for label in labels
    }
    points = {label: runs for label, runs in points.items() if runs}
    if name not in points:
        raise ValueError(f"no run of the baseline {name!r} finished, so there is nothing to compare with.")
    fits, hold_outs = _fits(points, forms, num_samples=num_samples, confidence=confidence, warnings=warnings)
    losses = {label: {cell.size: cell.losses for (o, _), cell in analysed.items() if o == label} for label in labels}
    return LadderResult(
        baseline=name,
        labels=labels,
        sizes=sizes,
        track=track,
        convention=convention,
        cells=analysed,
        form=_chosen(form, fits),
        fits=fits,
        hold_outs=hold_outs,
        lr_rules=_lr_rules(labels, sizes, analysed, num_samples),
        differences={
            label: pooled_difference(losses[label], losses[name], minimum_effect=minimum_effect)
            for label in labels
            if label != name
        },
        minimum_effect=minimum_effect,
        confidence=confidence,
        cost={
            label: _cost([r for (owner, _), group in cells.items() if owner == label for r in group])
            for label in labels
        },
        warnings=(*warnings, *_fairness(labels, sizes, analysed)),
        records=all_records,
    )


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


def _cell(label: str, size: str, records: Sequence[RunRecord]) -> LadderCell:
    search_seed = min(record.seed for record in records)
    by_setting: dict[str, list[RunRecord]] = {}
    for record in records:
        by_setting.setdefault(_setting(record), []).append(record)
    searched = [record for record in records if record.seed == search_seed]
    trials = {_setting(record): _trial(record) for record in searched}
    ranked = [(trial.loss, trial.peak_lr, key) for key, trial in trials.items() if trial.loss is not None]
    best = min(ranked)[2] if ranked else None
    tried = sorted({trial.peak_lr for trial in trials.values()})
    group = sorted(by_setting.get(best or "", ()), key=lambda record: record.seed)
    chosen = trials[best] if best is not None else None
    alike = [t for t in trials.values() if chosen is not None and t.settings == chosen.settings]
    return LadderCell(
        label=label,
        size=size,
        trials=tuple(sorted(trials.values(), key=lambda trial: (trial.peak_lr, trial.settings))),
        best=chosen,
        is_best_on_edge=chosen is not None and len(tried) > 1 and chosen.peak_lr in (tried[0], tried[-1]),
        losses={r.seed: loss for r in group if (loss := _final_loss(r)) is not None},
        curvature=lr_curvature([LrTrial(lr=trial.peak_lr, loss=trial.loss) for trial in alike]),
        multiplier=None,
        cost=_cost(records),
        record_hashes=tuple(record.record_hash for record in group),
    )


def _setting(record: RunRecord) -> str:
    """Return what a run's seeds share: its configuration without them."""
    return json.dumps({key: value for key, value in record.config.items() if key != "seed"}, sort_keys=True)


def _trial(record: RunRecord) -> LadderTrial:
    return LadderTrial(
        peak_lr=peak_lr(record),
        lr_multiplier=record.tags.get("lr_multiplier"),
        settings=record.tags.get("settings", ""),
        loss=_final_loss(record),
        status=record.status if record.reason is None else f"{record.status}: {record.reason}",
        record_hash=record.record_hash,
    )


def _final_loss(record: RunRecord) -> float | None:
    return record.metrics.get("final_validation_loss") if record.status == "finished" else None


def _multipliers(
    label: str,
    baseline: str,
    cells: Mapping[tuple[str, str], LadderCell],
    compute: Mapping[str, float],
    confidence: float,
    warnings: list[str],
) -> dict[str, LadderMultiplier]:
    """Return the multipliers of a label by size; their spread over seeds is pooled over the sizes."""
    own = {size: cell for (owner, size), cell in cells.items() if owner == label and cell.losses}
    base = {size: cell for (owner, size), cell in cells.items() if owner == baseline and cell.losses}
    values: dict[str, float] = {}
    by_seed: dict[str, dict[int, float]] = {}
    shared = set.intersection(*(set(cell.losses) for cell in base.values())) if base else set()
    try:
        rungs = [_point(cell, compute) for cell in base.values()]
        for size, cell in own.items():
            values[size] = interpolated_multiplier(_point(cell, compute), rungs)
            by_seed[size] = {
                seed: interpolated_multiplier(
                    _point(cell, compute, seed=seed), [_point(rung, compute, seed=seed) for rung in base.values()]
                )
                for seed in sorted(shared & cell.losses.keys())
            }
    except ValueError as reason:  # one size only, or a baseline that does not fall where it must be extended
        warnings.append(f"{label}: no multipliers between finished runs, because {reason}")
        return {}
    logs = {size: [math.log(value) for value in seeds.values()] for size, seeds in by_seed.items()}
    freedom = sum(len(group) - 1 for group in logs.values() if group)
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in logs.values() if len(group) > 1)
    found = {}
    for size, value in values.items():
        interval = None
        if freedom and logs[size]:
            error = math.sqrt(squares / freedom / len(logs[size]))
            half_width = t_quantile((1 + confidence) / 2, degrees_of_freedom=freedom) * error
            interval = value * math.exp(-half_width), value * math.exp(half_width)
        found[size] = LadderMultiplier(value=value, interval=interval, by_seed=by_seed[size])
    return found


def _point(cell: LadderCell, compute: Mapping[str, float], *, seed: int | None = None) -> Point:
    """Return the end of a cell's best setting: the mean over its seeds, or one seed."""
    loss = statistics.fmean(cell.losses.values()) if seed is None else cell.losses[seed]
    return Point(compute=compute[cell.size], loss=loss)


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
            size.non_embedding_params: [
                LrTrial(lr=trial.peak_lr, loss=trial.loss)
                for trial in cell.trials
                if cell.best is not None and trial.settings == cell.best.settings
            ]
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
        edges = [
            f"{label} ({cell.best.peak_lr:.3g})" for label, cell in row.items() if cell.is_best_on_edge and cell.best
        ]
        if edges:
            warnings.append(f"Size {size.name}: best learning rate at the edge of those tried: {', '.join(edges)}.")
        lost = [
            f"{label} {trial.peak_lr:.3g} ({trial.status})"
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


def _median(values: Iterable[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
