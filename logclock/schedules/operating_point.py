"""Where does a loss-driven warm-up end if nobody says so? The study's rule, from the optimizer's geometry."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from logclock.schedules.base import check

__all__ = ["dual_norm_ratio", "optimal_ratio"]


def dual_norm_ratio(shapes: Mapping[str, Iterable[Sequence[int]]]) -> float:
    """Return the sum over tensors of sup |v|_dual / |v|, each in the norm in which its optimizer steps.

    Args:
        shapes: The shapes of the trained tensors by norm: `spectral` (Muon, min(rows, columns) each), `sign` (Lion,
            Adam-like: the number of entries each) or `frobenius` (normalised SGD, 1 each). A vector is a matrix of one
            row. Every tensor belongs under the norm of its own optimizer: an embedding that AdamW trains beside Muon
            under `sign`.

    Examples:
        >>> dual_norm_ratio({"spectral": [(768, 2048)], "sign": [(768,)]})
        1536.0
    """
    for norm in shapes:
        check(norm in _DUAL_RATIOS, "a norm", f"be one of {', '.join(_DUAL_RATIOS)}", norm)
    return float(sum(_DUAL_RATIOS[norm](tuple(shape)) for norm, group in shapes.items() for shape in group))


_DUAL_RATIOS: dict[str, Callable[[tuple[int, ...]], int]] = {
    "spectral": lambda shape: min(shape[0], math.prod(shape[1:])) if len(shape) > 1 else 1,
    "sign": math.prod,
    "frobenius": lambda shape: 1,
}


def optimal_ratio(*, div: float, sharpness: float) -> float:
    """Return the r = Delta* / Delta_0 whose warm-up is nearest to a cosine ramp with a straight line behind it.

    With u = Delta / Delta_0 it minimises, over r in (0, 1), the integral from 0 to 1 of
        exp(-s (u - r)^2 / 2) (g(u) - target(u))^2,
    where target is (1 - cos(pi u / r)) / 2 up to r and falls on a straight line from 1 at r to 1/div at 1.

    The answer is a brittle function of s: at div = 100 it jumps from 0.06 to 0.32 between s = 1000 and 2800.

    Args:
        div: Peak over initial learning rate.
        sharpness: s = kappa sigma_F Delta_0^2, kappa the dual-norm ratio.
    """
    check(div > 1, "div", "be > 1", div)
    check(0 < sharpness < math.inf, "sharpness", "be > 0 and finite", sharpness)
    mismatch = functools.partial(_mismatch, div=div, sharpness=sharpness)
    best = min((i / GRID for i in range(1, GRID)), key=mismatch)
    return _golden_minimum(mismatch, best - 1 / GRID, best + 1 / GRID)


GRID = 500
"""Candidates of the first, global look: there may be two local minima, so descent alone can end in the wrong one."""

NODES = 64
"""Per half; the integrand's poles keep (1 - r) sqrt(r / div) away, and 64 nodes near an end resolve a thousandth."""

WINDOW = 9.0
"""Standard deviations of the Gaussian weight beyond which it is below 3e-18."""


def _mismatch(ratio: float, *, div: float, sharpness: float) -> float:
    """Integrate up to the kink of the target and from there on, as far as the weight reaches: it may be a spike."""
    reach = WINDOW / math.sqrt(sharpness)

    def weighted(u: float, target: float) -> float:
        factor = u / (u + (div - 1) * ((u - ratio) / (1 - ratio)) ** 2)
        return math.exp(-0.5 * sharpness * (u - ratio) ** 2) * (factor - target) ** 2

    def rising(u: float) -> float:
        return weighted(u, math.sin(0.5 * math.pi * u / ratio) ** 2)

    def falling(u: float) -> float:
        return weighted(u, 1 - (1 - 1 / div) * (u - ratio) / (1 - ratio))

    return _integral(rising, max(0.0, ratio - reach), ratio) + _integral(falling, ratio, min(1.0, ratio + reach))


def _integral(function: Callable[[float], float], start: float, end: float) -> float:
    middle, half = (start + end) / 2, (end - start) / 2
    return half * sum(weight * function(middle + half * node) for node, weight in _gauss_legendre(NODES))


@functools.cache
def _gauss_legendre(n: int) -> tuple[tuple[float, float], ...]:
    """Return nodes and weights on [-1, 1]: Newton's method on the Legendre polynomial P_n."""
    pairs = []
    for i in range(1, n + 1):
        x = math.cos(math.pi * (i - 0.25) / (n + 0.5))  # within the basin of the i-th root
        for _ in range(8):  # quadratic from an error of order 1/n^2: four suffice
            value, slope = _legendre(n, x)
            x -= value / slope
        slope = _legendre(n, x)[1]
        pairs.append((x, 2 / ((1 - x * x) * slope**2)))
    return tuple(pairs)


def _legendre(n: int, x: float) -> tuple[float, float]:
    """Return P_n(x) and its derivative by the three-term recurrence."""
    before, value = 1.0, x
    for k in range(2, n + 1):
        before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
    return value, n * (x * value - before) / (x * x - 1)


def _golden_minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Narrow a bracket around a minimum down to 1e-8, about what a quadratic minimum can be known to."""
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-8:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if function(left) < function(right):
            high = right
        else:
            low = left
    return (low + high) / 2
