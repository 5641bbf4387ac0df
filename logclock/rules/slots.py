"""Which kinds of hyperparameter are there? Numbers and schedules with their bounds, named once."""

from typing import Annotated

from logclock.config.bounds import In
from logclock.schedules import Schedule, Slot

__all__ = [
    "Count",
    "Delta",
    "Ema",
    "Fraction",
    "Kappa",
    "Momentum",
    "NonNegative",
    "NonNegativeSlot",
    "PeakLr",
    "Positive",
    "Rate",
    "Slot",
]

Positive = Annotated[float, In(low=0, includes_low=False)]
"""A number above 0."""

NonNegative = Annotated[float, In(low=0)]
"""A number, 0 or above."""

Count = Annotated[int, In(low=1)]
"""A whole number, 1 or above."""

NonNegativeSlot = Annotated[float | Schedule, In(low=0)]
"""A number or schedule, 0 or above."""

Ema = Annotated[
    float | Schedule, In(low=0, high=1, includes_low=False, advice="It is 1 - beta, the weight of the new sample.")
]
"""Weight of the newest sample in an average, 1 - beta; a number or schedule."""

Fraction = Annotated[
    float, In(low=0, high=1, includes_low=False, advice="It is 1 - beta, the weight of the new sample.")
]
"""Weight of the newest sample in an average whose memory is constant."""

Rate = Annotated[float, In(low=0, high=1, includes_low=False)]
"""By how much a share falls per update."""

Momentum = Annotated[float | Schedule, In(low=0, high=1, includes_high=False)]
"""What is left of a sum after an update, mu; a number or schedule."""

Kappa = Annotated[float, In(low=0, high=1, advice="kappa = 1 means no growth of the momentum gain.")]
"""Exponent by which a gain (1 + t)^(1 - kappa) is damped."""

Delta = Annotated[float, In(low=0, includes_low=False, advice="The average remembers about t / delta updates.")]
"""Offset of a log-time average, in updates."""

PeakLr = Annotated[
    float,
    In(
        low=0,
        includes_low=False,
        advice="It is the peak; freeze parameters with requires_grad_(False) instead of lr = 0.",
    ),
]
"""The largest learning rate of a run, per update."""
