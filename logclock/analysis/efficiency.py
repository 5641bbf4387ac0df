"""How much less compute does an optimizer need for the loss that the baseline ends with?"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from logclock.analysis.compute import CONVENTION, STEPS, compute_per_token
from logclock.analysis.scaling import Law, Point, fit_laws
from logclock.analysis.uncertainty import t_quantile
from logclock.records import RunRecord

__all__ = [
    "LIMITS",
    "Direction",
    "Multiplier",
    "MultiplierRange",
    "Overtraining",
    "compute_multiplier",
    "crossing_compute",
    "equal_loss_compute",
    "interpolated_multiplier",
    "multiplier_range",
    "overtraining_exponent",
    "token_multiplier",
]

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


def interpolated_multiplier(point: Point, baseline: Sequence[Point]) -> float:
    """Return the baseline's compute at a run's loss over the run's compute, read off the baseline's finished runs.

    Unlike `compute_multiplier` it compares runs at the end of their own schedules; it needs baseline runs of at least
    two sizes. See `equal_loss_compute` for how they are joined.

    References: specs/adana.md 6.3 (i).
    """
    return equal_loss_compute(baseline, point.loss) / point.compute


def equal_loss_compute(points: Sequence[Point], loss: float) -> float:
    """Return the compute at which a ladder of runs reaches a loss: straight lines between the runs in (ln C, ln L).

    Beyond the runs the line through the last two (before them, through the first two) goes on. If the loss rises from
    one size to the next, the smallest compute counts that reaches it.

    Raises:
        ValueError: There are fewer than two sizes, or the two that a line goes through do not fall.

    Examples:
        >>> ladder = [Point(compute=1.0, loss=4.0), Point(compute=16.0, loss=2.0)]
        >>> round(equal_loss_compute(ladder, 8**0.5), 9), round(equal_loss_compute(ladder, 1.0), 9)
        (4.0, 256.0)
    """
    ordered = sorted(points, key=lambda point: point.compute)
    compute = [point.compute for point in ordered]
    if len(set(compute)) < max(len(compute), 2):
        raise ValueError(f"equal_loss_compute needs one point each of two sizes or more, got compute {compute}.")
    logs = [math.log(point.loss) for point in ordered]
    target = math.log(loss)
    if target < logs[0]:
        found = crossing_compute(compute, logs, target=target)
        if found is not None:
            return found
        first, second = len(logs) - 2, len(logs) - 1
    else:
        first, second = 0, 1
    if logs[second] >= logs[first]:
        raise ValueError(
            f"the loss does not fall from compute {compute[first]:g} to {compute[second]:g} "
            f"({ordered[first].loss:g} to {ordered[second].loss:g}), so the ladder cannot be extended to a loss of "
            f"{loss:g}. Train another size, or sweep the learning rate there."
        )
    slope = (math.log(compute[second]) - math.log(compute[first])) / (logs[second] - logs[first])
    return math.exp(math.log(compute[first]) + slope * (target - logs[first]))


def token_multiplier(point: Point, law: Law) -> float:
    """Return by how many times the tokens a baseline's law needs for a run's loss, its "speed-up".

    With tokens for compute in points and law, e.g. `fit_laws({"adamw": points}).laws["adamw"]`, L = a D^-b + E.

    References: Wen et al. 2025, arXiv:2509.02046.
    """
    return float(law.compute_at(point.loss)) / point.compute


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overtraining:
    """How an advantage grows with the length of training, at one model size.

    Args:
        exponent: p in f_baseline = factor f^p, where both reach the same loss at tokens f and f_baseline; above 1 the
            advantage grows with the horizon.
        interval: Student t interval of the slope; None with two horizons.
        multipliers: f_baseline / f at each horizon.
    """

    exponent: float
    interval: tuple[float, float] | None
    multipliers: tuple[float, ...]


def overtraining_exponent(
    points: Sequence[Point], baseline: Sequence[Point], *, confidence: float = 0.9
) -> Overtraining:
    """Return the equivalent-overtraining exponent of an optimizer over a baseline.

    A line through (ln f, ln f_baseline), where f_baseline inverts the baseline's law L = a f^-b + E at the optimizer's
    loss. The interval is that of the line alone; it takes the baseline's law as known.

    Args:
        points: Tokens and losses of the optimizer at one model size, of two horizons or more.
        baseline: Those of the baseline, of three or more.
        confidence: Coverage of the interval.

    Raises:
        ValueError: There are too few horizons, or a loss below the floor of the baseline's law.

    References: Everett and Qiu 2026, arXiv:2609.04577.
    """
    law = fit_laws({"baseline": baseline}, form="saturated", num_samples=0).laws["baseline"]
    multipliers = [token_multiplier(point, law) for point in points]
    if len({point.compute for point in points}) < 2 or not all(map(math.isfinite, multipliers)):
        raise ValueError(
            f"an exponent needs two horizons or more with losses above the baseline's floor of {law.floor:.4f}, got "
            f"{[(point.compute, point.loss) for point in points]}."
        )
    x = [math.log(point.compute) for point in points]
    y = [math.log(m * point.compute) for m, point in zip(multipliers, points, strict=True)]
    slope, intercept = statistics.linear_regression(x, y)
    interval = None
    if len(x) > 2:
        squares = sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True))
        spread = math.sqrt(squares / (len(x) - 2) / (statistics.pvariance(x) * len(x)))
        half_width = t_quantile((1 + confidence) / 2, degrees_of_freedom=len(x) - 2) * spread
        interval = slope - half_width, slope + half_width
    return Overtraining(exponent=slope, interval=interval, multipliers=tuple(multipliers))


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
    per_unit = 1.0 if convention == STEPS else compute_per_token(record, convention)
    units = record.validation["step" if convention == STEPS else "tokens"]
    points = [
        (count * per_unit, loss)
        for count, loss in zip(units, record.validation["loss"], strict=True)
        if count and loss is not None and math.isfinite(loss)
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
