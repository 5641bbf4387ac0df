"""Does a gain grow with size, or did the sizes fall that way by chance?"""

import dataclasses
import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from logclock.analysis.uncertainty import Uncertainty, holm, weighted

__all__ = ["LEAST_SIZES", "Trend", "jointly_tested", "trend"]

LEAST_SIZES = 3

Key = TypeVar("Key", bound=Hashable)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trend:
    """The least-squares slope of a quantity over sizes.

    Args:
        slope: Per unit of x.
        interval: Of the slope at `confidence`, this one slope taken by itself.
        p_value: Chance of a slope as large as this in either direction if the quantity is the same at all sizes.
        adjusted_p: The same, adjusted (Holm) for all optimizers that were tested together.
        confidence: Coverage of the interval; a slope with an adjusted p of at most 1 - this is called one.
        num_sizes: How many sizes it rests on.
    """

    slope: float
    interval: tuple[float, float]
    p_value: float
    adjusted_p: float
    confidence: float
    num_sizes: int

    @property
    def is_shown(self) -> bool:
        """Whether the quantity is shown to change with size."""
        return self.adjusted_p <= 1 - self.confidence


def trend(
    x: Sequence[float], values: Sequence[float], uncertainties: Sequence[Uncertainty], *, confidence: float = 0.95
) -> Trend | None:
    """Test whether values change with x, or return None below three sizes.

    The slope is a fixed weighted sum of the values, sum of (x - mean x) value / sum of (x - mean x)^2, so its error
    follows from theirs; it does not take the values to lie on a line.

    Args:
        x: Of each size, e.g. ln P.
        values: Of each size, e.g. a difference in nats.
        uncertainties: Of the values.
        confidence: Coverage of the interval.
    """
    if len(x) < LEAST_SIZES:
        return None
    centre = statistics.fmean(x)
    squares = sum((one - centre) ** 2 for one in x)
    weights = [(one - centre) / squares for one in x]
    slope = sum(weight * value for weight, value in zip(weights, values, strict=True))
    uncertainty = weighted(uncertainties, weights)
    p_value = uncertainty.p_value(slope)
    return Trend(
        slope=slope,
        interval=uncertainty.interval(slope, confidence),
        p_value=p_value,
        adjusted_p=p_value,
        confidence=confidence,
        num_sizes=len(x),
    )


def jointly_tested(trends: Mapping[Key, Trend]) -> dict[Key, Trend]:
    """Adjust the p values of several optimizers (Holm), so that looking at many finds no trend by chance."""
    adjusted = holm({key: one.p_value for key, one in trends.items()})
    return {key: dataclasses.replace(one, adjusted_p=adjusted[key]) for key, one in trends.items()}
