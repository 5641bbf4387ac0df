"""Is the difference between two optimizers larger than what seeds, a chosen learning rate and a finite test set do?"""

import dataclasses
import functools
import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, TypeVar

from logclock.analysis.uncertainty import (
    Uncertainty,
    expanded_quantiles,
    f_tail,
    holm,
    moderated,
    t_quantile,
    weighted,
)

__all__ = [
    "MINIMUM_EFFECT",
    "Difference",
    "PooledDifference",
    "Verdict",
    "expanded_quantiles",
    "f_tail",
    "jointly_judged",
    "paired_difference",
    "pooled_difference",
    "t_interval",
    "t_quantile",
    "with_moderated_spreads",
]

# In nats of final validation loss. Track 3 of modded-nanogpt, at a run-to-run standard deviation of 0.0013, asks for
# 0.004 as well (specs/peers.md 2.17), though of the difference times sqrt(n); here it bounds the difference itself.
MINIMUM_EFFECT = 0.004

Verdict = Literal["better", "worse", "no difference", "one seed: spread unknown", "no shared seed"]

Key = TypeVar("Key", bound=Hashable)
Judged = TypeVar("Judged", "Difference", "PooledDifference")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Final losses of an optimizer minus those of the baseline, seed by seed; negative is better.

    Args:
        mean: Mean of the paired differences; None if no seed is shared.
        sd: Their sample standard deviation; None below two seeds.
        interval: Two-sided interval of the mean at `confidence`, this one difference taken by itself; None if the
            spread is unknown.
        seeds: The seeds that both have, ascending.
        unpaired_seeds: The seeds that only one of them has; they enter no number here.
        minimum_effect: The smallest mean difference, in nats, that is called a difference.
        confidence: Coverage of the interval.
        verdict: `better` or `worse` if the mean reaches the minimum effect and, taken by itself, the interval excludes
            0 or, judged with others, `adjusted_p` is at most 1 - `confidence`.
        uncertainty: What the interval is made of; None if the spread is unknown.
        adjusted_p: `p_value` adjusted (Holm) for all differences that were judged together; None before.
    """

    mean: float | None
    sd: float | None
    interval: tuple[float, float] | None
    seeds: tuple[int, ...]
    unpaired_seeds: tuple[int, ...]
    minimum_effect: float
    confidence: float
    verdict: Verdict
    uncertainty: Uncertainty | None = None
    adjusted_p: float | None = None

    @functools.cached_property
    def p_value(self) -> float | None:
        """1 - the confidence at which the interval would touch 0; None without an interval."""
        return _p_value(self.mean, self.uncertainty)

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
    search_error: float = 0.0,
    sampling_error: float = 0.0,
) -> Difference:
    """Compare two optimizers over the seeds that both have.

    Pairing removes what a seed does to both (initialisation, data order). `no difference` means that none was shown:
    the interval includes 0, or the mean is below the minimum effect; see `Difference.is_equivalent`. Two errors do not
    show in the spread over seeds, because all seeds share them, and widen the interval; see `Uncertainty.half_width`.

    Args:
        losses: Final loss by seed.
        baseline: The same for the baseline.
        minimum_effect: Smallest difference that matters, in the unit of the losses.
        confidence: Coverage of the interval, between 0 and 1.
        search_error: Standard error from the choice of both learning rates, see `choice_costs`; 0 if they were given.
        sampling_error: Standard error of a difference from the finite validation set.

    Examples:
        >>> paired_difference({0: 4.04, 1: 4.05}, {0: 4.10, 1: 4.11}).verdict
        'better'
        >>> paired_difference({0: 4.04}, {0: 4.10}).verdict
        'one seed: spread unknown'
    """
    _check_errors(minimum_effect=minimum_effect, search_error=search_error, sampling_error=sampling_error)
    _check_confidence(confidence)
    one = _paired(losses, baseline, minimum_effect, confidence)
    if one.sd is None:
        return _judged(one, None)
    uncertainty = Uncertainty(
        seeds=one.sd**2 / one.num_seeds,
        degrees_of_freedom=one.num_seeds - 1,
        search=search_error**2,
        sampling=sampling_error**2,
    )
    return _judged(one, uncertainty)


def _paired(
    losses: Mapping[int, float], baseline: Mapping[int, float], minimum_effect: float, confidence: float
) -> Difference:
    """Return a difference that nobody has judged yet."""
    seeds = tuple(sorted(losses.keys() & baseline.keys()))
    pairs = [losses[seed] - baseline[seed] for seed in seeds]
    mean = statistics.fmean(pairs) if pairs else None
    sd = None
    if mean is not None and len(pairs) > 1:
        sd = math.sqrt(sum((pair - mean) ** 2 for pair in pairs) / (len(pairs) - 1))
    return Difference(
        mean=mean,
        sd=sd,
        interval=None,
        seeds=seeds,
        unpaired_seeds=tuple(sorted(losses.keys() ^ baseline.keys())),
        minimum_effect=minimum_effect,
        confidence=confidence,
        verdict="no shared seed",
    )


def with_moderated_spreads(differences: Mapping[Key, Difference], *, share_baseline: bool) -> dict[Key, Difference]:
    """Judge differences anew with spreads of which no lucky one narrows its interval; see `moderated`.

    Args:
        differences: Of several arms of one experiment, or of one optimizer at several sizes.
        share_baseline: Whether all have the same baseline runs, as the arms of an experiment do.
    """
    spreads = {key: (one.sd**2, one.num_seeds - 1) for key, one in differences.items() if one.sd is not None}
    found = dict(differences)
    for key, (variance, freedom) in moderated(spreads, share_baseline=share_baseline).items():
        one = differences[key]
        assert one.uncertainty is not None  # it has a spread
        seeds = variance / one.num_seeds
        found[key] = _judged(one, dataclasses.replace(one.uncertainty, seeds=seeds, degrees_of_freedom=freedom))
    return found


def jointly_judged(differences: Mapping[Key, Judged]) -> dict[Key, Judged]:
    """Adjust p values and verdicts (Holm) so that any verdict of the family is wrong in 1 - confidence at most."""
    adjusted = holm({key: one.p_value for key, one in differences.items() if one.p_value is not None})
    found = {}
    for key, one in differences.items():
        is_shown = key in adjusted and adjusted[key] <= 1 - one.confidence
        verdict = _verdict(one, has_interval=one.interval is not None, is_shown=is_shown)
        found[key] = dataclasses.replace(one, adjusted_p=adjusted.get(key), verdict=verdict)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class PooledDifference:
    """Differences to the baseline at several sizes, and their mean over the sizes.

    Args:
        mean: Mean over the sizes of the mean paired difference; None if no size shares a seed.
        interval: Interval of the mean over these sizes; None if no size has two shared seeds.
        confidence: Coverage of the interval.
        minimum_effect: The smallest mean, in nats, that is called a difference.
        verdict: As in `Difference`, of the mean.
        by_size: The difference at each size, each with the interval of it alone. Their spreads are moderated (see
            `moderated`) and their verdicts adjusted for their number (Holm), so that looking at many sizes does not
            find differences by chance.
        by_size_error: The uncertainty at each size from its own spread, which means and trends are made of.
        uncertainty: Of the mean.
        adjusted_p: `p_value` adjusted (Holm) for all optimizers that were judged together; None before.
    """

    mean: float | None
    interval: tuple[float, float] | None
    confidence: float
    minimum_effect: float
    verdict: Verdict
    by_size: Mapping[str, Difference]
    by_size_error: Mapping[str, Uncertainty]
    uncertainty: Uncertainty | None = None
    adjusted_p: float | None = None

    @functools.cached_property
    def p_value(self) -> float | None:
        """1 - the confidence at which the interval of the mean would touch 0; None without an interval."""
        return _p_value(self.mean, self.uncertainty)

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
    search_errors: Mapping[str, float] | None = None,
    sampling_error: float = 0.0,
) -> PooledDifference:
    """Compare two optimizers at several sizes, over the seeds that both have at a size.

    The mean takes every size with its own spread (Welch). A size with one shared seed has the mean spread of the
    others.

    Args:
        losses: Final loss by size and seed.
        baseline: The same for the baseline.
        minimum_effect: Smallest difference that matters, in the unit of the losses.
        confidence: Coverage of the intervals, between 0 and 1.
        search_errors: Standard error at each size from the choice of both learning rates, see `choice_costs`; none if
            they were given.
        sampling_error: Standard error of a difference from the finite validation set, the same set at all sizes.

    Examples:
        >>> wins = pooled_difference({"4": {0: 4.0, 1: 4.1}, "6": {0: 3.5, 1: 3.6}},
        ...                          {"4": {0: 4.1, 1: 4.201}, "6": {0: 3.6, 1: 3.699}})
        >>> wins.verdict, round(wins.mean, 6)
        ('better', -0.1)
    """
    _check_errors(
        minimum_effect=minimum_effect,
        sampling_error=sampling_error,
        **{f"search_errors[{size!r}]": error for size, error in (search_errors or {}).items()},
    )
    _check_confidence(confidence)
    sizes = [size for size in losses if size in baseline and losses[size].keys() & baseline[size].keys()]
    paired = {size: _paired(losses[size], baseline[size], minimum_effect, confidence) for size in sizes}
    spreads = {size: (one.sd**2 if one.sd is not None else 0.0, one.num_seeds - 1) for size, one in paired.items()}
    own: dict[str, Uncertainty] = {}
    by_size = {size: _judged(one, None) for size, one in paired.items()}
    for size, (variance, freedom) in moderated(spreads, share_baseline=False).items():
        one = paired[size]
        cautious = Uncertainty(
            seeds=variance / one.num_seeds,
            degrees_of_freedom=freedom,
            search=(search_errors or {}).get(size, 0.0) ** 2,
            sampling=sampling_error**2,
        )
        own[size] = cautious
        if one.sd is not None:
            own[size] = dataclasses.replace(
                cautious, seeds=one.sd**2 / one.num_seeds, degrees_of_freedom=one.num_seeds - 1
            )
        by_size[size] = _judged(one, cautious)
    means = [one.mean for one in paired.values() if one.mean is not None]
    mean = statistics.fmean(means) if means else None
    uncertainty = weighted(list(own.values()), [1 / len(own)] * len(own)) if own else None
    plain = PooledDifference(
        mean=mean,
        interval=None,
        confidence=confidence,
        minimum_effect=minimum_effect,
        verdict="no shared seed",
        by_size=jointly_judged(by_size),
        by_size_error=own,
    )
    return _judged(plain, uncertainty)


def t_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the Student t interval of the mean, or None below two values.

    Examples:
        >>> low, high = t_interval([1.0, 2.0, 3.0])
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    _check_confidence(confidence)
    if len(values) < 2:
        return None
    spread = Uncertainty(seeds=statistics.variance(values) / len(values), degrees_of_freedom=len(values) - 1)
    return spread.interval(statistics.fmean(values), confidence)


def _judged(one: Judged, uncertainty: Uncertainty | None) -> Judged:
    """Fill in interval and verdict, as if no other difference were looked at."""
    interval = None
    if one.mean is not None and uncertainty is not None:
        interval = uncertainty.interval(one.mean, one.confidence)
    is_shown = interval is not None and not interval[0] <= 0 <= interval[1]
    verdict = _verdict(one, has_interval=interval is not None, is_shown=is_shown)
    return dataclasses.replace(one, interval=interval, uncertainty=uncertainty, verdict=verdict)


def _verdict(one: Difference | PooledDifference, *, has_interval: bool, is_shown: bool) -> Verdict:
    if one.mean is None:
        return "no shared seed"
    if not has_interval:
        return "one seed: spread unknown"
    if not is_shown or abs(one.mean) < one.minimum_effect:
        return "no difference"
    return "better" if one.mean < 0 else "worse"


def _p_value(mean: float | None, uncertainty: Uncertainty | None) -> float | None:
    return None if mean is None or uncertainty is None else uncertainty.p_value(mean)


def _check_errors(*, minimum_effect: float, **errors: float) -> None:
    if not minimum_effect >= 0:
        raise ValueError(f"minimum_effect must be >= 0, got {minimum_effect!r}. It is a loss difference in nats.")
    for name, value in errors.items():
        if not value >= 0:
            raise ValueError(f"{name} must be >= 0, got {value!r}. It is a standard error in nats.")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}. 0.95 is usual.")
