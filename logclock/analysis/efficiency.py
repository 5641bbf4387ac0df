"""How much less compute does an optimizer need for the loss that the baseline ends with?"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from logclock.records import RunRecord

__all__ = [
    "CONVENTION",
    "LIMITS",
    "Direction",
    "Multiplier",
    "MultiplierRange",
    "compute_multiplier",
    "crossing_compute",
    "multiplier_range",
]

CONVENTION = "compute_6p_per_token"

LIMITS = (
    "The multiplier reads a loss off the middle of a run, where the learning rate has not decayed yet and the loss is "
    "higher than a shorter run with its own full decay would reach. This pulls every value towards 1, from both "
    "sides. A value near 1.0 from one seed proves nothing."
)

Direction = Literal["optimizer reaches baseline", "baseline reaches optimizer"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multiplier:
    """Baseline compute at equal loss / compute, of one pair of runs.

    Args:
        value: The multiplier; above 1 the optimizer is ahead. None if a run has no final loss.
        direction: Whose curve was read: `optimizer reaches baseline` gives values of at least 1 when both runs are
            equally long, `baseline reaches optimizer` values below 1.
        note: Why there is no value, or what limits it.
    """

    value: float | None
    direction: Direction | None = None
    note: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiplierRange:
    """Multipliers of several seeds.

    Args:
        mean: Their mean; None if no seed has a value.
        low: The smallest.
        high: The largest.
        by_seed: What each shared seed gave, ascending, those without a value included.
    """

    mean: float | None
    low: float | None
    high: float | None
    by_seed: tuple[tuple[int, Multiplier], ...]

    @property
    def num_values(self) -> int:
        """How many seeds have a value."""
        return sum(multiplier.value is not None for _, multiplier in self.by_seed)


def compute_multiplier(record: RunRecord, baseline: RunRecord, *, convention: str = CONVENTION) -> Multiplier:
    """Return the compute multiplier of a run over a baseline run, read off the validation curves.

    Forwards: the compute of the whole baseline run, divided by the compute at which the optimizer's own curve first
    reaches the baseline's final loss. If it never does, backwards: the compute at which the baseline's curve first
    reaches the optimizer's final loss, divided by the compute of the optimizer's whole run.

    Compute is tokens times `model[convention]`; between evaluations the loss is taken as linear in ln(compute).

    Args:
        record: The optimizer's run.
        baseline: The run to compare with, with the same seed if its data order depends on the seed.
        convention: The key of `RunRecord.model` that holds the FLOP per token.

    References: specs/adana.md 6.3 (iii).
    """
    for run in (record, baseline):
        if run.status != "finished":
            return Multiplier(value=None, note=f"{run.label}, seed {run.seed}: {run.status}")
        if not _is_finite(run.validation["loss"][-1:]):
            return Multiplier(value=None, note=f"{run.label}, seed {run.seed}: no finite loss at its last evaluation")
    compute, loss = _curve(record, convention)
    baseline_compute, baseline_loss = _curve(baseline, convention)
    found = crossing_compute(compute, loss, target=baseline_loss[-1])
    if found is not None:
        return Multiplier(
            value=baseline_compute[-1] / found,
            direction="optimizer reaches baseline",
            note=_note_on_start(found == compute[0]),
        )
    found = crossing_compute(baseline_compute, baseline_loss, target=loss[-1])
    # The optimizer stayed above the baseline's final loss, so the baseline's curve, which ends there, passes below it.
    assert found is not None
    return Multiplier(
        value=found / compute[-1],
        direction="baseline reaches optimizer",
        note=_note_on_start(found == baseline_compute[0]),
    )


def multiplier_range(
    records: Mapping[int, RunRecord], baseline: Mapping[int, RunRecord], *, convention: str = CONVENTION
) -> MultiplierRange:
    """Return the multipliers of the seeds that both have, with their mean and range."""
    seeds = sorted(records.keys() & baseline.keys())
    by_seed = tuple((seed, compute_multiplier(records[seed], baseline[seed], convention=convention)) for seed in seeds)
    values = [multiplier.value for _, multiplier in by_seed if multiplier.value is not None]
    return MultiplierRange(
        mean=statistics.fmean(values) if values else None,
        low=min(values, default=None),
        high=max(values, default=None),
        by_seed=by_seed,
    )


def crossing_compute(compute: Sequence[float], loss: Sequence[float], *, target: float) -> float | None:
    """Return the compute at which a curve first reaches `target` from above, or None if it never does.

    Examples:
        >>> round(crossing_compute([1.0, 100.0], [5.0, 3.0], target=4.0), 6)  # half-way in ln(compute)
        10.0
    """
    for i, value in enumerate(loss):
        if value <= target:
            if i == 0:
                return compute[0]
            fraction = (loss[i - 1] - target) / (loss[i - 1] - value)
            if fraction == 1:
                return compute[i]  # exact, where exp(log(compute)) would not be
            start, end = math.log(compute[i - 1]), math.log(compute[i])
            return math.exp(start + fraction * (end - start))
    return None


def _curve(record: RunRecord, convention: str) -> tuple[list[float], list[float]]:
    """Return compute and loss of the evaluations; the one before the first update (no compute) has no logarithm."""
    if convention not in record.model:
        known = ", ".join(sorted(name for name in record.model if name.startswith("compute_")))
        raise ValueError(
            f"{record.label}, record {record.record_hash}: the model has no {convention!r}. Known conventions: {known}."
        )
    per_token = record.model[convention]
    points = [
        (tokens * per_token, loss)
        for tokens, loss in zip(record.validation["tokens"], record.validation["loss"], strict=True)
        if tokens and loss is not None and math.isfinite(loss)
    ]
    if not points:
        raise ValueError(
            f"{record.label}, record {record.record_hash}: the only evaluation came before the first update. "
            "Evaluate at the end of a run."
        )
    compute, losses = zip(*points, strict=True)
    return list(compute), list(losses)


def _is_finite(last: Sequence[float | None]) -> bool:
    return bool(last) and last[0] is not None and math.isfinite(last[0])


def _note_on_start(is_first: bool) -> str | None:
    return "reached at the first evaluation already: only a bound" if is_first else None
