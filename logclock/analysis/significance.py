"""Is the difference between two optimizers larger than what the choice of seed does?"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

__all__ = [
    "MINIMUM_EFFECT",
    "Difference",
    "Verdict",
    "expanded_quantiles",
    "f_tail",
    "paired_difference",
    "t_interval",
    "t_quantile",
]

# In nats of final validation loss. Track 3 of modded-nanogpt, at a run-to-run standard deviation of 0.0013, asks for
# 0.004 as well (specs/peers.md 2.17), though of the difference times sqrt(n); here it bounds the difference itself.
MINIMUM_EFFECT = 0.004

Verdict = Literal["better", "worse", "no difference", "one seed: spread unknown", "no shared seed"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Final losses of an optimizer minus those of the baseline, seed by seed; negative is better.

    Args:
        mean: Mean of the paired differences; None if no seed is shared.
        sd: Their sample standard deviation; None below two seeds.
        interval: Two-sided Student t interval of the mean at `confidence`; None below two seeds.
        seeds: The seeds that both have, ascending.
        unpaired_seeds: The seeds that only one of them has; they enter no number here.
        minimum_effect: The smallest mean difference, in nats, that is called a difference.
        confidence: Coverage of the interval.
        verdict: `better` or `worse` if the interval excludes 0 and the mean reaches the minimum effect.
    """

    mean: float | None
    sd: float | None
    interval: tuple[float, float] | None
    seeds: tuple[int, ...]
    unpaired_seeds: tuple[int, ...]
    minimum_effect: float
    confidence: float
    verdict: Verdict

    @property
    def num_seeds(self) -> int:
        """How many seeds the numbers rest on."""
        return len(self.seeds)

    @property
    def is_equivalent(self) -> bool:
        """Whether the whole interval lies within the minimum effect: small for certain, not merely unproven."""
        return self.interval is not None and max(map(abs, self.interval)) < self.minimum_effect


def paired_difference(
    losses: Mapping[int, float],
    baseline: Mapping[int, float],
    *,
    minimum_effect: float = MINIMUM_EFFECT,
    confidence: float = 0.95,
) -> Difference:
    """Compare two optimizers over the seeds that both have.

    Pairing removes what a seed does to both (initialisation, data order). `no difference` means that none was shown:
    the interval includes 0, or the mean is below the minimum effect; see `Difference.is_equivalent`.

    Args:
        losses: Final loss by seed.
        baseline: The same for the baseline.
        minimum_effect: Smallest difference that matters, in the unit of the losses.
        confidence: Coverage of the interval, between 0 and 1.

    Examples:
        >>> paired_difference({0: 4.04, 1: 4.05}, {0: 4.10, 1: 4.11}).verdict
        'better'
        >>> paired_difference({0: 4.04}, {0: 4.10}).verdict
        'one seed: spread unknown'
    """
    if not minimum_effect >= 0:
        raise ValueError(f"minimum_effect must be >= 0, got {minimum_effect!r}. It is a loss difference in nats.")
    seeds = tuple(sorted(losses.keys() & baseline.keys()))
    pairs = [losses[seed] - baseline[seed] for seed in seeds]
    mean = statistics.fmean(pairs) if pairs else None
    interval = t_interval(pairs, confidence=confidence)
    return Difference(
        mean=mean,
        sd=statistics.stdev(pairs) if len(pairs) >= 2 else None,
        interval=interval,
        seeds=seeds,
        unpaired_seeds=tuple(sorted(losses.keys() ^ baseline.keys())),
        minimum_effect=minimum_effect,
        confidence=confidence,
        verdict=_verdict(mean, interval, minimum_effect),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PooledDifference:
    """Differences to the baseline at several sizes, and their mean over the sizes.

    Args:
        mean: Mean over the sizes of the mean paired difference; None if no size shares a seed.
        sd: Standard deviation of the paired differences within a size, pooled over the sizes; None without a size of
            two shared seeds.
        interval: Student t interval of the mean over these sizes; None without `sd`.
        confidence: Coverage of the interval.
        verdict: As in `Difference`, of the mean.
        by_size: The difference at each size. Their intervals use the pooled `sd` and hold all at once with
            `confidence` (Bonferroni), so that looking at many sizes does not find differences by chance.
    """

    mean: float | None
    sd: float | None
    interval: tuple[float, float] | None
    confidence: float
    verdict: Verdict
    by_size: Mapping[str, Difference]

    @property
    def num_pairs(self) -> int:
        """How many pairs of runs the numbers rest on."""
        return sum(difference.num_seeds for difference in self.by_size.values())


def pooled_difference(
    losses: Mapping[str, Mapping[int, float]],
    baseline: Mapping[str, Mapping[int, float]],
    *,
    minimum_effect: float = MINIMUM_EFFECT,
    confidence: float = 0.95,
) -> PooledDifference:
    """Compare two optimizers at several sizes, over the seeds that both have at a size.

    Two seeds say little about the spread at one size, so the spread is taken to be the same at all of them.

    Args:
        losses: Final loss by size and seed.
        baseline: The same for the baseline.
        minimum_effect: Smallest difference that matters, in the unit of the losses.
        confidence: Coverage of the intervals, between 0 and 1.

    Examples:
        >>> wins = pooled_difference({"4": {0: 4.0, 1: 4.1}, "6": {0: 3.5, 1: 3.6}},
        ...                          {"4": {0: 4.1, 1: 4.201}, "6": {0: 3.6, 1: 3.699}})
        >>> wins.verdict, round(wins.mean, 6)
        ('better', -0.1)
    """
    shared = {
        size: paired_difference(losses[size], baseline[size], minimum_effect=minimum_effect, confidence=confidence)
        for size in losses.keys() & baseline.keys()
    }
    paired = {size: difference for size, difference in shared.items() if difference.mean is not None}
    freedom = sum(difference.num_seeds - 1 for difference in paired.values())
    squares = sum((d.num_seeds - 1) * d.sd**2 for d in paired.values() if d.sd is not None)
    sd = math.sqrt(squares / freedom) if freedom else None
    means = [difference.mean for difference in paired.values() if difference.mean is not None]
    mean = statistics.fmean(means) if means else None
    error = math.sqrt(sum(1 / difference.num_seeds for difference in paired.values())) / max(len(paired), 1)
    interval = _interval(mean, sd, error, freedom, confidence)
    alone = 1 - (1 - confidence) / max(len(paired), 1)
    by_size = {}
    for size in sorted(paired, key=list(losses).index):
        one = paired[size]
        inside = _interval(one.mean, sd, 1 / math.sqrt(one.num_seeds), freedom, alone)
        by_size[size] = dataclasses.replace(
            one, interval=inside, confidence=alone, verdict=_verdict(one.mean, inside, minimum_effect)
        )
    return PooledDifference(
        mean=mean,
        sd=sd,
        interval=interval,
        confidence=confidence,
        verdict=_verdict(mean, interval, minimum_effect),
        by_size=by_size,
    )


def t_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the Student t interval of the mean, or None below two values.

    Examples:
        >>> low, high = t_interval([1.0, 2.0, 3.0])
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}. 0.95 is usual.")
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    quantile = t_quantile((1 + confidence) / 2, degrees_of_freedom=len(values) - 1)
    half_width = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half_width, mean + half_width


def t_quantile(probability: float, *, degrees_of_freedom: int) -> float:
    """Return the quantile of the Student t distribution."""
    return float(_special().stdtrit(degrees_of_freedom, probability))


def f_tail(ratio: float, numerator_freedom: float, denominator_freedom: float) -> float:
    """Return the chance that the F distribution exceeds a ratio of mean squares; freedoms may be fractions."""
    return float(_special().fdtrc(numerator_freedom, denominator_freedom, ratio))


def expanded_quantiles(
    values: Sequence[float], *, confidence: float, degrees_of_freedom: int
) -> tuple[float, float] | None:
    """Return the percentile interval of a bootstrap, widened for the few runs behind it; None without values.

    The plain percentiles are those of a normal distribution whose spread is known; here the tails are taken where the
    normal distribution has the Student t quantile of the degrees of freedom, which for many runs is the same. Far out
    in the tails the interval is limited by the number of samples.

    References: Hesterberg 2015, arXiv:1411.5279, expanded percentile interval.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}. 0.9 is usual.")
    if not values or degrees_of_freedom < 1:
        return None
    tail = float(_special().ndtr(t_quantile((1 - confidence) / 2, degrees_of_freedom=degrees_of_freedom)))
    ordered = sorted(values)
    position = tail * (len(ordered) - 1)
    low, high = (_between(part, position) for part in (ordered, ordered[::-1]))
    return low, high


def _interval(
    mean: float | None, sd: float | None, error: float, degrees_of_freedom: int, confidence: float
) -> tuple[float, float] | None:
    """Return mean -+ t sd error, or None if mean or spread is unknown."""
    if mean is None or sd is None:
        return None
    half_width = t_quantile((1 + confidence) / 2, degrees_of_freedom=degrees_of_freedom) * sd * error
    return mean - half_width, mean + half_width


def _between(ordered: Sequence[float], position: float) -> float:
    """Return the value at a fractional position; next to an infinity, the one further out."""
    below, above = ordered[math.floor(position)], ordered[math.ceil(position)]
    return below + (position % 1) * (above - below) if math.isfinite(above - below) else below


def _special() -> Any:
    try:
        import scipy.special
    except ImportError as error:
        raise ImportError("intervals need scipy: pip install 'logclock[bench]'") from error
    return scipy.special


def _verdict(mean: float | None, interval: tuple[float, float] | None, minimum_effect: float) -> Verdict:
    if mean is None:
        return "no shared seed"
    if interval is None:
        return "one seed: spread unknown"
    low, high = interval
    if low <= 0 <= high or abs(mean) < minimum_effect:
        return "no difference"
    return "better" if mean < 0 else "worse"
