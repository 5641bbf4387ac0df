"""Theory: why logarithmic-time momentum works, on a problem whose risk is known exactly."""

from logclock.theory.plrf import (
    LeastSquares,
    RandomFeatures,
    binned,
    binned_surrogate,
    random_features,
    random_plrf,
    sample_gradient,
    surrogate_plrf,
)
from logclock.theory.spectrum import limit_risk, self_consistent_ridge

__all__ = [
    "LeastSquares",
    "RandomFeatures",
    "binned",
    "binned_surrogate",
    "limit_risk",
    "random_features",
    "random_plrf",
    "sample_gradient",
    "self_consistent_ridge",
    "surrogate_plrf",
]
