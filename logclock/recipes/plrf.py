"""Which tables say whether the theory holds on power-law random features? One function per experiment.

`logclock plrf experiment NAME --out experiments/2026-11-24-plrf` writes them. Problems are surrogates with v = 4 d,
binned, at B = 1, gamma2 Tr K = 0.5, delta = 6, unless said otherwise.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from logclock.theory import (
    ALGORITHMS,
    Algorithm,
    Envelope,
    LeastSquares,
    RiskCurve,
    binned_surrogate,
    compute_envelope,
    compute_exponents,
    dana_constant,
    dana_decaying,
    fit_exponents,
    get_algorithm,
    limit_risk,
    log_time_risk,
    phase,
    piece_exponents,
    random_plrf,
    smallest_eigenvalue,
    spectral_densities,
    stability_threshold,
    time_slope,
)

__all__ = [
    "EXPERIMENTS",
    "SHOWN_WINDOWS",
    "Row",
    "exponent_rows",
    "exponent_table",
    "exponents",
    "phase_rows",
    "size_curves",
    "slopes",
    "spectrum",
    "stability",
    "write_rows",
]

Row = dict[str, str | int | float]
"""One line of a table: values by column, the same columns in every line."""

Report = Callable[[str], None]

RATIO = 4
"""v / d."""

SMALLEST = 100
NUM_SIZES = 22
MAX_COMPUTE = 1e14
WINDOWS = ((1e8, 1e10), (1e10, 1e12), (1e12, 1e14))
C3 = 1.0
C3_BELOW_LINE = 0.5

MAIN_PROBLEMS = {1.0: (0.3, 0.7, 1.3), 0.7: (0.3, 0.6, 1.0), 1.5: (0.3, 0.8, 1.9)}
"""beta by alpha, one in each of the phases Ia, II and III."""

BELOW_LINE = {0.4: (0.3, 1.0), 0.27: (0.8,)}
"""The same for alpha < 1/2, phases Ib, IVa and IVb, where momentum has nothing to gain."""

SHOWN_WINDOWS = {1.0: 1e12, 0.7: 1e14, 1.5: 1e14, 0.4: 1e12, 0.27: 1e12}
"""By alpha, where the window of two decades ends that the documentation shows."""

SHARED = ("sgd-m", "schedule-free")
"""Algorithms whose predictions are SGD's."""

SLOPE_SIZE = 10_000_000

# Divergence near the threshold is slow: in units of d^(2 alpha), horizons of 1e2 find thresholds twice too large.
HORIZON_FACTOR = 1e4


def spectrum(report: Report = print, *, num_features: int = 400, num_draws: int = 5) -> list[Row]:
    """E2: does the deterministic equivalent predict what random features have?

    Rows compare F_0, the smallest eigenvalue and the total masses of the densities with draws of W or with sums.

    Args:
        report: Told what is done.
        num_features: d of the drawn problems; v = 4 d.
        num_draws: How many W.
    """
    rows: list[Row] = []
    v = RATIO * num_features
    for alpha, beta in ((1.0, 0.3), (1.0, 0.7), (1.0, 1.3), (0.4, 0.7), (0.3, 1.0)):
        report(f"spectrum: alpha {alpha:g}, beta {beta:g}, {num_draws} draws at d = {num_features}")
        draws = [random_plrf(alpha, beta, num_features=num_features, ambient_dim=v, seed=s) for s in range(num_draws)]
        floors, edges = ([p.irreducible_risk for p in draws], [float(p.eigenvalues.min()) for p in draws])
        floor = limit_risk(alpha, beta, num_features=num_features, ambient_dim=v)
        edge = smallest_eigenvalue(alpha, num_features=num_features, ambient_dim=v)
        rows.append(_comparison("limit_risk", alpha, beta, num_features, floor, float(np.mean(floors))))
        rows.append(_comparison("smallest_eigenvalue", alpha, beta, num_features, edge, float(np.mean(edges))))
    alpha, beta, d = 1.0, 0.7, 200
    report(f"spectrum: densities at alpha {alpha:g}, beta {beta:g}, d = {d}")
    x = np.geomspace(1e-6, 4.0, 4000)
    densities = spectral_densities(x, alpha, beta, num_features=d, ambient_dim=RATIO * d)
    j = np.arange(1, RATIO * d + 1, dtype=float)
    learnable = float((j ** (-2 * alpha - 2 * beta)).sum()) - limit_risk(
        alpha, beta, num_features=d, ambient_dim=RATIO * d
    )
    squares = float((j ** (-4 * alpha)).sum() * (1 + 1 / d) + (j ** (-2 * alpha)).sum() ** 2 / d)  # E Tr K^2
    for name, density, expected in (
        ("forcing_mass", densities.forcing, learnable),
        ("eigenvalue_count", densities.eigenvalue, float(d)),
        ("kernel_mass", densities.kernel, squares),
    ):
        rows.append(_comparison(name, alpha, beta, d, densities.integral(density), expected))
    return rows


def slopes(report: Report = print, *, num_features: int = SLOPE_SIZE) -> list[Row]:
    """E3: do risk curves fall with the predicted powers of time, alpha = 1?

    Args:
        report: Told what is done.
        num_features: d.
    """
    early, late = (1e4, 1e5), (1e5, 1e6)
    plan: list[tuple[float, str, str, tuple[float, float]]] = [
        (0.3, "sgd", "target", late),
        (0.3, "sgd-m", "target", late),
        (0.3, "schedule-free", "target", late),
        (0.3, "dana-decaying", "target", late),
        (0.7, "sgd", "target", early),
        (0.7, "dana-decaying", "target", early),
        (0.7, "sgd", "distortion", (1e11, 3e11)),
        (0.7, "dana-decaying", "distortion", (1e8, 3e8)),
        (1.3, "sgd", "noise", early),
        (1.3, "dana-decaying", "noise", (1e4, 3e4)),
        (1.3, "sgd", "distortion", (1e9, 1e10)),
        (1.3, "dana-decaying", "distortion", (1e7, 1e8)),
    ]
    rows: list[Row] = []
    curves: dict[tuple[float, str], RiskCurve] = {}
    for beta, name, piece, window in plan:
        if (beta, name) not in curves:
            report(f"slopes: beta {beta:g}, {name}, d = {num_features:.0e}")
            problem = _problem(1.0, beta, num_features)
            algorithm = get_algorithm(name, problem, alpha=1.0, c3=C3)
            curves[beta, name] = log_time_risk(problem, algorithm, horizon=1e12)
        later, sooner = (piece_exponents(name, 1.0, beta, x)[piece] for x in (0.9, 0.8))  # type: ignore[index]
        rows.append(
            {
                "alpha": 1.0,
                "beta": beta,
                "phase": phase(1.0, beta),
                "algorithm": name,
                "piece": piece,
                "from": window[0],
                "to": window[1],
                "slope": round(time_slope(curves[beta, name], window=window), 4),
                "predicted": round((later - sooner) / 0.1, 4),
            }
        )
    return rows


def exponents(report: Report = print) -> list[Row]:
    """E4, the main table: measured and predicted compute-optimal exponents, alpha = 1, 0.7, 1.5 and below 1/2.

    One more line has DANA-constant at alpha = 1, beta = 1.3 on f = 1e14 to 1e16, beyond the jump of its best size.

    Args:
        report: Told what is done.
    """
    rows: list[Row] = []
    for problems, c3 in ((MAIN_PROBLEMS, C3), (BELOW_LINE, C3_BELOW_LINE)):
        for alpha, betas in problems.items():
            rows += exponent_rows(alpha, betas, c3=c3, report=report)
    rows += exponent_rows(
        1.0, (1.3,), algorithms=("dana-constant",), num_sizes=26, windows=((1e14, 1e16),), report=report
    )
    return rows


def stability(report: Report = print) -> list[Row]:
    """E5: up to which c3 is momentum stable, in gamma3 = c3 gamma2 / d and in gamma3 = c3 gamma2 t^-1/(2 alpha)?

    Then at which time DANA-decaying with c3 = 1 diverges at alpha = 1 for exponents kappa below and above 1/2.

    Args:
        report: Told what is done.
    """
    rows: list[Row] = []
    plan = [(0.7, fraction, d) for fraction in (0.25, 0.5, 1.0) for d in (1_000, 10_000, 100_000)]
    plan += [(1.0, 0.5, 10_000), (1.5, 0.5, 10_000)]
    for alpha, fraction, d in plan:
        problem = _problem(alpha, 1.0, d)
        horizon = HORIZON_FACTOR * d ** (2 * alpha)
        for name in ("dana-constant", "dana-decaying"):
            threshold = stability_threshold(_momentum_family(name, problem, alpha, fraction), problem, horizon=horizon)
            report(f"stability: alpha {alpha:g}, gamma2 Tr {fraction:g}, d = {d}, {name}: c3 < {threshold:.3g}")
            rows.append(_stability_row(name, alpha, 1 / (2 * alpha), fraction, d, horizon, threshold, math.inf))
    problem = _problem(1.0, 0.3, 1_000_000)
    for kappa in (0.3, 0.4, 0.45, 0.5, 0.75, 1.0):
        curve = log_time_risk(problem, dana_decaying(problem, kappa=kappa, c3=1.0), horizon=1e9)
        lost = curve.time[~np.isfinite(curve.risk)]
        when = float(f"{lost[0]:.3g}") if len(lost) else math.inf
        report(f"stability: kappa {kappa:g} diverges at t = {when:g}")
        rows.append(_stability_row("dana-decaying", 1.0, kappa, 0.5, 1_000_000, 1e9, 1.0, when))
    return rows


EXPERIMENTS: dict[str, Callable[[Report], list[Row]]] = {
    "spectrum": spectrum,
    "slopes": slopes,
    "exponents": exponents,
    "stability": stability,
}


def size_curves(
    algorithm: str,
    alpha: float,
    beta: float,
    *,
    num_sizes: int = NUM_SIZES,
    smallest: int = SMALLEST,
    max_compute: float = MAX_COMPUTE,
    c3: float = C3,
    delta: float = 6.0,
) -> dict[int, RiskCurve]:
    """Return the risk curves of an algorithm at sizes d = smallest 2^i, each up to the greatest compute.

    Args:
        algorithm: A name of `ALGORITHMS`.
        alpha: Decay of the data.
        beta: Decay of the target.
        num_sizes: How many sizes.
        smallest: The first.
        max_compute: d t at which curves end.
        c3: DANA's.
        delta: DANA's.
    """
    curves = {}
    for d in (smallest * 2**i for i in range(num_sizes)):
        problem = _problem(alpha, beta, d)
        built = get_algorithm(algorithm, problem, alpha=alpha, c3=c3, delta=delta)
        curves[d] = log_time_risk(problem, built, horizon=max_compute / d)
    return curves


def exponent_rows(
    alpha: float,
    betas: Sequence[float],
    *,
    algorithms: Sequence[str] = tuple(ALGORITHMS),
    num_sizes: int = NUM_SIZES,
    smallest: int = SMALLEST,
    windows: Sequence[tuple[float, float]] = WINDOWS,
    c3: float = C3,
    delta: float = 6.0,
    report: Report = print,
    keep: Callable[[float, str, Envelope], None] = lambda beta, algorithm, envelope: None,
) -> list[Row]:
    """Return measured exponents next to the predicted ones, a row per beta, algorithm and window.

    Args:
        alpha: Decay of the data.
        betas: Decays of the target.
        algorithms: Names of `ALGORITHMS`.
        num_sizes: How many sizes.
        smallest: The first; each is twice the one before.
        windows: Least and greatest compute of each fit; curves go on to the greatest of all.
        c3: DANA's.
        delta: DANA's.
        report: Told what is done.
        keep: Given every envelope.
    """
    rows: list[Row] = []
    max_compute = max(high for _, high in windows)
    for beta in betas:
        for name in algorithms:
            report(f"exponents: alpha {alpha:g}, beta {beta:g}, {name}: {num_sizes} sizes to f = {max_compute:.0e}")
            curves = size_curves(
                name,
                alpha,
                beta,
                num_sizes=num_sizes,
                smallest=smallest,
                max_compute=max_compute,
                c3=c3,
                delta=delta,
            )
            envelope = compute_envelope(curves)
            keep(beta, name, envelope)
            predicted = compute_exponents(name, alpha, beta)
            for window in windows:
                fitted = fit_exponents(envelope, window=window)
                rows.append(
                    {
                        "alpha": alpha,
                        "beta": beta,
                        "phase": phase(alpha, beta),
                        "algorithm": name,
                        "c3": c3 if name.startswith("dana") else 0.0,
                        "from": window[0],
                        "to": window[1],
                        "eta": round(fitted.eta, 4),
                        "eta_predicted": round(predicted.eta, 4),
                        "xi": round(fitted.xi, 4),
                        "xi_predicted": round(predicted.xi, 4),
                        "status": predicted.status,
                        "points": fitted.num_points,
                    }
                )
    return rows


def exponent_table(rows: Sequence[Mapping[str, str | int | float]], *, windows: Mapping[float, float]) -> str:
    """Return the main table in Markdown: a line per problem, `eta, xi` predicted and measured per algorithm.

    Args:
        rows: Of `exponents`; values may be texts, as a CSV file gives them.
        windows: By alpha, the greatest compute of the window to show.
    """
    found: dict[tuple[float, float], dict[str, Mapping[str, str | int | float]]] = {}
    for row in rows:
        alpha, beta = float(row["alpha"]), float(row["beta"])
        if float(row["to"]) == windows[alpha]:
            found.setdefault((alpha, beta), {})[str(row["algorithm"])] = row
    columns = [(name, kind) for name in ALGORITHMS for kind in (("", "_predicted") if name not in SHARED else ("",))]
    columns.sort(key=lambda column: (list(ALGORITHMS).index(column[0]), column[1] == ""))
    heads = [f"{name} {'predicted' if kind else 'measured'}" for name, kind in columns]
    lines = ["| alpha, beta | phase | " + " | ".join(heads) + " |", "|" + "---|" * (len(columns) + 2)]
    for (alpha, beta), by_name in found.items():
        cells = [f"{float(by_name[n]['eta' + k]):.3f}, {float(by_name[n]['xi' + k]):.3f}" for n, k in columns]
        lines.append(f"| {alpha:g}, {beta:g} | {by_name['sgd']['phase']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def phase_rows() -> list[Row]:
    """Return phase, exponents and their foundation on a grid of (alpha, beta), a row per algorithm."""
    rows: list[Row] = []
    for alpha in (i / 10 for i in range(1, 21)):
        for beta in (i / 5 for i in range(-1, 11)):
            if 2 * (alpha + beta) <= 1:
                continue
            for name in ALGORITHMS:
                predicted = compute_exponents(name, alpha, beta)
                rows.append(
                    {
                        "alpha": alpha,
                        "beta": beta,
                        "phase": phase(alpha, beta),
                        "algorithm": name,
                        "eta": round(predicted.eta, 4),
                        "xi": round(predicted.xi, 4),
                        "balance": " = ".join(predicted.balance),
                        "status": predicted.status,
                    }
                )
    return rows


def write_rows(rows: Sequence[Mapping[str, str | int | float]], path: Path) -> Path:
    """Write a table as CSV and return its path; the directory is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return path


def _cell(value: str | int | float) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _problem(alpha: float, beta: float, num_features: int) -> LeastSquares:
    return binned_surrogate(alpha, beta, num_features=num_features, ambient_dim=RATIO * num_features)


def _momentum_family(name: str, problem: LeastSquares, alpha: float, fraction: float) -> Callable[[float], Algorithm]:
    if name == "dana-constant":
        return lambda c3: dana_constant(problem, fraction=fraction, c3=c3)
    return lambda c3: dana_decaying(problem, kappa=1 / (2 * alpha), fraction=fraction, c3=c3)


def _comparison(quantity: str, alpha: float, beta: float, d: int, predicted: float, found: float) -> Row:
    return {
        "quantity": quantity,
        "alpha": alpha,
        "beta": beta,
        "d": d,
        "predicted": float(f"{predicted:.5g}"),
        "found": float(f"{found:.5g}"),
        "ratio": round(predicted / found, 4),
    }


def _stability_row(
    name: str, alpha: float, kappa: float, fraction: float, d: int, horizon: float, c3: float, diverges_at: float
) -> Row:
    return {
        "algorithm": name,
        "alpha": alpha,
        "kappa": round(kappa, 4) if name == "dana-decaying" else 0.0,
        "gamma2_trace": fraction,
        "d": d,
        "horizon": float(f"{horizon:.3g}"),
        "c3": round(c3, 3),
        "diverges_at": diverges_at,
    }
