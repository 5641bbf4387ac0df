"""Theory: why logarithmic-time momentum works, on a problem whose risk is known exactly.

What needs torch, runs of the optimizers and products with a model's curvature, is loaded on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

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
from logclock.theory.asymptotics import distortion_forcing, sgd_kernel, target_forcing
from logclock.theory.exponents import Envelope, ScalingExponents, compute_envelope, fit_exponents, time_slope
from logclock.theory.moe_plrf import MixtureRisk, expert_clock, expert_probabilities, mixture_risk
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
from logclock.theory.phases import (
    ComputeExponents,
    compute_exponents,
    effective_time_exponent,
    phase,
    piece_exponents,
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
from logclock.theory.spectrum import (
    Densities,
    limit_risk,
    self_consistent_ridge,
    smallest_eigenvalue,
    spectral_densities,
    stieltjes,
)
from logclock.theory.stability import is_stable, kernel_norm, resolved_modes, stability_threshold
from logclock.theory.two_averages import TwoAverages, budget_gain, capped_gain, two_average_risks

if TYPE_CHECKING:
    from logclock.theory.curvature import (
        SpectralDimension,
        gauss_newton_product,
        gradient_covariance_product,
        spectral_dimension,
    )
    from logclock.theory.simulate import Simulation, dana_spec, simulate_features, simulate_modes

_HOMES = {
    "logclock.theory.curvature": "SpectralDimension gauss_newton_product gradient_covariance_product "
    "spectral_dimension",
    "logclock.theory.simulate": "Simulation dana_spec simulate_features simulate_modes",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "ComputeExponents",
    "Densities",
    "Envelope",
    "LeastSquares",
    "MixtureRisk",
    "RandomFeatures",
    "RiskCurve",
    "ScalingExponents",
    "Simulation",
    "SpectralDimension",
    "TwoAverages",
    "binned",
    "binned_surrogate",
    "budget_gain",
    "capped_gain",
    "compute_envelope",
    "compute_exponents",
    "dana_constant",
    "dana_decaying",
    "dana_spec",
    "distortion_forcing",
    "effective_time_exponent",
    "exact_rates",
    "exact_risk",
    "expert_clock",
    "expert_probabilities",
    "fit_exponents",
    "forcing",
    "gauss_newton_product",
    "geometric_steps",
    "get_algorithm",
    "gradient_covariance_product",
    "gradient_step",
    "is_stable",
    "kernel",
    "kernel_norm",
    "limit_risk",
    "log_time_risk",
    "mixture_risk",
    "phase",
    "piece_exponents",
    "random_features",
    "random_plrf",
    "resolved_modes",
    "sample_gradient",
    "schedule_free",
    "self_consistent_ridge",
    "sgd",
    "sgd_kernel",
    "sgd_momentum",
    "simplified_rates",
    "simulate_features",
    "simulate_modes",
    "smallest_eigenvalue",
    "spectral_densities",
    "spectral_dimension",
    "stability_threshold",
    "stieltjes",
    "surrogate_plrf",
    "target_forcing",
    "time_slope",
    "two_average_risks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'logclock.theory' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
