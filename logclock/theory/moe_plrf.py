"""What does momentum do when each example reaches one expert of many? A mixture of experts on the power-law problem.

Every expert has parameters of its own and solves the same problem; an example goes to expert i with probability p_i,
independently of what it is. The loss is half the squared error averaged over the whole batch, whoever received it, so
that an expert gets no gradient at all with probability (1 - p_i)^B. The risk of the mixture is sum_i p_i P(theta_i).

Expectations split: expert i has the moments of a single problem with `probability` p_i (`moments.exact_rates`).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from logclock.schedules import Constant, PowerLaw, check
from logclock.theory.algorithm import Algorithm, dana_decaying, gradient_step
from logclock.theory.moments import RiskCurve, log_time_risk
from logclock.theory.plrf import LeastSquares

__all__ = ["MixtureRisk", "check_probabilities", "expert_clock", "expert_probabilities", "mixture_risk"]

Array = np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MixtureRisk:
    """Expected risk of a mixture over time.

    Args:
        total: sum_i p_i P_i, inf from where an expert diverged on.
        num_diverged: How many experts diverged before the horizon.
    """

    total: RiskCurve
    num_diverged: int


def expert_probabilities(num_experts: int, *, zeta: float) -> tuple[float, ...]:
    """Return p_i proportional to i^-zeta, i = 1..m, adding up to 1.

    Examples:
        >>> [round(p, 4) for p in expert_probabilities(3, zeta=1.0)]
        [0.5455, 0.2727, 0.1818]
    """
    check(num_experts >= 1, "num_experts", "be >= 1", num_experts)
    check(zeta >= 0, "zeta", "be >= 0", zeta, advice="0 gives every expert the same share.")
    weights = np.arange(1, num_experts + 1, dtype=float) ** -zeta
    return tuple((weights / weights.sum()).tolist())


def check_probabilities(probabilities: Sequence[float]) -> Array:
    """Return the probabilities as an array, or raise a ValueError if they are none."""
    shares = np.asarray(probabilities, dtype=float)
    holds = shares.ndim == 1 and bool((shares > 0).all()) and abs(shares.sum() - 1) < 1e-9
    check(holds, "probabilities", "be > 0 and add up to 1", probabilities)
    return shares


def mixture_risk(
    problem: LeastSquares,
    algorithm: Algorithm | Callable[[float], Algorithm],
    *,
    probabilities: Sequence[float],
    horizon: float,
    batch_size: int = 1,
    log_step: float = 0.02,
) -> MixtureRisk:
    """Return the expected risk of a mixture, by one log-time curve for each expert.

    Args:
        problem: What every expert solves; bin it first.
        algorithm: One for all experts, on the global clock, or a function of p that gives an expert its own.
        probabilities: p_i, adding up to 1.
        horizon: The last time, in updates of the whole.
        batch_size: B.
        log_step: As in `log_time_risk`.
    """
    shares = check_probabilities(probabilities)
    curves = [
        log_time_risk(
            problem,
            algorithm if isinstance(algorithm, Algorithm) else algorithm(p),
            horizon=horizon,
            log_step=log_step,
            batch_size=batch_size,
            probability=p,
        )
        for p in shares.tolist()
    ]
    risk = shares @ np.stack([curve.risk for curve in curves])
    return MixtureRisk(
        total=RiskCurve(time=curves[0].time, risk=risk),
        num_diverged=sum(curve.has_diverged for curve in curves),
    )


def expert_clock(
    problem: LeastSquares,
    *,
    probability: float,
    kappa: float,
    batch_size: int = 1,
    fraction: float = 0.5,
    c3: float = 1.0,
    delta: float = 6.0,
) -> Algorithm:
    """Return DANA-decaying with the gain of an expert's own clock: gamma3 = c3 gamma2 p (1 + p t)^-kappa.

    The momentum acts only when the expert is active, p of the time, and falls with the number of its own updates, p t:
    the idea behind the tau of Dana-Star. It is stable for every p and as fast as plain DANA at time p t.

    Args:
        problem: The eigenvalues.
        probability: p of the expert, in (0, 1].
        kappa: As in `dana_decaying`.
        batch_size: B.
        fraction: As in `gradient_step`.
        c3: Dimensionless.
        delta: Delta(t) = delta / (delta + t), on the global clock.
    """
    check(0 < probability <= 1, "probability", "lie in (0, 1]", probability)
    plain = dana_decaying(problem, kappa=kappa, batch_size=batch_size, fraction=fraction, c3=c3, delta=delta)
    step = gradient_step(problem, batch_size=batch_size, fraction=fraction)
    gamma3 = Constant(value=c3 * step * probability) * PowerLaw(time_scale=1 / probability, exponent=kappa)
    return dataclasses.replace(plain, name="expert-clock", gamma3=gamma3)
