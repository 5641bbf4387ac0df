"""What do runs of other programs leave unsaid, that a comparison rests on?"""

import math
from collections.abc import Collection, Iterable, Sequence

from logclock.analysis.study import known_lr, planned_steps, tokens_per_step
from logclock.records import RunRecord

__all__ = ["compared_loss", "unknowns"]


def compared_loss(records: Iterable[RunRecord]) -> str:
    """Return what the loss is called that the runs are compared by."""
    kinds = {record.config["loss"] for record in records if record.is_imported}
    return "training loss, averaged" if any(kind != "validation" for kind in kinds) else "validation loss"


def unknowns(records: Iterable[RunRecord], *, tuned: Collection[str] = ()) -> list[str]:
    """Say what imported runs do not, in sentences; nothing for runs of ours.

    Args:
        records: The runs that are compared.
        tuned: Labels of which several learning rates were run.
    """
    kept = [record for record in records if record.is_imported]
    if not kept:
        return []
    said = [
        _loss(kept),
        _budget(kept),
        _learning_rates(kept, tuned),
        "Unknown: whether the runs saw the same data in the same order and began with the same weights. Differences "
        "are paired by seed as if they had; if not, read the spread over seeds, not the pairs.",
        _seeds(kept),
        _model(kept),
        _last_evaluations(kept),
        *_notes(kept),
    ]
    return [sentence for sentence in said if sentence]


def _loss(records: Sequence[RunRecord]) -> str | None:
    kinds = {record.config["loss"] for record in records} - {"validation"}
    if not kinds:
        return None
    (kind,) = kinds
    errors = [error for record in records if (error := record.metrics.get("smoothing_error")) is not None]
    # Every run has noise of its own, so that several seeds show it, and one seed does not.
    noise = (
        f"a mean has a standard error of up to {max(errors):.2g} nats, which the spread over seeds contains and one "
        f"seed does not show (a difference of less than {2 * math.sqrt(2) * max(errors):.2g} may be noise)"
        if errors
        else "there are too few points to tell the noise of a mean"
    )
    return (
        f"The runs are compared by their {kind.replace(',', ' loss,')} of the steps, because not all have a validation "
        f"loss or because that was asked for; {noise}. Whether the gain holds on unseen text is unknown."
    )


def _budget(records: Sequence[RunRecord]) -> str | None:
    lengths = sorted({planned_steps(record) for record in records})
    steps = f"{lengths[0]:,} steps" if len(lengths) == 1 else "as many steps at each size"
    if all(tokens_per_step(record) is not None for record in records):
        return None
    return (
        f"Unknown: tokens per step. All runs have {steps}, so budgets are equal if batches were; --tokens-per-step "
        "says it."
    )


def _learning_rates(records: Sequence[RunRecord], tuned: Collection[str]) -> str | None:
    labels = list(dict.fromkeys(record.label for record in records))
    silent = [label for label in labels if any(known_lr(r) is None for r in records if r.label == label)]
    alone = [label for label in labels if label not in silent and label not in tuned]
    parts = []
    if silent:
        parts.append(f"the learning rates of {', '.join(silent)} (--lr, or --column lr=NAME, says them)")
    if alone:
        parts.append(f"whether those of {', '.join(alone)} were tuned, since there is one each")
    if not parts:
        return None
    return f"Unknown: {'; '.join(parts)}. An optimizer that was tuned less has worse chances."


def _seeds(records: Sequence[RunRecord]) -> str | None:
    silent = list(dict.fromkeys(r.label for r in records if r.provenance.get("imported_seed") == "not said"))
    return f"Unknown: the seeds of {', '.join(silent)}, counted as 0." if silent else None


def _model(records: Sequence[RunRecord]) -> str | None:
    if all(record.model for record in records):
        return None
    return "Unknown: the number of parameters, so nothing says that the runs have one model; --params says it."


def _last_evaluations(records: Sequence[RunRecord]) -> str | None:
    last: dict[tuple[object, float], list[str]] = {}
    for record in records:
        if record.status == "finished" and record.validation["step"]:
            step = record.validation["step"][-1] or 0.0
            last.setdefault((record.tags.get("size"), step), []).append(f"{record.label} seed {record.seed}")
    sizes = {size for size, _ in last}
    if len(last) == len(sizes):
        return None
    places = "; ".join(f"{step:,.0f} ({', '.join(names)})" for (_, step), names in last.items())
    return f"The last losses are at different steps: {places}. Whoever was measured later had longer to train."


def _notes(records: Sequence[RunRecord]) -> list[str]:
    return [
        f"{record.label} seed {record.seed}: {note}"
        for record in records
        for note in record.provenance.get("imported_notes", [])
    ]
