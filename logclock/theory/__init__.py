"""Theory: why logarithmic-time momentum works, on a problem whose risk is known exactly."""

from logclock.theory.algorithm import (
    ALGORITHMS,
    Algorithm,
    dana_constant,
    dana_decaying,
    get_algorithm,
    gradient_step,
    schedule_free,
    sgd,
    sgd_momentum,
)
from logclock.theory.moments import (
    RiskCurve,
    exact_rates,
    exact_risk,
    forcing,
    geometric_steps,
    kernel,
    log_time_risk,
    simplified_rates,
)
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
    "ALGORITHMS",
    "Algorithm",
    "LeastSquares",
    "RandomFeatures",
    "RiskCurve",
    "binned",
    "binned_surrogate",
    "dana_constant",
    "dana_decaying",
    "exact_rates",
    "exact_risk",
    "forcing",
    "geometric_steps",
    "get_algorithm",
    "gradient_step",
    "kernel",
    "limit_risk",
    "log_time_risk",
    "random_features",
    "random_plrf",
    "sample_gradient",
    "schedule_free",
    "self_consistent_ridge",
    "sgd",
    "sgd_momentum",
    "simplified_rates",
    "surrogate_plrf",
]
