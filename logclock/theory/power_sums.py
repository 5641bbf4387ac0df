"""What are sums of smooth functions over j = 1..n, when n is 1e8 and the answer must not cost 1e8 operations?"""

import numpy as np

from logclock.schedules import check

__all__ = ["power_bins", "power_sum", "power_sums_over", "smooth_nodes"]

Array = np.ndarray

# Beyond this index sums become integrals. The midpoint rule with one Euler-Maclaurin correction is then wrong by
# about 7 p^3 / (5760 j^4) of a term j^-p: below 1e-9 of it for p <= 4.
NUM_SINGLE = 60
BINS_PER_DECADE = 30
NODES_PER_DECADE = 40


def power_bins(num_terms: int) -> tuple[Array, Array]:
    """Return the first and last index of bins that cover 1..num_terms: 60 of one index, then 30 per decade.

    Examples:
        >>> first, last = power_bins(10_000)
        >>> len(first), int((last - first + 1).sum())
        (127, 10000)
    """
    check(num_terms >= 1, "num_terms", "be >= 1", num_terms)
    if num_terms <= NUM_SINGLE:
        single = np.arange(1, num_terms + 1)
        return single, single
    num_bins = max(1, round(BINS_PER_DECADE * np.log10(num_terms / NUM_SINGLE)))
    edges = np.geomspace(NUM_SINGLE, num_terms, num_bins + 1).round().astype(np.int64)
    last = np.concatenate([np.arange(1, NUM_SINGLE + 1), np.unique(edges)[1:]])
    return np.concatenate([[1], last[:-1] + 1]), last


def power_sums_over(first: Array, last: Array, exponent: float) -> Array:
    """Return sum_{first <= j <= last} j^-exponent for each pair of bounds, exact for single indices.

    Longer ranges, which must start beyond 60, are integrals over [first - 1/2, last + 1/2] with one correction.
    """
    low, high = first - 0.5, last + 0.5
    if abs(exponent - 1) < 1e-12:
        integral = np.log(high / low)
    else:
        integral = (high ** (1 - exponent) - low ** (1 - exponent)) / (1 - exponent)
    correction = exponent * (high ** (-exponent - 1) - low ** (-exponent - 1)) / 24
    return np.where(first == last, first.astype(float) ** -exponent, integral + correction)


def power_sum(num_terms: int, exponent: float) -> float:
    """Return sum_{j <= num_terms} j^-exponent.

    Examples:
        >>> round(power_sum(4, 1.0), 6), round(power_sum(10**12, 2.0), 6)
        (2.083333, 1.644934)
    """
    return float(power_sums_over(*power_bins(num_terms), exponent).sum())


def smooth_nodes(num_terms: int) -> tuple[Array, Array]:
    """Return points x and weights w such that sum_{j <= num_terms} f(j) = sum w f(x) for f smooth in log j.

    Single indices up to 60, then Gauss-Legendre nodes of the integral in log j; memory grows as log(num_terms).
    """
    if num_terms <= 4 * NUM_SINGLE:
        single = np.arange(1, num_terms + 1, dtype=float)
        return single, np.ones_like(single)
    low, high = np.log(NUM_SINGLE + 0.5), np.log(num_terms + 0.5)
    panels = np.linspace(low, high, max(2, round((high - low) / np.log(10) * NODES_PER_DECADE / 8)) + 1)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    half = np.diff(panels)[:, None] / 2
    x = np.exp((panels[:-1, None] + half + half * nodes).ravel())
    single = np.arange(1, NUM_SINGLE + 1, dtype=float)
    return np.concatenate([single, x]), np.concatenate([np.ones(NUM_SINGLE), (half * weights).ravel() * x])
