"""Which power laws do risk curves follow: in time at one size, and in compute when the size is chosen best?

Compute is f = d t B, the number of multiplications of the features. At each f the best size d*(f) balances a smaller
model trained for longer; then P*(f) ~ f^-eta and d*(f) ~ f^xi.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from logclock.schedules import check
from logclock.theory.moments import RiskCurve

__all__ = ["Envelope", "ScalingExponents", "compute_envelope", "fit_exponents", "time_slope"]

Array = np.ndarray

POINTS_PER_DECADE = 20


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Envelope:
    """The best risk over sizes, where its size lies within the sizes tried.

    Args:
        compute: f, ascending, 20 points per decade.
        risk: P*(f), the least of the curves.
        size: d*(f), the bottom of the parabola in ln d through the ln P of the best size and of its two neighbours.
    """

    compute: Array
    risk: Array
    size: Array

    def at(self, compute: float) -> tuple[float, float]:
        """Return P* and d* at a compute between the envelope's ends."""
        low, high = (self.compute[0], self.compute[-1]) if len(self.compute) else (math.nan, math.nan)
        check(low <= compute <= high, "compute", f"lie in [{low:g}, {high:g}], where the envelope is known", compute)
        x = math.log(compute)
        risk, size = (np.exp(np.interp(x, np.log(self.compute), np.log(y))) for y in (self.risk, self.size))
        return float(risk), float(size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScalingExponents:
    """Exponents measured on a window of compute.

    Args:
        eta: P* ~ f^-eta.
        xi: d* ~ f^xi.
        window: The least and the greatest compute of the points that the fit used.
        num_points: How many those are.
    """

    eta: float
    xi: float
    window: tuple[float, float]
    num_points: int


def compute_envelope(curves: Mapping[int, RiskCurve], *, batch_size: int = 1) -> Envelope:
    """Return the compute-optimal envelope of the risk curves of several sizes d.

    Points whose best size is the smallest or the largest of those whose curve reaches that far are left out: the true
    best size may lie outside.

    Args:
        curves: By size d; at least three, in a constant ratio or nearly so.
        batch_size: B of the curves.
    """
    check(len(curves) >= 3, "curves", "hold at least three sizes", len(curves))
    sizes = np.array(sorted(curves))
    starts = [size * batch_size * curves[size].time[curves[size].time > 0][0] for size in sizes]
    ends = [size * batch_size * curves[size].time[-1] for size in sizes]
    first = math.ceil(math.log10(min(starts)) * POINTS_PER_DECADE)
    last = math.floor(math.log10(max(ends)) * POINTS_PER_DECADE)
    compute = 10.0 ** (np.arange(first, last + 1) / POINTS_PER_DECADE)
    table = np.full((len(sizes), len(compute)), math.nan)
    for row, size in enumerate(sizes):
        inside = (compute >= starts[row] * (1 - 1e-9)) & (compute <= ends[row] * (1 + 1e-9))
        table[row, inside] = np.log(curves[size].at(compute[inside] / (size * batch_size)))
    points = {i: point for i, column in enumerate(table.T) if (point := _best(np.log(sizes), column)) is not None}
    log_size, log_risk = np.array(list(points.values())).reshape(-1, 2).T
    return Envelope(compute=compute[list(points)], risk=np.exp(log_risk), size=np.exp(log_size))


def fit_exponents(envelope: Envelope, *, window: tuple[float, float]) -> ScalingExponents:
    """Return eta and xi by least squares in the logarithms.

    Args:
        envelope: Of one algorithm.
        window: Least and greatest compute.

    Raises:
        ValueError: Fewer than three points of the envelope lie in the window.
    """
    low, high = window
    inside = (envelope.compute >= low * (1 - 1e-9)) & (envelope.compute <= high * (1 + 1e-9))
    advice = "Add sizes, or lengthen the curves."
    check(int(inside.sum()) >= 3, "window", "hold three points of the envelope", window, advice=advice)
    compute = envelope.compute[inside]
    x = np.log(compute)
    return ScalingExponents(
        eta=-float(np.polyfit(x, np.log(envelope.risk[inside]), 1)[0]),
        xi=float(np.polyfit(x, np.log(envelope.size[inside]), 1)[0]),
        window=(float(compute[0]), float(compute[-1])),
        num_points=len(compute),
    )


def time_slope(curve: RiskCurve, *, window: tuple[float, float]) -> float:
    """Return the exponent p of P ~ t^-p between two times, by least squares in the logarithms.

    Args:
        curve: A risk curve, or a part of one.
        window: Least and greatest time.
    """
    low, high = window
    inside = (curve.time >= low) & (curve.time <= high)
    check(int(inside.sum()) >= 3, "window", "hold three points of the curve", window)
    return -float(np.polyfit(np.log(curve.time[inside]), np.log(curve.risk[inside]), 1)[0])


def _best(log_sizes: Array, log_risks: Array) -> tuple[float, float] | None:
    """Return the refined best of the known sizes and the least risk, or None if that size is the first or the last."""
    known = np.flatnonzero(np.isfinite(log_risks))
    best = int(known[np.argmin(log_risks[known])]) if len(known) else 0
    if len(known) < 3 or best in (known[0], known[-1]):
        return None
    x, y = log_sizes[best - 1 : best + 2], log_risks[best - 1 : best + 2]
    curvature, slope, _ = np.polyfit(x - x[1], y, 2)
    shift = -slope / (2 * curvature) if curvature > 0 else 0.0
    return float(x[1] + shift), float(y[1])
