"""How far may a difference lie off because the validation set is finite?"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from logclock.records import RunRecord

__all__ = [
    "FINAL",
    "HELD_OUT",
    "SELECTION",
    "TOKEN_SD",
    "loss_to_choose_by",
    "loss_to_report",
    "mixed_evaluations",
    "sampling_error",
    "validation_tokens",
]

TOKEN_SD = 0.8
"""Nats: standard deviation of the difference of two optimizers' losses, per token and without what seeds show already.

Measured once (`experiments/2026-11-27-validation-error`): AdamW and ADANA at size 3 of the micro ladder, three seeds,
in 64 blocks of 2,176 tokens, so that tokens of one document are not taken for independent. Other pairs may differ.
"""


SELECTION, HELD_OUT, FINAL = "selection_loss", "held_out_loss", "final_validation_loss"


def loss_to_choose_by(records: Iterable[RunRecord]) -> str:
    """Return the metric by which the trials of one search are compared, as the search itself did.

    The loss on the half of the validation set that is not reported, unless a run was made before there was one.
    """
    return SELECTION if _all_have(records, SELECTION) else FINAL


def loss_to_report(records: Iterable[RunRecord]) -> str:
    """Return the metric that a study reports: the loss on the other half, unless a run was made before that."""
    return HELD_OUT if _all_have(records, HELD_OUT) else FINAL


def mixed_evaluations(records: Iterable[RunRecord]) -> list[str]:
    """Say that some runs of a study have a loss on held-out tokens and others do not."""
    kept = [record for record in records if record.status == "finished"]
    having = sum(HELD_OUT in record.metrics for record in kept)
    if having in (0, len(kept)):
        return []
    return [
        f"{having} of {len(kept)} runs have a loss on held-out tokens; all are compared on those of their last "
        "evaluation, which may have chosen their settings."
    ]


def _all_have(records: Iterable[RunRecord], metric: str) -> bool:
    kept = [record for record in records if record.status == "finished"]
    return bool(kept) and all(metric in record.metrics for record in kept)


def sampling_error(records: Iterable[RunRecord]) -> float:
    """Return the standard error of a loss difference from the finite validation set, in nats.

    TOKEN_SD / sqrt(tokens), for the smallest set of the runs; 0.0 if a record does not say how large its set was.
    It does not shrink with seeds or sizes, because all runs are evaluated on the same tokens.
    """
    kept = list(records)
    metric = loss_to_report(kept)
    counts = [_held_out_tokens(r) if metric == HELD_OUT else validation_tokens(r) for r in kept if _counts(r, metric)]
    known = [count for count in counts if count]
    return TOKEN_SD / math.sqrt(min(known)) if known and len(known) == len(counts) else 0.0


def _counts(record: RunRecord, metric: str) -> bool:
    """Return whether a run says on how many tokens the metric is; one that did not finish has no held-out loss."""
    return metric == FINAL or record.status == "finished"


def _held_out_tokens(record: RunRecord) -> int | None:
    count = record.metrics.get("held_out_tokens")
    return None if count is None else int(count)


def validation_tokens(record: RunRecord) -> int | None:
    """Return on how many tokens a run was evaluated, or None if its record does not say."""
    evaluation, data = record.config.get("evaluation"), record.config.get("data")
    if not isinstance(evaluation, Mapping) or not isinstance(data, Mapping):
        return None
    if evaluation.get("batches") is None:  # all there are
        return record.data.get("validation_tokens")
    parts: list[Any] = [evaluation["batches"], evaluation.get("batch_size"), data.get("sequence_length")]
    return math.prod(parts) if all(isinstance(part, int) for part in parts) else None
