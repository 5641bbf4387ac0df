"""How wrong may a mean difference be, when seeds are few, the learning rate was chosen and the test set is finite?"""

import dataclasses
import functools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["Uncertainty", "expanded_quantiles", "f_quantile", "f_tail", "holm", "moderated", "t_quantile", "weighted"]

Key = TypeVar("Key", bound=Hashable)

ODD = 0.1
"""Chance of calling a spread odd that is not; an odd one is taken as it is, with its own few degrees of freedom."""

WILD = 0.05
"""The same for any spread of an experiment, of those that are left out of the mean of all."""

DIGITS = 6
"""Significant digits that bounds of a bootstrap keep: fewer than processors agree in, more than anyone reads."""

SMALLEST_P, LARGEST_P = 1e-12, 1 - 1e-6
"""Nearer to 1 scipy's quantiles of Student's t with 4 and 6 degrees of freedom are 0, which has no logarithm."""

TOLERANCE = 1e-6
"""Of ln half-width, in the search for a p value."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """The error of an estimate in nats, by its sources.

    Args:
        seeds: Variance of the estimate that the spread over seeds shows.
        degrees_of_freedom: Of that variance.
        search: Variance from learning rates that were chosen by few noisy runs and that all seeds share.
        sampling: Variance from the finite validation set, which all runs share.
    """

    seeds: float
    degrees_of_freedom: float
    search: float = 0.0
    sampling: float = 0.0

    def half_width(self, confidence: float) -> float:
        """Return h with h^2 = t^2 seeds + z^2 (search + sampling), t and z two-sided quantiles of Student and Gauss.

        Each source has the half-width of its own distribution. One quantile for their sum, with degrees of freedom by
        Welch and Satterthwaite, is too narrow for two or three seeds.
        """
        return self._half_width(1 - confidence)

    def _half_width(self, p: float) -> float:
        """Return the half-width of confidence 1 - p, from the small tails, which keep their digits."""
        student, normal = _special().stdtrit(self.degrees_of_freedom, p / 2), _special().ndtri(p / 2)
        return math.sqrt(student**2 * self.seeds + normal**2 * (self.search + self.sampling))

    def interval(self, estimate: float, confidence: float) -> tuple[float, float]:
        """Return the interval around an estimate."""
        half_width = self.half_width(confidence)
        return estimate - half_width, estimate + half_width

    def p_value(self, estimate: float) -> float:
        """Return the smallest p at which the interval of confidence 1 - p excludes zero."""
        if estimate == 0:
            return 1.0
        target = math.log(abs(estimate))
        low, high = math.log(SMALLEST_P), math.log(LARGEST_P)
        below, above = (self._log_half_width(ln_p) - target for ln_p in (low, high))
        if below <= 0 or above >= 0:
            return SMALLEST_P if below <= 0 else 1.0
        # Regula falsi, the Illinois way: half-widths fall along ln p, nearly straight far out.
        for _ in range(100):
            ln_p = high - above * (high - low) / (above - below)
            value = self._log_half_width(ln_p) - target
            if abs(value) < TOLERANCE:
                break
            if value > 0:
                low, below, above = ln_p, value, above / 2
            else:
                high, above, below = ln_p, value, below / 2
        return math.exp(ln_p)

    def _log_half_width(self, ln_p: float) -> float:
        width = self._half_width(math.exp(ln_p))
        return math.log(width) if width else -math.inf


def weighted(parts: Sequence[Uncertainty], weights: Sequence[float]) -> Uncertainty:
    """Return the uncertainty of a weighted sum of estimates of different sizes.

    Seeds and searches of different sizes are independent; degrees of freedom by Welch and Satterthwaite, so that no
    size need be as noisy as another. The validation set is the same at all sizes, so its errors add up with their
    signs: the mean keeps them, a slope does not.
    """
    seeds = [weight**2 * part.seeds for weight, part in zip(weights, parts, strict=True)]
    total = sum(seeds)
    inverse = sum(share**2 / part.degrees_of_freedom for share, part in zip(seeds, parts, strict=True))
    return Uncertainty(
        seeds=total,
        degrees_of_freedom=total**2 / inverse if inverse else sum(part.degrees_of_freedom for part in parts),
        search=sum(weight**2 * part.search for weight, part in zip(weights, parts, strict=True)),
        sampling=sum(w * math.sqrt(part.sampling) for w, part in zip(weights, parts, strict=True)) ** 2,
    )


def moderated(spreads: Mapping[Key, tuple[float, int]], *, share_baseline: bool) -> dict[Key, tuple[float, float]]:
    """Return variances and degrees of freedom in which no lucky spread of two or three pairs narrows an interval.

    The variance of each is the larger of its own and the mean of all. It has the degrees of freedom of all, unless an
    F test finds it larger than the mean (p < 0.1); then its own. Among the arms of one experiment, whose noise is alike
    but for an arm that hardly trains, one far above the mean of the others (p < 0.05, Bonferroni over the arms) is left
    out of the mean; sizes differ in noise anyhow, and none is left out.

    Args:
        spreads: Sample variance of paired differences and its degrees of freedom, one or more.
        share_baseline: Whether all are differences to the same runs. Their variances then correlate by a quarter, and
            m of them have the degrees of freedom of m / (1 + (m - 1) / 4).
    """
    known = {key: spread for key, spread in spreads.items() if spread[1] > 0}
    while share_baseline and len(known) > 1:
        largest = max(known, key=lambda key: known[key][0])
        others = {key: spread for key, spread in known.items() if key != largest}
        mean, freedom = _pooled(list(others.values()), share_baseline)
        if known[largest][0] <= mean * f_quantile(1 - WILD / len(known), known[largest][1], freedom):
            break
        known = others
    if not known:
        return {}
    mean, shared = _pooled(list(known.values()), share_baseline)
    found = {}
    for key, (variance, own) in spreads.items():
        is_odd = own > 0 and variance > mean * f_quantile(1 - ODD, own, shared)
        found[key] = max(variance, mean) if own else mean, float(own) if is_odd else shared
    return found


def _pooled(spreads: Sequence[tuple[float, int]], share_baseline: bool) -> tuple[float, float]:
    """Return the mean variance and its degrees of freedom."""
    freedom = sum(own for _, own in spreads)
    mean = sum(variance * own for variance, own in spreads) / freedom
    return mean, freedom / (1 + (len(spreads) - 1) / 4) if share_baseline else float(freedom)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Return p values adjusted so that one at most 0.05 is wrong anywhere in the family in 5 % of families at most.

    The smallest is multiplied by their number m, the next by m - 1, and so on; none may be below the one before it.

    Examples:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'c': 0.06, 'b': 0.06}

    References: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    adjusted: dict[Key, float] = {}
    largest = 0.0
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[key]))
        adjusted[key] = largest
    return adjusted


def t_quantile(probability: float, *, degrees_of_freedom: float) -> float:
    """Return the quantile of the Student t distribution."""
    return float(_special().stdtrit(degrees_of_freedom, probability))


def f_quantile(probability: float, numerator_freedom: float, denominator_freedom: float) -> float:
    """Return the quantile of the F distribution; freedoms may be fractions."""
    return float(_special().fdtri(numerator_freedom, denominator_freedom, probability))


def f_tail(ratio: float, numerator_freedom: float, denominator_freedom: float) -> float:
    """Return the chance that the F distribution exceeds a ratio of mean squares; freedoms may be fractions."""
    return float(_special().fdtrc(numerator_freedom, denominator_freedom, ratio))


def expanded_quantiles(
    values: Sequence[float], *, confidence: float, degrees_of_freedom: int
) -> tuple[float, float] | None:
    """Return the percentile interval of a bootstrap, widened for the few runs behind it; None without values.

    The plain percentiles are those of a normal distribution whose spread is known; here the tails are taken where the
    normal distribution has the Student t quantile of the degrees of freedom, which for many runs is the same. Far out
    in the tails the interval is limited by the number of samples. Bounds have six significant digits: those beyond
    depend on the processor.

    References: Hesterberg 2015, arXiv:1411.5279, expanded percentile interval.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}. 0.9 is usual.")
    if not values or degrees_of_freedom < 1:
        return None
    tail = float(_special().ndtr(t_quantile((1 - confidence) / 2, degrees_of_freedom=degrees_of_freedom)))
    ordered = sorted(values)
    position = tail * (len(ordered) - 1)
    low, high = (_rounded(_between(part, position)) for part in (ordered, ordered[::-1]))
    return low, high


def _between(ordered: Sequence[float], position: float) -> float:
    """Return the value at a fractional position; next to an infinity, the one further out."""
    below, above = ordered[math.floor(position)], ordered[math.ceil(position)]
    return below + (position % 1) * (above - below) if math.isfinite(above - below) else below


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


@functools.cache
def _special() -> Any:
    try:
        import scipy.special
    except ImportError as error:
        raise ImportError("intervals need scipy: pip install 'logclock[bench]'") from error
    return scipy.special
