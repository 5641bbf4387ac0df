"""What do a fast and a log-time average of the gradient bring at a batch size, in exact expected risk?

SGD with ADANA-mix's momentum, without its root. Six second moments per mode close as the three of `moments` do.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from logclock.schedules import Constant, check, log_time_ema, value_at
from logclock.theory.moments import DIVERGED
from logclock.theory.plrf import LeastSquares
from logclock.theory.stability import resolved_modes

__all__ = ["TwoAverages", "budget_gain", "capped_gain", "two_average_risks"]

Array = np.ndarray
Gain = Callable[[float], float]
"""alpha(t); a schedule is one."""


NO_GAIN = Constant(value=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoAverages:
    """Stochastic gradient descent along a fast and a log-time average.

    With t = 1, 2, ..., D(t) = delta / (delta + t), averages starting at 0 and g the mean gradient of a batch:
        m <- m + ema (g - m)
        n <- n + D(t) (g - n)
        theta <- theta - step (m / (1 - (1 - ema)^t) + gain(t) n)
    With ema = 1 it is `Algorithm` with gamma1 = D, gamma2 = step, gamma3 = step gain.

    Args:
        step: gamma, constant.
        ema: Weight of the newest gradient in m; 1 is the gradient itself.
        gain: alpha(t).
        delta: Log-time offset in updates.
    """

    step: float
    ema: float = 1.0
    gain: Gain = NO_GAIN
    delta: float = 8.0

    def __post_init__(self) -> None:
        check(self.step > 0, "step", "be > 0", self.step)
        check(0 < self.ema <= 1, "ema", "lie in (0, 1]", self.ema, advice="It is 1 - beta.")

    def coefficients(self, t: int) -> tuple[float, float, float, float]:
        """Return ema, D(t), and what m and n move theta by."""
        weight = 1.0 if self.ema == 1 else -math.expm1(t * math.log1p(-self.ema))
        return self.ema, value_at(log_time_ema(self.delta), t), self.step / weight, self.step * self.gain(t)


def capped_gain(c: float, kappa: float, *, delta: float = 8.0) -> Gain:
    """Return ADANA-mix's gain min(1 / D(t), c (1 + t)^(1 - kappa))."""
    return lambda t: float(min((delta + t) / delta, c * (1 + t) ** (1 - kappa)))


def budget_gain(problem: LeastSquares, budget: float, *, step: float, delta: float = 8.0) -> Gain:
    """Return the gain that spends a budget over the modes that momentum resolves: min(budget / N, 1) / D.

    N = N_eff(t) is `resolved_modes` at D(t). The rule behind the authors' measured gain has budget = min(s B, C).

    Args:
        problem: The eigenvalues.
        budget: The budget.
        step: gamma.
        delta: Log-time offset in updates.
    """

    def gain(t: float) -> float:
        damping = delta / (delta + t)
        return min(budget / resolved_modes(problem, gamma2=step, damping=damping), 1.0) / damping

    return gain


def two_average_risks(
    problem: LeastSquares, methods: Sequence[TwoAverages], *, num_steps: int, batch_size: int = 1
) -> Array:
    """Return the expected risk of each method after its last update, exact to rounding; inf where it diverged.

    With z = (e, m, n), an update is z <- A z + b g, and for Gaussian data E g^2 = (B + 1) / B lambda^2 E e^2 + lambda P
    / B; the second moments of z are stepped for all methods at once.

    Args:
        problem: Where they run, from theta = 0.
        methods: What runs.
        num_steps: Updates T.
        batch_size: B.
    """
    check(num_steps >= 1, "num_steps", "be >= 1", num_steps)
    eigenvalues = problem.eigenvalues
    weight = problem.multiplicity * eigenvalues
    shape = (len(methods), len(eigenvalues))
    ee = np.broadcast_to(problem.initial_error**2, shape).copy()
    em, en, mm, mn, nn = (np.zeros(shape) for _ in range(5))
    has_diverged = np.zeros(len(methods), dtype=bool)
    risk = problem.irreducible_risk + ee @ weight
    for t in range(1, num_steps + 1):
        ema, damping, fast, long = np.array([method.coefficients(t) for method in methods]).T[:, :, None]
        u, w = 1 - ema, 1 - damping
        p, q, r = fast * u, long * w, fast * ema + long * damping  # theta moves by -(p m + q n + r g)
        moved = ee - p * em - q * en
        cross = eigenvalues * np.stack([moved, u * em, w * en])  # E (A z) g
        square = (batch_size + 1) / batch_size * eigenvalues**2 * ee + eigenvalues * risk[:, None] / batch_size
        ee, em, en, mm, mn, nn = (
            moved - p * (em - p * mm - q * mn) - q * (en - p * mn - q * nn) - 2 * r * cross[0] + r * r * square,
            u * (em - p * mm - q * mn) + ema * cross[0] - r * cross[1] - r * ema * square,
            w * (en - p * mn - q * nn) + damping * cross[0] - r * cross[2] - r * damping * square,
            u * u * mm + 2 * ema * cross[1] + ema * ema * square,
            u * w * mn + ema * cross[2] + damping * cross[1] + ema * damping * square,
            w * w * nn + 2 * damping * cross[2] + damping * damping * square,
        )
        risk = problem.irreducible_risk + ee @ weight
        has_diverged |= ~(risk < DIVERGED * problem.initial_risk)
        for moment in (ee, em, en, mm, mn, nn, risk):
            moment[has_diverged] = 0.0  # they would overflow, and has_diverged remembers
    return np.where(has_diverged, math.inf, risk)
