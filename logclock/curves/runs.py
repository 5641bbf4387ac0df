"""How do curves of other programs become records that can be compared, and never pass for runs of ours?"""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from logclock.analysis.ladder import gather_ladder
from logclock.analysis.study import choose_baseline, gather
from logclock.config.files import dump_json, replacing
from logclock.curves.curve import Curve, Points
from logclock.curves.formats import find_sources, read_source
from logclock.curves.naming import Facts, amount, by_name, facts_of, matched, pattern_of
from logclock.curves.roles import ROLES
from logclock.curves.smoothing import DEFAULT_WINDOW, smoothed, standard_error
from logclock.records import Ledger, RunRecord
from logclock.records.record import Series, Status
from logclock.version import __version__

__all__ = ["Loss", "Reading", "import_runs", "records_of"]

Loss = Literal["auto", "validation", "training"]

SAME_LR = 0.03
"""Peaks of logged learning rates that differ by less are one setting: histories are samples, which miss the peak."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How sources are to be understood, as the user said it.

    Args:
        label: What runs are called, or a pattern of their path or name, such as `runs/{optimizer}-s{seed}-{size}`.
        facts: What holds for all runs.
        columns: Column by role, see `ROLES`.
        format: Of the sources; None to tell it by name and content.
        loss: What is compared: the validation loss, or the training loss averaged; `auto` takes the first that every
            run has.
        window: Share of the training over which a training loss is averaged.
        baseline: The label to compare with; the first if None.
    """

    label: str | None = None
    facts: Facts = dataclasses.field(default_factory=Facts)
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    format: str | None = None
    loss: Loss = "auto"
    window: float = DEFAULT_WINDOW
    baseline: str | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.columns) - set(ROLES))
        if unknown:
            raise ValueError(f"--column {unknown[0]}=...: unknown meaning. Known: {', '.join(ROLES)}.")
        if not 0 < self.window <= 0.5:
            raise ValueError(f"the window of a mean must be a share of the training in (0, 0.5], got {self.window}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """A curve and what is known of it."""

    curve: Curve
    facts: Facts
    is_lr_said: bool

    @property
    def label(self) -> str:
        return str(self.facts.label)

    @property
    def seed(self) -> int:
        return self.facts.seed or 0

    def __str__(self) -> str:
        return f"{self.curve.source}, run {self.curve.name!r}"


def import_runs(sources: Sequence[Path], out: Path, reading: Reading) -> list[RunRecord]:
    """Read finished runs of other programs and write their records into `out/ledger.jsonl`.

    Runs that an earlier import has written there stay, unless they come from the same source again. The ledger is
    written whole, and only if everything was read and may be compared.

    Args:
        sources: Files and folders.
        out: Directory of the study; it is created.
        reading: How the sources are to be understood.

    Returns:
        All records of the study.

    Raises:
        ValueError: A source cannot be read or contradicts itself, two runs are called alike, or the runs must not be
            compared; the message names the source and the row.
        FileNotFoundError: A source does not exist.
    """
    if not sources:
        raise ValueError("no source was given. Give exports of runs, or folders of them.")
    path = out / "ledger.jsonl"
    before = Ledger(path).records()
    own = [record for record in before if not record.is_imported]
    if own:
        raise ValueError(
            f"{path} holds runs that logclock has trained, such as {own[0].label}; imported ones cannot stand beside "
            "them, because nothing says that data and model are the same. Choose another --out."
        )
    curves = [
        curve
        for source, format in find_sources(sources, format=reading.format)
        for curve in read_source(source, format, reading.columns)
    ]
    made = records_of(curves, reading)
    again = {_origin(record) for record in made}
    records = _in_phases([*(record for record in before if _origin(record) not in again), *made], reading.baseline)
    _check(records)
    lines = [dump_json(record.to_dict(), purpose="a ledger", sort_keys=True) for record in records]
    out.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
    return records


def records_of(curves: Iterable[Curve], reading: Reading) -> list[RunRecord]:
    """Return the records of curves, with phases by which `compare` and `analyse_ladder` find them.

    Raises:
        ValueError: Two runs are called alike, some have a loss that others lack, or a ladder lacks its compute.
    """
    runs = _merged([_run(curve, reading) for curve in curves])
    if not runs:
        raise ValueError("the sources hold no run. Give exports of runs, or folders of them.")
    runs = _with_common_lrs(runs)
    kind = _loss_kind(runs, reading.loss)
    steps = _total_steps(runs)
    records = [_record(run, steps[i], kind, reading.window) for i, run in enumerate(runs)]
    return _in_phases(records, reading.baseline)


def _run(curve: Curve, reading: Reading) -> _Run:
    found = facts_of(
        {name: value for name, value in curve.facts.items() if name != "run"}, where=f"{curve.source}, {curve.name!r}"
    )
    pattern = None if reading.label is None else pattern_of(reading.label)
    if pattern is not None:
        assert reading.label is not None
        # A run in a file of several is told by its name, one in a file of its own by its path; a pattern may join both.
        inside = f"{Path(curve.source).with_suffix('').as_posix()}/{curve.name}"
        texts = matched(pattern, reading.label, curve.name, curve.source, inside)
        said = facts_of(texts, where=f"--label {reading.label!r}")
    else:
        said = Facts(label=reading.label)
    facts = said.over(reading.facts).over(found)
    if reading.label is None:
        named = by_name(curve.name)
        facts = facts.over(named if facts.label is None else dataclasses.replace(named, label=None))
    elif facts.label is None:
        facts = facts.over(Facts(label=by_name(curve.name).label))
    if facts.params is None and facts.size is not None:
        facts = facts.over(Facts(params=_params_of_size(facts.size)))
    if facts.size is None and facts.params is not None:
        facts = facts.over(Facts(size=_short(facts.params)))
    logged = [value for _, value in curve.series["lr"].finite] if "lr" in curve.series else []
    is_said = facts.lr is not None
    if not is_said and logged and max(logged) > 0:
        facts = facts.over(Facts(lr=max(logged)))
    return _Run(curve=curve, facts=facts, is_lr_said=is_said)


def _params_of_size(size: str) -> float | None:
    """Return the parameters that a size such as 124M names; None for another name, such as 12L."""
    if size[-1:].lower() not in ("k", "m", "b"):
        return None
    try:
        return amount(size, what="size")
    except ValueError:
        return None


def _short(count: float) -> str:
    for unit, scale in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            return f"{count / scale:.4g}{unit}"
    return f"{count:g}"


def _merged(runs: Sequence[_Run]) -> list[_Run]:
    """Join curves of one run that came from several files, such as one chart each for two losses."""
    kept: list[_Run] = []
    for run in runs:
        place = next((i for i, first in enumerate(kept) if _are_one(first, run)), None)
        if place is None:
            kept.append(run)
            continue
        first = kept[place]
        if first.curve.series.keys() & run.curve.series.keys() or first.curve.name != run.curve.name:
            others = "" if run.facts.seed is None else f" of seed {run.seed}"
            raise ValueError(
                f"two runs are called {run.label!r}{others}: {first} and {run}. Tell them apart by a pattern such as "
                "--label '{optimizer}-s{seed}', by --column seed=NAME, or import them one by one with --label and "
                "--seed."
            )
        kept[place] = _joined(first, run)
    return kept


def _are_one(first: _Run, second: _Run) -> bool:
    one, other = first.facts, second.facts
    is_same_lr = one.lr is None or other.lr is None or math.isclose(one.lr, other.lr, rel_tol=SAME_LR)
    return (first.label, first.seed, one.size) == (second.label, second.seed, other.size) and is_same_lr


def _joined(first: _Run, second: _Run) -> _Run:
    one, other = first.curve, second.curve
    lost = [step for step in (one.lost_after, other.lost_after) if step is not None]
    joined = dataclasses.replace(
        one,
        source=one.source if one.source == other.source else f"{one.source} + {other.source}",
        digest=one.digest if one.digest == other.digest else f"{one.digest} + {other.digest}",
        columns={**other.columns, **one.columns},
        series={**one.series, **other.series},
        last_step=max(one.last_step, other.last_step),
        lost_after=min(lost, default=None),
        notes=(*one.notes, *other.notes),
    )
    return _Run(curve=joined, facts=first.facts.over(second.facts), is_lr_said=first.is_lr_said or second.is_lr_said)


def _with_common_lrs(runs: Sequence[_Run]) -> list[_Run]:
    """Give runs of one label whose logged learning rates have nearly the same peak the largest of them."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for run in runs:
        if run.facts.lr is not None and not run.is_lr_said:
            groups.setdefault((run.label, run.facts.size), []).append(run.facts.lr)
    common = []
    for run in runs:
        lr = run.facts.lr
        if lr is not None and not run.is_lr_said:
            near = [peak for peak in groups[run.label, run.facts.size] if lr <= peak <= lr * (1 + SAME_LR)]
            run = dataclasses.replace(run, facts=dataclasses.replace(run.facts, lr=max(near)))
        common.append(run)
    return common


def _loss_kind(runs: Sequence[_Run], asked: Loss) -> str:
    """Return which loss is compared; a run that diverged before it had one is no reason to take another.

    Raises:
        ValueError: Some runs have a loss that is asked for, or that others have, and some have not.
    """
    roles = {"validation": "validation_loss", "training": "loss"}
    having = {
        kind: [run for run in runs if role in run.curve.series and run.curve.series[role].finite]
        for kind, role in roles.items()
    }
    kind = asked if asked != "auto" else "validation" if having["validation"] else "training"
    lacking = [run for run in runs if run not in having[kind] and run.curve.lost_after is None]
    if not lacking:
        return kind
    other = "training" if kind == "validation" else "validation"
    have_other = len(having[other]) == len(runs)
    advice = f" Say --loss {other} to compare the {other} losses, which all have." if have_other else ""
    raise ValueError(
        f"{lacking[0]} has no {kind} loss, and {len(having[kind])} of {len(runs)} runs have one.{advice} Or name its "
        "column with --column, or leave the run out."
    )


def _total_steps(runs: Sequence[_Run]) -> list[int]:
    """Return T of every run: what is said, else where its log ends; runs of one size that end nearly together share it.

    Programs log every so many steps, and the last line of two equal runs may differ by one interval. A run that lost
    its loss was planned for as many steps as those beside it, as far as anybody knows.
    """
    return [_planned(run, [peer for peer in runs if peer.facts.size == run.facts.size]) for run in runs]


def _planned(run: _Run, peers: Sequence[_Run]) -> int:
    last, said = run.curve.last_step, run.facts.total_steps
    if said is not None:
        if last > said:
            raise ValueError(
                f"{run}: the log goes on to step {last:,}, beyond the {said:,} steps that were planned. Correct "
                "--total-steps, or the file."
            )
        return said
    ends = [peer.facts.total_steps or peer.curve.last_step for peer in peers if peer.curve.lost_after is None]
    if run.curve.lost_after is not None:
        own = min((end for end in ends if end >= last), default=last)
    else:
        own = max(end for end in ends if last <= end <= last + _interval(run))
    if own < 1:
        raise ValueError(
            f"{run}: the log ends at step {own}. A curve needs a step after the first update; leave it out."
        )
    return own


def _interval(run: _Run) -> int:
    """Return the longest interval between two losses of the kind that is logged more often."""
    series = run.curve.series
    return min(series[role].longest_gap for role in ("loss", "validation_loss") if role in series)


def _record(run: _Run, total_steps: int, kind: str, window: float) -> RunRecord:
    curve, facts = run.curve, run.facts
    status, reason = _ending(run, total_steps)
    tokens_per_step = _tokens_per_step(run)
    training = curve.series.get("loss")
    validation = curve.series.get("validation_loss")
    error = None
    if kind == "training":
        finite = training.finite if training is not None else []
        ends = smoothed(finite, total_steps=total_steps, window=window)
        error = standard_error(finite, total_steps=total_steps, window=window)
    else:
        ends = validation.finite if validation is not None else []
    compared = f"training, mean over the last {100 * window:g} %" if kind == "training" else "validation"
    metrics: dict[str, float | None] = {"final_step": curve.last_step}
    if training is not None and training.finite:
        metrics["final_train_loss"] = training.finite[-1][1]
    if status == "finished" and ends:
        metrics["final_validation_loss"] = ends[-1][1]
        if error is not None:
            metrics["smoothing_error"] = error
    tokens = [None if tokens_per_step is None else step * tokens_per_step for step, _ in ends]
    return RunRecord(
        config={
            "source": "imported",
            "loss": compared,
            "optimizer": {"name": run.label, "lr": facts.lr},
            "seed": run.seed,
            "total_steps": total_steps,
        }
        | ({"size": facts.size} if facts.size is not None else {}),
        seed=run.seed,
        label=run.label,
        tags={"study": "import"} | ({"size": facts.size} if facts.size is not None else {}),
        status=status,
        reason=reason,
        model=_model(facts.params),
        data={},
        provenance=_provenance(run),
        train=_train(run, tokens_per_step),
        validation={"step": [s for s, _ in ends], "tokens": list(tokens), "loss": [loss for _, loss in ends]},
        schedules=_schedules(curve.series.get("lr")),
        metrics=metrics,
        cost={},
    )


def _ending(run: _Run, total_steps: int) -> tuple[Status, str | None]:
    curve = run.curve
    if curve.lost_after is not None:
        return "diverged", f"no finite loss after step {curve.lost_after:,} in {curve.source}"
    if curve.last_step < total_steps - max(_interval(run), 1):
        return "failed", f"{curve.source} ends at step {curve.last_step:,} of {total_steps:,}"
    return "finished", None


def _tokens_per_step(run: _Run) -> float | None:
    """Return tokens per step: what is said, else what the column of tokens has at its end."""
    if run.facts.tokens_per_step is not None:
        return run.facts.tokens_per_step
    points = run.curve.series.get("tokens")
    counted = [(step, tokens) for step, tokens in points.finite if step > 0 and tokens > 0] if points else []
    return counted[-1][1] / counted[-1][0] if counted else None


def _model(params: float | None) -> dict[str, Any]:
    """Return what is known of a model: one number, which counts as all and as non-embedding parameters."""
    if params is None:
        return {}
    count = round(params)
    return {"non_embedding_params": count, "total_params": count, "compute_6d_per_token": 6 * count}


def _train(run: _Run, tokens_per_step: float | None) -> Series:
    series = run.curve.series
    points = series.get("loss") or series["validation_loss"]
    steps = points.steps
    columns: Series = {
        "step": list(steps),
        "tokens": [None if tokens_per_step is None else step * tokens_per_step for step in steps],
        "loss": [value if math.isfinite(value) else None for value in points.values]
        if "loss" in series
        else [None] * len(steps),
    }
    for role in ("lr", "grad_norm"):
        if role in series:
            known = dict(series[role].finite)
            columns[role] = [known.get(step) for step in steps]
    return columns


def _schedules(points: Points | None) -> Series:
    finite = points.finite if points is not None else []
    if not finite:
        return {"step": []}
    return {"step": [step for step, _ in finite], "lr": [value for _, value in finite]}


def _provenance(run: _Run) -> dict[str, Any]:
    curve = run.curve
    return {
        "logclock": __version__,
        "imported_from": curve.source,
        "imported_run": curve.name,
        "imported_format": curve.format,
        "imported_digest": curve.digest,
        "imported_columns": ", ".join(f"{role} = {name}" for role, name in sorted(curve.columns.items())),
        "imported_notes": list(curve.notes),
        "imported_seed": "said" if run.facts.seed is not None else "not said",
        "imported_lr": "not said" if run.facts.lr is None else "said" if run.is_lr_said else "largest logged",
    }


def _origin(record: RunRecord) -> tuple[Any, Any]:
    return record.provenance["imported_from"], record.provenance["imported_run"]


def _in_phases(records: Sequence[RunRecord], baseline: str | None) -> list[RunRecord]:
    """Tag records with what they are for: a ladder if there are several sizes, else main runs and a sweep.

    Several learning rates of one label are a sweep; the one with the lowest loss is that of the main runs.
    """
    sizes = {record.tags.get("size") for record in records}
    if baseline is not None:
        choose_baseline(baseline, [], list(dict.fromkeys(record.label for record in records)))
    else:
        baseline = next((record.tags["baseline"] for record in records if "baseline" in record.tags), None)
    if len(sizes) > 1:
        _check_ladder(records)
        phases = ["ladder"] * len(records)
    else:
        best = _best_lrs(records)
        phases = []
        for record in records:
            lrs = best.get(record.label)
            is_best = lrs is None or record.config["optimizer"]["lr"] == lrs
            phases.append("main" if lrs is None else "main,sweep" if is_best else "sweep")
    named = {} if baseline is None else {"baseline": baseline}
    return [
        dataclasses.replace(
            record, tags={k: v for k, v in record.tags.items() if k != "baseline"} | {"phase": phase} | named
        )
        for record, phase in zip(records, phases, strict=True)
    ]


def _best_lrs(records: Sequence[RunRecord]) -> dict[str, float]:
    """Return the learning rate with the lowest mean loss of each label that has several."""
    losses: dict[str, dict[float, list[float]]] = {}
    for record in records:
        lr = record.config["optimizer"]["lr"]
        if lr is not None:
            found = losses.setdefault(record.label, {}).setdefault(lr, [])
            loss = record.metrics.get("final_validation_loss")
            if loss is not None:
                found.append(loss)
    return {
        label: min(by_lr, key=lambda lr: statistics.fmean(by_lr[lr]) if by_lr[lr] else math.inf)
        for label, by_lr in losses.items()
        if len(by_lr) > 1
    }


def _check_ladder(records: Sequence[RunRecord]) -> None:
    """A ladder compares at equal compute, so every run must say its own."""
    for record in records:
        lacking = [
            name
            for name, is_there in (
                ("--params", bool(record.model)),
                ("--tokens-per-step", bool(record.train["tokens"]) and record.train["tokens"][-1] is not None),
            )
            if not is_there
        ]
        if "size" not in record.tags or lacking:
            raise ValueError(
                f"{record.provenance['imported_from']}, run {record.provenance['imported_run']!r}: several sizes are a "
                f"ladder, which counts compute as 6 x parameters x tokens, and this run does not say "
                f"{' and '.join(lacking) or 'its size'}. Give it, or the runs of one size only."
            )


def _check(records: Sequence[RunRecord]) -> None:
    """Raise before anything is written if a report could not be made of the records."""
    try:
        if any(record.tags["phase"] == "ladder" for record in records):
            gather_ladder(records)
        else:
            gather(records)
    except ValueError as error:
        lengths = {record.config["total_steps"] for record in records}
        advice = (
            " --total-steps says how many were planned, and a run that ends before counts as not finished."
            if "total_steps" in str(error) and len(lengths) > 1
            else ""
        )
        raise ValueError(f"{error}{advice}") from None
