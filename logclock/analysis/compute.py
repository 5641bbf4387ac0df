"""How much compute did a run take, and by which way of counting?

The formulas stand in `logclock.models.sizes.ModelSize`; a record carries what they gave per token, so that analysis
needs no model.
"""

import dataclasses
from collections.abc import Iterable

from logclock.records import RunRecord

__all__ = [
    "CONVENTION",
    "CONVENTIONS",
    "PETAFLOP_HOUR",
    "REPORT_CONVENTION",
    "STEPS",
    "TOKENS",
    "Convention",
    "compute_6d",
    "compute_6p",
    "compute_deepseek",
    "compute_kaplan",
    "compute_per_token",
    "total_compute",
    "usable_convention",
]

CONVENTION = "compute_6p_per_token"
"""What the log-time study counts by; ladders show multipliers by it beside their own."""

REPORT_CONVENTION = "compute_6d_per_token"
"""What reports count by: all weights that a token is multiplied with, the output head included."""

TOKENS, STEPS = "tokens", "steps"
"""What stands for compute where runs of other programs do not say their parameters, or not even their tokens. Between
runs of one model, and of one batch size, the ratios are those of compute."""

PETAFLOP_HOUR = 3.6e18
"""FLOP; the unit of the log-time study's figures."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convention:
    """One way of counting FLOP.

    Args:
        formula: FLOP per token.
        trap: What it leaves out, and what that does to a comparison.
    """

    formula: str
    trap: str


CONVENTIONS = {
    "compute_6p_per_token": Convention(
        formula="6 P",
        trap="Leaves out the output head, which at small sizes is most of the work: at 46 M total parameters and a "
        "vocabulary of 50,304 it is 73 %. Laws bend at the small end and exponents come out too steep.",
    ),
    "compute_kaplan_per_token": Convention(
        formula="72 L d^2",
        trap="Equal to 6 P only where P = 12 L d^2, as in Enoki; gated feed-forwards and attention gates are missed.",
    ),
    "compute_6d_per_token": Convention(
        formula="6 P + 6 V d",
        trap="Counts the head but not the attention scores, which grow with the context.",
    ),
    "compute_deepseek_per_token": Convention(
        formula="72 L d^2 + 12 L d S",
        trap="Counts the attention scores, without the half that a causal mask saves, but not the head.",
    ),
}
"""By the key of `RunRecord.model`. None of them counts the optimizer's own work; the cost table has that as time."""


def usable_convention(records: Iterable[RunRecord], convention: str = REPORT_CONVENTION) -> str:
    """Return a convention, or what comes nearest to it for imported runs, which may not say parameters or tokens."""
    kept = list(records)
    if not any(record.is_imported for record in kept):
        return convention
    if all(_counts_tokens(record) for record in kept):
        return convention if all(convention in record.model for record in kept) else TOKENS
    return STEPS


def _counts_tokens(record: RunRecord) -> bool:
    return bool(record.train.get("tokens")) and record.train["tokens"][-1] is not None


def compute_per_token(record: RunRecord, convention: str = CONVENTION) -> float:
    """Return the FLOP per token of a record's model.

    Raises:
        ValueError: The record does not have this convention.
    """
    if convention == TOKENS:
        return 1.0
    if convention not in record.model:
        known = ", ".join(sorted(name for name in record.model if name.startswith("compute_")))
        raise ValueError(
            f"{record.label}, record {record.record_hash}: the model has no {convention!r}. Known conventions: {known}."
        )
    per_token: float = record.model[convention]
    return per_token


def total_compute(record: RunRecord, convention: str = CONVENTION) -> float:
    """Return the FLOP of a whole run: its tokens times the FLOP per token.

    Raises:
        ValueError: The run has not trained on a token yet, or has no such convention.
    """
    tokens = record.train.get("tokens") or [None]
    if not tokens[-1]:
        raise ValueError(f"{record.label}, record {record.record_hash}: no token was trained on. Leave the record out.")
    return tokens[-1] * compute_per_token(record, convention)


def compute_6p(record: RunRecord) -> float:
    """Return the FLOP of a whole run by 6 P per token: every weight but the two vocabulary tables."""
    return total_compute(record, "compute_6p_per_token")


def compute_kaplan(record: RunRecord) -> float:
    """Return the FLOP of a whole run by 72 L d^2 per token: 6 P from the shape."""
    return total_compute(record, "compute_kaplan_per_token")


def compute_6d(record: RunRecord) -> float:
    """Return the FLOP of a whole run by 6 P + 6 V d per token: with the output head."""
    return total_compute(record, "compute_6d_per_token")


def compute_deepseek(record: RunRecord) -> float:
    """Return the FLOP of a whole run by 72 L d^2 + 12 L d S per token: with the attention scores, without the head."""
    return total_compute(record, "compute_deepseek_per_token")
