"""Do stochastic runs agree with the exact moments, and what do experts do to momentum? Experiments E1 and E6.

`logclock plrf experiment NAME --out experiments/2026-11-24-plrf` writes the tables. Alpha is 1 and the batch 1 example
unless said otherwise.
"""

from collections.abc import Callable, Sequence

import numpy as np

from logclock.recipes.plrf import RATIO, Report, Row
from logclock.theory import (
    Algorithm,
    LeastSquares,
    RandomFeatures,
    binned,
    binned_surrogate,
    dana_constant,
    dana_decaying,
    exact_risk,
    random_features,
    random_plrf,
    sgd,
    sgd_momentum,
    stability_threshold,
    surrogate_plrf,
)
from logclock.theory.moe_plrf import expert_clock, expert_probabilities, mixture_risk
from logclock.theory.simulate import Lanes, dana_spec, simulate_modes

__all__ = ["RUN_EXPERIMENTS", "mixture", "moments"]

ALPHA = 1.0
KAPPA = 1 / (2 * ALPHA)
MIXTURE_BETA = 0.8
MIXTURE_DELTA = 4 + (ALPHA + MIXTURE_BETA) / ALPHA
"""The public code's choice for mixtures."""


def moments(
    report: Report = print,
    *,
    num_features: int = 100,
    num_runs: int = 200,
    num_steps: int = 3000,
    num_explicit: int = 60,
) -> list[Row]:
    """E1: is the second-moment recursion the mean of runs of rule `dana`, in the eigenbasis and in R^v?

    Args:
        report: Told what is done.
        num_features: d of the eigenbasis runs; v = 4 d.
        num_runs: How many runs.
        num_steps: Updates of each.
        num_explicit: d of the runs that draw x in R^v, at batch 4.
    """
    rows: list[Row] = []
    problem = random_plrf(ALPHA, 0.7, num_features=num_features, ambient_dim=RATIO * num_features, seed=0)
    times = [t for t in (10, 100, 300, 1000, 3000) if t <= num_steps]
    for seed, algorithm in enumerate(_four(problem, batch_size=1), start=1):
        report(f"moments: {algorithm.name}, {num_runs} runs of {num_steps} updates in the eigenbasis")
        runs = simulate_modes(
            problem, dana_spec(algorithm), num_steps=num_steps, num_runs=num_runs, seed=seed, record_at=times
        )
        exact = exact_risk(problem, algorithm, num_steps=num_steps, record_at=times).risk
        rows += _moment_rows("eigenbasis", algorithm.name, num_features, 1, times, runs.risk, exact)
    features = random_features(ALPHA, 0.7, num_features=num_explicit, ambient_dim=RATIO * num_explicit, seed=0)
    problem = features.least_squares()
    times = [t for t in times if t <= 1000]
    for algorithm in _four(problem, batch_size=4)[::3]:
        report(f"moments: {algorithm.name}, {num_runs} runs of {times[-1]} updates in R^{RATIO * num_explicit}")
        risk = _explicit_risks(features, algorithm, num_runs=num_runs, batch_size=4, times=times)
        exact = exact_risk(problem, algorithm, num_steps=times[-1], batch_size=4, record_at=times).risk
        rows += _moment_rows("explicit", algorithm.name, num_explicit, 4, times, risk, exact)
    return rows


def mixture(report: Report = print) -> list[Row]:
    """E6: how much gain do rare experts stand, and what does a mixture's risk do under momentum?

    Rows `threshold` have the largest stable c3 of DANA-decaying for an expert of probability p; rows `risk` the total
    risk of m experts at four times.

    Args:
        report: Told what is done.
    """
    rows: list[Row] = []
    problem = binned_surrogate(ALPHA, MIXTURE_BETA, num_features=10_000, ambient_dim=40_000)
    for p in (1.0, 0.1, 0.01, 0.001):
        threshold = stability_threshold(
            lambda c: dana_decaying(problem, kappa=KAPPA, c3=c, delta=MIXTURE_DELTA),
            problem,
            horizon=1e9 / p,
            probability=p,
        )
        report(f"mixture: p = {p:g} is stable for c3 < {threshold:.3g}")
        rows.append(_mixture_row("threshold", 1, p, "dana-decaying", threshold, [""] * 4, 0))
    problem = binned(surrogate_plrf(ALPHA, MIXTURE_BETA, num_features=500, ambient_dim=2000))
    plan: dict[str, tuple[float, Algorithm | Callable[[float], Algorithm]]] = {"sgd": (0.0, sgd(problem))}
    for c3 in (1.0, 0.3, 0.1):
        plan[f"dana-decaying c3 {c3:g}"] = (c3, dana_decaying(problem, kappa=KAPPA, c3=c3, delta=MIXTURE_DELTA))
    plan["expert-clock"] = (
        1.0,
        lambda p: expert_clock(problem, probability=p, kappa=KAPPA, c3=1.0, delta=MIXTURE_DELTA),
    )
    for num_experts, zeta in ((12, 1.0), (100, 0.9)):
        probabilities = expert_probabilities(num_experts, zeta=zeta)
        for name, (c3, algorithm) in plan.items():
            found = mixture_risk(problem, algorithm, probabilities=probabilities, horizon=1e6)
            report(f"mixture: {num_experts} experts, {name}: {found.num_diverged} diverge")
            risks = [float(f"{risk:.4g}") for risk in found.total.at(np.array([1e3, 1e4, 1e5, 1e6]))]
            rows.append(_mixture_row("risk", num_experts, probabilities[-1], name, c3, risks, found.num_diverged))
    return rows


RUN_EXPERIMENTS: dict[str, Callable[[Report], list[Row]]] = {
    "moments": moments,
    "mixture": mixture,
}


def _four(problem: LeastSquares, *, batch_size: int) -> list[Algorithm]:
    return [
        sgd(problem, batch_size=batch_size),
        sgd_momentum(problem, batch_size=batch_size),
        dana_constant(problem, batch_size=batch_size),
        dana_decaying(problem, kappa=KAPPA, batch_size=batch_size),
    ]


def _explicit_risks(
    features: RandomFeatures, algorithm: Algorithm, *, num_runs: int, batch_size: int, times: list[int]
) -> np.ndarray:
    """Return risks (runs, times) of runs that draw x in R^v and know nothing of the reduction."""
    rng = np.random.default_rng(2)
    theta = np.zeros((num_runs, features.weight.shape[1]))
    lanes = Lanes([dana_spec(algorithm)], theta)
    risks = []
    for t in range(1, times[-1] + 1):
        inputs, targets = features.sample_batch(num_runs * batch_size, rng)
        inputs = inputs.reshape(num_runs, batch_size, -1)
        residual = np.einsum("rbd,rd->rb", inputs, theta) - targets.reshape(num_runs, batch_size)
        lanes.update(t, np.einsum("rb,rbd->rd", residual, inputs) / batch_size)
        if t in times:
            risks.append([features.risk(row) for row in theta])
    return np.array(risks).T


def _moment_rows(
    form: str, name: str, d: int, batch_size: int, times: list[int], risk: np.ndarray, exact: np.ndarray
) -> list[Row]:
    mean, error = risk.mean(axis=0), risk.std(axis=0, ddof=1) / len(risk) ** 0.5
    return [
        {
            "form": form,
            "algorithm": name,
            "d": d,
            "batch_size": batch_size,
            "time": t,
            "exact": float(f"{e:.5g}"),
            "mean": float(f"{m:.5g}"),
            "ratio": round(float(m / e), 4),
            "standard_errors": round(float((m - e) / s), 2),
        }
        for t, m, e, s in zip(times, mean, exact, error, strict=True)
    ]


def _mixture_row(
    kind: str,
    num_experts: int,
    probability: float,
    name: str,
    c3: float,
    risks: Sequence[float | str],
    num_diverged: int,
) -> Row:
    return {
        "kind": kind,
        "experts": num_experts,
        "least_probability": float(f"{probability:.4g}"),
        "algorithm": name,
        "c3": float(f"{c3:.4g}"),
        "c3_over_root_p": float(f"{c3 / probability**0.5:.3g}") if kind == "threshold" else "",
        **{f"risk_1e{k}": risk for k, risk in zip((3, 4, 5, 6), risks, strict=True)},
        "num_diverged": num_diverged,
    }
