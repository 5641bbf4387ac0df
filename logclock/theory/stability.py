"""How strong may the momentum be before noise feeds on itself? Thresholds by bisection of the exact risk."""

import math
from collections.abc import Callable

import numpy as np

from logclock.schedules import check
from logclock.theory.algorithm import Algorithm
from logclock.theory.moments import log_time_risk
from logclock.theory.plrf import LeastSquares

__all__ = ["is_stable", "kernel_norm", "resolved_modes", "stability_threshold"]


def is_stable(
    problem: LeastSquares, algorithm: Algorithm, *, horizon: float, batch_size: int = 1, probability: float = 1.0
) -> bool:
    """Return whether the expected risk stays bounded up to the horizon, which should exceed d^(2 alpha).

    Arguments as in `log_time_risk`. A shorter horizon does not see the slowest modes resolve, and calls algorithms
    stable that are not.
    """
    curve = log_time_risk(problem, algorithm, horizon=horizon, batch_size=batch_size, probability=probability)
    return not curve.has_diverged


def stability_threshold(
    build: Callable[[float], Algorithm],
    problem: LeastSquares,
    *,
    horizon: float,
    bracket: tuple[float, float] = (0.01, 100.0),
    batch_size: int = 1,
    probability: float = 1.0,
    ratio: float = 1.01,
) -> float:
    """Return the largest c for which `build(c)` is stable, by bisection in ln c.

    Args:
        build: Makes the algorithm; larger values must be less stable.
        problem: Where it runs; bin it first.
        horizon: As in `is_stable`.
        bracket: A stable and an unstable value.
        batch_size: B.
        probability: As in `exact_rates`.
        ratio: The result is exact up to this factor.

    Raises:
        ValueError: The bracket does not hold the threshold.
    """

    def stable(c: float) -> bool:
        return is_stable(problem, build(c), horizon=horizon, batch_size=batch_size, probability=probability)

    low, high = bracket
    held = stable(low) and not stable(high)
    check(held, "bracket", "be stable at its first value and unstable at its second", bracket)
    while high / low > ratio:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if stable(middle) else (low, middle)
    return math.sqrt(low * high)


def kernel_norm(problem: LeastSquares, *, gamma2: float, batch_size: int = 1) -> float:
    """Return how much noise one unit of risk makes under SGD, summed over time: stable below 1, and below inf.

    With k = (B + 1) / B:
        |K| = sum_j n_j (gamma2 / B) lambda_j / (2 - k gamma2 lambda_j)
    The risk then tends to P_inf / (1 - |K|).

    Args:
        problem: The eigenvalues.
        gamma2: The step of SGD.
        batch_size: B.
    """
    shrink = 2 - (batch_size + 1) / batch_size * gamma2 * problem.eigenvalues
    if (shrink <= 0).any():
        return math.inf
    return float(problem.multiplicity @ (gamma2 / batch_size * problem.eigenvalues / shrink))


def resolved_modes(problem: LeastSquares, *, gamma2: float, damping: float) -> float:
    """Return N_eff = sum_j n_j a_j / (a_j + Delta) with a_j = gamma2 lambda_j: how many modes momentum amplifies.

    A frozen-coefficient estimate of the largest stable gain is gamma3 / gamma2 < (2 B - gamma2 Tr K) / N_eff. With
    Delta = delta / t, N_eff grows like t^(1 / 2alpha) up to d, hence kappa = 1 / (2 alpha) and gamma3 ~ 1 / d.

    Args:
        problem: The eigenvalues.
        gamma2: Step along the gradient.
        damping: Delta.
    """
    a = gamma2 * problem.eigenvalues
    return float(np.sum(problem.multiplicity * a / (a + damping)))
