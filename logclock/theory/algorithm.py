"""Which methods does the theory compare? Four schedules each, the same objects that training uses."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from logclock.config.registry import suggestion
from logclock.schedules import Constant, InverseTime, PowerLaw, Slot, check, log_time_ema, value_at
from logclock.theory.plrf import LeastSquares

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Coefficients",
    "dana_constant",
    "dana_decaying",
    "get_algorithm",
    "gradient_step",
    "schedule_free",
    "sgd",
    "sgd_momentum",
]


class Coefficients(NamedTuple):
    """The numbers of one update."""

    gamma1: float
    gamma2: float
    gamma3: float
    damping: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Algorithm:
    """Stochastic gradient descent with one momentum buffer, in its general form.

    With y starting at 0 and g the mean gradient of a batch at theta:
        y <- (1 - Delta(t)) y + gamma1(t) g
        theta <- theta - gamma2(t) g - gamma3(t) y        (the new y)
    Every slot takes a number or a schedule, with t = 1 at the first update.

    Args:
        name: Label in tables and figures.
        gamma1: Weight of the gradient in the momentum.
        gamma2: Step along the gradient.
        gamma3: Step along the momentum.
        damping: Delta, what the momentum forgets per update.
    """

    name: str
    gamma1: Slot
    gamma2: Slot
    gamma3: Slot
    damping: Slot

    def coefficients(self, t: float) -> Coefficients:
        """Return the numbers of update t."""
        slots = (self.gamma1, self.gamma2, self.gamma3, self.damping)
        return Coefficients(*(value_at(slot, t) for slot in slots))


def gradient_step(problem: LeastSquares, *, batch_size: int = 1, fraction: float = 0.5) -> float:
    """Return gamma2 = min(fraction B / Tr K, 1 / (2 lambda_1)): a fraction of the largest step that noise allows.

    SGD is stable up to a fraction of about 2 in the limit of many equal modes, and 0.5 is comfortable; the second
    bound is for large batches, which gradient descent itself limits.

    Args:
        problem: The eigenvalues.
        batch_size: B.
        fraction: gamma2 Tr K / B.
    """
    check(fraction > 0, "fraction", "be > 0", fraction)
    largest = float(problem.eigenvalues.max())
    return min(fraction * batch_size / problem.trace, 0.5 / largest)


def sgd(problem: LeastSquares, *, batch_size: int = 1, fraction: float = 0.5) -> Algorithm:
    """Return SGD with the step of `gradient_step`."""
    step = gradient_step(problem, batch_size=batch_size, fraction=fraction)
    return Algorithm(name="sgd", gamma1=0.0, gamma2=step, gamma3=0.0, damping=1.0)


def sgd_momentum(
    problem: LeastSquares, *, momentum: float = 0.9, batch_size: int = 1, fraction: float = 0.5
) -> Algorithm:
    """Return heavy-ball SGD whose steps add up to those of `sgd`: gamma3 = (1 - momentum) gamma2(sgd), Delta constant.

    Args:
        problem: The eigenvalues.
        momentum: What remains of the buffer, in [0, 1).
        batch_size: B.
        fraction: As in `gradient_step`, of the whole step.
    """
    check(0 <= momentum < 1, "momentum", "lie in [0, 1)", momentum)
    step = gradient_step(problem, batch_size=batch_size, fraction=fraction)
    return Algorithm(name="sgd-m", gamma1=1.0, gamma2=0.0, gamma3=(1 - momentum) * step, damping=1 - momentum)


def schedule_free(
    problem: LeastSquares, *, interpolation: float = 0.9, batch_size: int = 1, fraction: float = 0.5
) -> Algorithm:
    """Return schedule-free SGD, seen at the point where it takes gradients. No approximation is made.

    With step gamma, interpolation s and the average x of the iterates z, weighted 1 / (t + 1):
        gamma1 = 1, gamma2 = (1 - s) gamma, gamma3 = s gamma / (t + 1), Delta = 1 / t

    Args:
        problem: The eigenvalues.
        interpolation: s, the share of the average x in the point theta = (1 - s) z + s x, in [0, 1].
        batch_size: B.
        fraction: As in `gradient_step`, of gamma.

    References: Defazio et al. 2024, arXiv:2405.15682.
    """
    check(0 <= interpolation <= 1, "interpolation", "lie in [0, 1]", interpolation)
    step = gradient_step(problem, batch_size=batch_size, fraction=fraction)
    return Algorithm(
        name="schedule-free",
        gamma1=1.0,
        gamma2=(1 - interpolation) * step,
        gamma3=InverseTime(scale=interpolation * step, offset=1.0),
        damping=InverseTime(scale=1.0, offset=0.0),
    )


def dana_constant(
    problem: LeastSquares, *, batch_size: int = 1, fraction: float = 0.5, c3: float = 0.5, delta: float = 6.0
) -> Algorithm:
    """Return DANA-constant: log-time momentum with the largest constant gain, gamma3 = c3 gamma2 B / d.

    Args:
        problem: The eigenvalues, and d.
        batch_size: B.
        fraction: As in `gradient_step`.
        c3: Dimensionless; stable below about 2 - fraction.
        delta: Delta(t) = delta / (delta + t). The risk decays no faster than t^-delta.

    References: Ferbach et al. 2025, arXiv:2505.16098.
    """
    step = gradient_step(problem, batch_size=batch_size, fraction=fraction)
    gamma3 = _positive(c3, "c3") * step * batch_size / problem.num_modes
    return Algorithm(name="dana-constant", gamma1=1.0, gamma2=step, gamma3=gamma3, damping=log_time_ema(delta))


def dana_decaying(
    problem: LeastSquares,
    *,
    kappa: float,
    batch_size: int = 1,
    fraction: float = 0.5,
    c3: float = 0.5,
    delta: float = 6.0,
) -> Algorithm:
    """Return DANA-decaying: log-time momentum with a gain that falls as the modes resolve, gamma3 = c3 gamma2 t^-kappa.

    Args:
        problem: The eigenvalues.
        kappa: Exponent; 1 / (2 alpha) is the smallest that is stable at B = 1, and 1 gains nothing over SGD.
        batch_size: B.
        fraction: As in `gradient_step`.
        c3: Dimensionless.
        delta: Delta(t) = delta / (delta + t).

    References: Ferbach et al. 2025, arXiv:2505.16098.
    """
    step = gradient_step(problem, batch_size=batch_size, fraction=fraction)
    gamma3 = Constant(value=_positive(c3, "c3") * step) * PowerLaw(time_scale=1.0, exponent=kappa)
    return Algorithm(name="dana-decaying", gamma1=1.0, gamma2=step, gamma3=gamma3, damping=log_time_ema(delta))


ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
    "sgd": sgd,
    "sgd-m": sgd_momentum,
    "schedule-free": schedule_free,
    "dana-constant": dana_constant,
    "dana-decaying": dana_decaying,
}
"""The constructors by name; all take the problem, batch_size and fraction."""


def get_algorithm(
    name: str,
    problem: LeastSquares,
    *,
    alpha: float,
    batch_size: int = 1,
    fraction: float = 0.5,
    c3: float = 0.5,
    delta: float = 6.0,
) -> Algorithm:
    """Return an algorithm by name, with kappa = 1 / (2 alpha) for DANA-decaying; c3 and delta are DANA's.

    Raises:
        ValueError: There is no such algorithm.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {name!r}.{suggestion(name, ALGORITHMS)} Known: {', '.join(ALGORITHMS)}.")
    options: dict[str, float] = {"fraction": fraction}
    if name.startswith("dana"):
        options |= {"c3": c3, "delta": delta}
    if name == "dana-decaying":
        options["kappa"] = 1 / (2 * alpha)
    return ALGORITHMS[name](problem, batch_size=batch_size, **options)


def _positive(value: float, name: str) -> float:
    check(value > 0, name, "be > 0", value)
    return value
