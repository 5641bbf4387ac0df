"""How much less compute does an optimizer need at each size, how sure is that, and does it grow?"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from logclock.analysis.efficiency import interpolated_multiplier
from logclock.analysis.ladder_result import LadderMultiplier, LadderTrends
from logclock.analysis.scaling import Point
from logclock.analysis.significance import PooledDifference
from logclock.analysis.trends import Trend, jointly_tested, trend
from logclock.analysis.uncertainty import Uncertainty

__all__ = ["size_multipliers", "size_trends"]

Losses = Mapping[str, Mapping[int, float]]

STEP = 1e-5
"""In nats: over it the slope of a line is taken where a difference has no error at all."""


def size_multipliers(
    losses: Losses,
    baseline: Losses,
    compute: Mapping[str, float],
    difference: PooledDifference,
    *,
    confidence: float = 0.9,
) -> dict[str, LadderMultiplier]:
    """Return an optimizer's multiplier at every size from the ends of runs.

    The interval is that of the difference in nats, carried over by the baseline's line: the multipliers of the loss
    plus and minus the half-width. What the baseline's other sizes are uncertain by is left out; it moves the line's
    slope, by which a difference of a few hundredths of a nat is divided.

    Args:
        losses: Final losses of the optimizer by size and seed, none of them empty.
        baseline: The same for the baseline.
        compute: Of each size.
        difference: The optimizer's difference to the baseline.
        confidence: Coverage of the intervals.

    Raises:
        ValueError: The baseline has one size only, or does not fall where it must be extended.
    """
    rungs = [_point(size, by_seed, compute) for size, by_seed in baseline.items()]
    ends = [rung.loss for rung in rungs]
    shared = set.intersection(*(set(by_seed) for by_seed in baseline.values()))
    found = {}
    for size, by_seed in losses.items():
        point = _point(size, by_seed, compute)
        value = interpolated_multiplier(point, rungs)
        one, own = difference.by_size.get(size), difference.by_size_error.get(size)
        interval = uncertainty = None
        if one is not None and one.uncertainty is not None and own is not None:
            half_width = one.uncertainty.half_width(confidence)
            high, low = (interpolated_multiplier(_shifted(point, sign * half_width), rungs) for sign in (-1, 1))
            interval = low, high
            reach = max(own.half_width(confidence), STEP)
            above, below = (interpolated_multiplier(_shifted(point, sign * reach), rungs) for sign in (-1, 1))
            uncertainty = _scaled(own, math.log(above / below) / (2 * reach))
        found[size] = LadderMultiplier(
            value=value,
            interval=interval,
            by_seed={
                seed: interpolated_multiplier(
                    Point(compute=compute[size], loss=by_seed[seed]),
                    [Point(compute=compute[name], loss=rung[seed]) for name, rung in baseline.items()],
                )
                for seed in sorted(shared & by_seed.keys())
            },
            is_extended=not min(ends) <= point.loss <= max(ends),
            uncertainty=uncertainty,
        )
    return found


def size_trends(
    differences: Mapping[str, PooledDifference],
    multipliers: Mapping[str, Mapping[str, LadderMultiplier]],
    params: Mapping[str, float],
    *,
    confidence: float = 0.95,
) -> dict[str, LadderTrends]:
    """Test for every optimizer whether its gain grows with ln P, in nats and as a multiplier.

    The p values of all optimizers are adjusted together (Holm), those of either measure by themselves. Multipliers
    that rest on the baseline's line beyond its last run are left out.

    Args:
        differences: By optimizer.
        multipliers: By optimizer and size.
        params: P of each size.
        confidence: Coverage of the intervals of slopes.
    """
    nats: dict[str, Trend] = {}
    logs: dict[str, Trend] = {}
    for label, difference in differences.items():
        gains = [
            (math.log(params[size]), -one.mean, difference.by_size_error[size])
            for size, one in difference.by_size.items()
            if one.mean is not None and size in difference.by_size_error
        ]
        inside = [
            (math.log(params[size]), math.log(one.value), one.uncertainty)
            for size, one in multipliers.get(label, {}).items()
            if not one.is_extended and one.uncertainty is not None
        ]
        for found, points in ((nats, gains), (logs, inside)):
            slope = _trend(points, confidence)
            if slope is not None:
                found[label] = slope
    nats, logs = jointly_tested(nats), jointly_tested(logs)
    return {label: LadderTrends(nats=nats.get(label), multiplier=logs.get(label)) for label in differences}


def _trend(points: Sequence[tuple[float, float, Uncertainty]], confidence: float) -> Trend | None:
    columns = list(zip(*points, strict=True)) or [(), (), ()]
    return trend(*columns, confidence=confidence)


def _point(size: str, by_seed: Mapping[int, float], compute: Mapping[str, float]) -> Point:
    return Point(compute=compute[size], loss=statistics.fmean(by_seed.values()))


def _shifted(point: Point, nats: float) -> Point:
    return dataclasses.replace(point, loss=point.loss + nats)


def _scaled(uncertainty: Uncertainty, factor: float) -> Uncertainty:
    """Return the uncertainty of `factor` times the estimate."""
    square = factor**2
    return Uncertainty(
        seeds=square * uncertainty.seeds,
        degrees_of_freedom=uncertainty.degrees_of_freedom,
        search=square * uncertainty.search,
        sampling=square * uncertainty.sampling,
    )
