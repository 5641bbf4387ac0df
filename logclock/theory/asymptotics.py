"""What do forcing and kernel of SGD tend to, constants included, between the first modes and the last?

For a step gamma2 and 1 << gamma2 t << d^(2 alpha), sums over modes become integrals over lambda = j^-2alpha, with Gam
the Gamma function and T = 2 gamma2 t:
    F_pp(t) = Gam(beta/alpha - 1/(2 alpha) + 1) / (2 alpha) T^-(1 + beta/alpha - 1/(2 alpha))
    F_ac(t) = (c / d) Gam(1 - 1/(2 alpha)) / (2 alpha) T^-(1 - 1/(2 alpha)),  c = sum_{j <= v} j^-2beta
    K(t) = (gamma2^2 / B) Gam(2 - 1/(2 alpha)) / (2 alpha) T^-(2 - 1/(2 alpha))
Batches are averaged here; where gradients are summed, the step is B times smaller.

References: Paquette et al. 2024, arXiv:2405.15074.
"""

import math

from logclock.schedules import check
from logclock.theory.power_sums import power_sum

__all__ = ["distortion_forcing", "sgd_kernel", "target_forcing"]


def target_forcing(alpha: float, beta: float, *, gamma2: float, time: float) -> float:
    """Return F_pp(t): how much of the target plain gradient descent has not learned yet."""
    return _moment(alpha, 1 + beta / alpha, gamma2, time)


def distortion_forcing(
    alpha: float, beta: float, *, num_features: int, ambient_dim: int, gamma2: float, time: float
) -> float:
    """Return F_ac(t): the part of the risk that random features spread over all modes; 0 unless alpha, beta > 1/2."""
    if alpha <= 0.5 or beta <= 0.5:
        return 0.0
    return power_sum(ambient_dim, 2 * beta) / num_features * _moment(alpha, 1.0, gamma2, time)


def sgd_kernel(alpha: float, *, gamma2: float, time: float, batch_size: int = 1) -> float:
    """Return K(t): what is left after time t of a unit of gradient noise; alpha must exceed 1/4."""
    check(alpha > 0.25, "alpha", "exceed 0.25", alpha, advice="Below, the last modes decide and no power law holds.")
    return gamma2**2 / batch_size * _moment(alpha, 2.0, gamma2, time)


def _moment(alpha: float, power: float, gamma2: float, time: float) -> float:
    """Return int_0^inf x^(-2 alpha power) exp(-2 gamma2 t x^-2alpha) dx."""
    check(gamma2 * time > 0, "gamma2 time", "be > 0", gamma2 * time)
    exponent = power - 1 / (2 * alpha)
    moment: float = math.gamma(exponent) / (2 * alpha) * (2 * gamma2 * time) ** -exponent
    return moment
