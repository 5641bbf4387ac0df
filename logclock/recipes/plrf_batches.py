"""Which gain is best at a batch size, and what does a fast average add to it? Oracles by the exact risk.

`logclock plrf experiment batches --out experiments/2026-11-24-plrf` writes the table.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

from logclock.recipes.plrf import RATIO, Report, Row
from logclock.theory.plrf import LeastSquares, binned, surrogate_plrf
from logclock.theory.two_averages import TwoAverages, budget_gain, capped_gain, two_average_risks

__all__ = ["BATCH_EXPERIMENTS", "Arm", "arms_of", "batch_problem", "batches"]

BATCH_SIZES = (1, 4, 16, 64, 256, 1024)
POINTS = ((1.0, 0.7), (0.7, 0.6))
"""Alpha and beta: phase II, above the line alpha = 1/2 from which momentum gains."""

STEPS = tuple(2.0**k for k in range(-5, 2))
"""Of lambda_1 gamma; 2 is where gradient descent itself becomes unstable."""

FACTORS = tuple(2.0**k for k in range(-2, 4))
KAPPAS = (0.25, 0.5, 1.0)
BUDGETS = tuple(2.0**k for k in range(-4, 7))
MEMORIES = (1, 4, 16)
"""Of the fast average, in updates; 1 is the gradient itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """A method with the settings that made it."""

    kind: str
    method: TwoAverages
    memory: float = 1.0
    c: float = 0.0
    kappa: float | None = None
    budget: float | None = None


def arms_of(problem: LeastSquares) -> Iterator[Arm]:
    """Yield every arm: SGD, a fast average, the gains of a budget and of a power, and both averages together."""
    largest = float(problem.eigenvalues.max())
    for step in (share / largest for share in STEPS):
        yield Arm(kind="sgd", method=TwoAverages(step=step))
        for memory in MEMORIES[1:]:
            yield Arm(kind="fast", method=TwoAverages(step=step, ema=1 / memory), memory=memory)
        for budget in BUDGETS:
            gain = budget_gain(problem, budget, step=step)
            yield Arm(kind="budget", method=TwoAverages(step=step, gain=gain), budget=budget)
        for kappa in KAPPAS:
            for c in FACTORS:
                yield Arm(kind="power", method=TwoAverages(step=step, gain=capped_gain(c, kappa)), c=c, kappa=kappa)
                for memory in MEMORIES[1:]:
                    method = TwoAverages(step=step, ema=1 / memory, gain=capped_gain(c, kappa))
                    yield Arm(kind="mixture", method=method, memory=memory, c=c, kappa=kappa)


def batches(report: Report = print, *, num_features: int = 1000, num_steps: int = 500) -> list[Row]:
    """E7: at every batch size, the lowest risk of each kind of method after T updates, and the settings that reach it.

    All kinds are tuned over the same steps gamma, which stay constant in a run.

    Args:
        report: Told what is done.
        num_features: d.
        num_steps: T.
    """
    rows: list[Row] = []
    for alpha, beta in POINTS:
        problem = batch_problem(alpha, beta, num_features=num_features)
        arms = list(arms_of(problem))
        for batch_size in BATCH_SIZES:
            risks = two_average_risks(problem, [arm.method for arm in arms], num_steps=num_steps, batch_size=batch_size)
            for kind in dict.fromkeys(arm.kind for arm in arms):
                own = [(risk, arm) for risk, arm in zip(risks, arms, strict=True) if arm.kind == kind]
                risk, best = min(own, key=lambda pair: pair[0])
                place: Row = {"alpha": alpha, "beta": beta, "batch": batch_size, "updates": num_steps}
                rows.append(place | _found(problem, best, float(risk)))
                report(f"batches: {', '.join(f'{key} {value}' for key, value in rows[-1].items())}")
    return rows


def batch_problem(alpha: float, beta: float, *, num_features: int) -> LeastSquares:
    """Return the problem in bins."""
    return binned(surrogate_plrf(alpha, beta, num_features=num_features, ambient_dim=RATIO * num_features))


def _found(problem: LeastSquares, arm: Arm, risk: float) -> Row:
    return {
        "kind": arm.kind,
        "excess_risk": float(f"{risk - problem.irreducible_risk:.4g}") if math.isfinite(risk) else risk,
        "step_times_lambda1": float(f"{arm.method.step * problem.eigenvalues.max():.4g}"),
        "memory": arm.memory,
        "c": arm.c,
        "kappa": "" if arm.kappa is None else arm.kappa,
        "budget": "" if arm.budget is None else arm.budget,
    }


BATCH_EXPERIMENTS: dict[str, Callable[[Report], list[Row]]] = {"batches": batches}
