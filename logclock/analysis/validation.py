"""How far may a difference lie off because the validation set is finite?"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from logclock.records import RunRecord

__all__ = ["TOKEN_SD", "sampling_error", "validation_tokens"]

TOKEN_SD = 0.8
"""Nats: standard deviation of the difference of two optimizers' losses, per token and without what seeds show already.

Measured once (`experiments/2026-11-27-validation-error`): AdamW and ADANA at size 3 of the micro ladder, three seeds,
in 64 blocks of 2,176 tokens, so that tokens of one document are not taken for independent. Other pairs may differ.
"""


def sampling_error(records: Iterable[RunRecord]) -> float:
    """Return the standard error of a loss difference from the finite validation set, in nats.

    TOKEN_SD / sqrt(tokens), for the smallest set of the runs; 0.0 if a record does not say how large its set was.
    It does not shrink with seeds or sizes, because all runs are evaluated on the same tokens.
    """
    counts = [validation_tokens(record) for record in records]
    known = [count for count in counts if count]
    return TOKEN_SD / math.sqrt(min(known)) if known and len(known) == len(counts) else 0.0


def validation_tokens(record: RunRecord) -> int | None:
    """Return on how many tokens a run was evaluated, or None if its record does not say."""
    evaluation, data = record.config.get("evaluation"), record.config.get("data")
    if not isinstance(evaluation, Mapping) or not isinstance(data, Mapping):
        return None
    if evaluation.get("batches") is None:  # all there are
        return record.data.get("validation_tokens")
    parts: list[Any] = [evaluation["batches"], evaluation.get("batch_size"), data.get("sequence_length")]
    return math.prod(parts) if all(isinstance(part, int) for part in parts) else None
