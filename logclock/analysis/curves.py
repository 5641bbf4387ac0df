"""How do the curves of several runs become one that a figure can draw?"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from logclock.records import RunRecord

__all__ = ["Curve", "difference_curve", "seed_curve", "smoothed_curve"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """Mean and range over seeds, against the training step.

    Args:
        step: Ascending.
        mean: Mean over the seeds.
        low: Smallest over the seeds.
        high: Largest over the seeds.
        num_seeds: How many seeds it rests on.
    """

    step: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    num_seeds: int


def seed_curve(records: Sequence[RunRecord]) -> Curve:
    """Return the validation loss of several seeds, at the steps at which all of them have a finite one."""
    return _gather([_points(record) for record in records])


def difference_curve(records: Mapping[int, RunRecord], baseline: Mapping[int, RunRecord]) -> Curve:
    """Return the validation loss minus that of the baseline, paired by seed, at the steps that all share."""
    differences = []
    for seed in sorted(records.keys() & baseline.keys()):
        ours, theirs = _points(records[seed]), _points(baseline[seed])
        differences.append({step: ours[step] - theirs[step] for step in ours.keys() & theirs.keys()})
    return _gather(differences)


def smoothed_curve(record: RunRecord, *, num_bins: int = 100) -> Curve:
    """Return the training loss averaged over bins of equal width in ln(step); low and high equal the mean.

    A logged loss is a mean over the steps since the one logged before, so it counts with that number of steps.
    """
    points, previous = [], 0.0
    for step, loss in zip(record.train["step"], record.train["loss"], strict=True):
        if step is not None and loss is not None and step > 0:
            points.append((step, loss, step - previous))
        previous = step or previous
    if not points:
        return Curve(step=(), mean=(), low=(), high=(), num_seeds=1)
    width = math.log(points[-1][0] / points[0][0]) / num_bins or 1.0
    bins: dict[int, list[tuple[float, float, float]]] = {}
    for point in points:
        bins.setdefault(min(int(math.log(point[0] / points[0][0]) / width), num_bins - 1), []).append(point)
    centres = tuple(statistics.fmean(s for s, _, _ in group) for group in bins.values())
    mean = tuple(sum(loss * n for _, loss, n in group) / sum(n for _, _, n in group) for group in bins.values())
    return Curve(step=centres, mean=mean, low=mean, high=mean, num_seeds=1)


def _points(record: RunRecord) -> dict[float, float]:
    # A run that has not made a step yet may have no columns.
    series = zip(record.validation.get("step", []), record.validation.get("loss", []), strict=True)
    return {step: loss for step, loss in series if step is not None and loss is not None}


def _gather(curves: Sequence[Mapping[float, float]]) -> Curve:
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    columns = [[curve[step] for curve in curves] for step in steps]
    return Curve(
        step=tuple(steps),
        mean=tuple(map(statistics.fmean, columns)),
        low=tuple(map(min, columns)),
        high=tuple(map(max, columns)),
        num_seeds=len(curves),
    )
