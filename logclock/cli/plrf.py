"""What can be typed after `logclock plrf`? Risks, phases and exponents on power-law random features."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from logclock.config.files import read_json, write_whole

__all__ = ["PLRF_COMMANDS"]

Algorithms = Annotated[tuple[str, ...], tyro.conf.arg(metavar="ALGORITHM ...", help_behavior_hint="")]
Betas = Annotated[tuple[float, ...], tyro.conf.arg(metavar="FLOAT ...")]
Seed = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
Name = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]

AT_LEAST_ONE = ("num_features", "batch_size", "num_sizes", "smallest", "num_steps", "num_runs")
POSITIVE = ("alpha", "ambient_ratio", "horizon", "fraction", "c3", "delta", "log_step", "max_compute")
NOT_NEGATIVE = ("label_noise", "seed")
LARGEST = {"num_features": 10**8, "smallest": 10**8, "num_sizes": 64, "seed": 2**64 - 1}
"""Where arrays or numbers end; elsewhere 1e15, beyond which nothing here ends in time."""

SMALLEST_LOG_STEP = 1e-5

RESULTS = ("condition", "seed", "irreducible_risk", "initial_risk", "time", "risk")
"""Keys of the file of a condition of `hummingbird`."""

REMOVE = "Remove it: the condition is then run again."

ALL_ALGORITHMS = ("sgd", "sgd-m", "schedule-free", "dana-constant", "dana-decaying")


def risk(
    *,
    alpha: float = 1.0,
    beta: float = 0.7,
    algorithms: Algorithms = ALL_ALGORITHMS,
    num_features: int = 1000,
    ambient_ratio: float = 4.0,
    seed: Seed = None,
    horizon: float = 1e8,
    batch_size: int = 1,
    fraction: float = 0.5,
    c3: float = 0.5,
    delta: float = 6.0,
    label_noise: float = 0.0,
    log_step: float = 0.02,
    out: Path = Path("runs/plrf"),
) -> int:
    """Compute the exact expected risk over time, in seconds whatever the horizon: OUT/risk.csv and OUT/risk.svg.

    Args:
        alpha: Decay of the data.
        beta: Decay of the target.
        algorithms: Any of sgd, sgd-m, schedule-free, dana-constant, dana-decaying; all if not said.
        num_features: d.
        ambient_ratio: v / d.
        seed: Draw random features with it, which costs a decomposition of a v x d matrix; the surrogate if not said.
        horizon: Number of updates.
        batch_size: B.
        fraction: gamma2 Tr K / B.
        c3: DANA's gain, gamma3 = c3 gamma2 B / d or c3 gamma2 t^(-1 / 2 alpha).
        delta: DANA's memory, Delta(t) = delta / (delta + t).
        label_noise: Standard deviation of noise on the targets.
        log_step: Step of the integration in ln(1 + t).
        out: Directory to write to.
    """
    from logclock.cli.plrf_figures import risk_drawing
    from logclock.recipes.plrf import Row, write_rows
    from logclock.report.drawing import standalone
    from logclock.theory import binned, binned_surrogate, get_algorithm, log_time_risk, random_plrf

    _check_numbers(
        alpha=alpha,
        beta=beta,
        num_features=num_features,
        ambient_ratio=ambient_ratio,
        seed=seed,
        horizon=horizon,
        batch_size=batch_size,
        fraction=fraction,
        c3=c3,
        delta=delta,
        label_noise=label_noise,
        log_step=log_step,
    )
    if log_step < SMALLEST_LOG_STEP:
        raise ValueError(f"--log-step must be at least {SMALLEST_LOG_STEP:g}, got {log_step}: it makes too many steps.")
    _check_algorithms(algorithms)
    dimensions = {"num_features": num_features, "ambient_dim": round(ambient_ratio * num_features)}
    if seed is None:
        problem = binned_surrogate(alpha, beta, label_noise=label_noise, **dimensions)
    else:
        problem = binned(random_plrf(alpha, beta, label_noise=label_noise, seed=seed, **dimensions))
    curves = {}
    for name in algorithms:
        algorithm = get_algorithm(
            name, problem, alpha=alpha, batch_size=batch_size, fraction=fraction, c3=c3, delta=delta
        )
        curves[name] = log_time_risk(problem, algorithm, horizon=horizon, log_step=log_step, batch_size=batch_size)
        print(f"{name}: {'diverged' if curves[name].has_diverged else f'P = {curves[name].risk[-1]:.4g}'}")
    decades = [10.0**k for k in range(math.floor(math.log10(horizon)) + 1)]
    _print_table(
        ("t", *algorithms),
        [(f"{t:.0e}", *(f"{float(curves[name].at(t)):.4g}" for name in algorithms)) for t in decades],
        frozenset(range(len(algorithms) + 1)),
    )
    rows: list[Row] = [
        {"algorithm": name, "time": float(f"{t:.6g}"), "risk": float(f"{p:.8g}")}
        for name, curve in curves.items()
        for t, p in zip(curve.time, curve.risk, strict=True)
    ]
    drawing = risk_drawing(curves, floor=problem.irreducible_risk, num_features=num_features)
    return _finish(write_rows(rows, out / "risk.csv"), _write(out / "risk.svg", standalone(drawing)))


def phase_diagram(*, out: Path = Path("runs/plrf")) -> int:
    """Draw the phases and the loss exponents over (alpha, beta): OUT/phase-diagram.svg and OUT/phase-diagram.csv.

    Args:
        out: Directory to write to.
    """
    from logclock.cli.plrf_figures import phase_drawing
    from logclock.recipes.plrf import phase_rows, write_rows
    from logclock.report.drawing import standalone

    table = write_rows(phase_rows(), out / "phase-diagram.csv")
    return _finish(table, _write(out / "phase-diagram.svg", standalone(phase_drawing())))


def exponents(
    *,
    alpha: float = 1.0,
    betas: Betas = (0.3, 0.7, 1.3),
    algorithms: Algorithms = ALL_ALGORITHMS,
    num_sizes: int = 15,
    smallest: int = 100,
    max_compute: float = 1e12,
    c3: float = 1.0,
    delta: float = 6.0,
    out: Path = Path("runs/plrf"),
) -> int:
    """Measure compute-optimal exponents next to the predicted ones: OUT/exponents.csv, envelopes.csv, envelopes.svg.

    Args:
        alpha: Decay of the data.
        betas: Decays of the target.
        algorithms: Any of sgd, sgd-m, schedule-free, dana-constant, dana-decaying; all if not said.
        num_sizes: How many sizes d, each twice the one before.
        smallest: The first size.
        max_compute: Greatest d t; the exponents are those of the two windows of two decades below it.
        c3: DANA's gain.
        delta: DANA's memory.
        out: Directory to write to.
    """
    from logclock.cli.plrf_figures import envelope_drawing
    from logclock.recipes.plrf import Row, exponent_rows, write_rows
    from logclock.report.drawing import standalone
    from logclock.theory import Envelope

    _check_numbers(alpha=alpha, num_sizes=num_sizes, smallest=smallest, max_compute=max_compute, c3=c3, delta=delta)
    for beta in betas:
        _check_numbers(betas=beta)
    if smallest * 2 ** (num_sizes - 1) >= 2**62:
        raise ValueError(f"{num_sizes} sizes from {smallest} on, each twice the one before, exceed 2^62. Use fewer.")
    if not betas:
        raise ValueError("--betas needs at least one number, such as 0.7.")
    _check_algorithms(algorithms)
    envelopes: dict[tuple[float, str], Envelope] = {}

    def keep(beta: float, algorithm: str, envelope: Envelope) -> None:
        envelopes[beta, algorithm] = envelope

    rows = exponent_rows(
        alpha,
        betas,
        algorithms=algorithms,
        num_sizes=num_sizes,
        smallest=smallest,
        windows=((max_compute / 1e4, max_compute / 1e2), (max_compute / 1e2, max_compute)),
        c3=c3,
        delta=delta,
        keep=keep,
    )
    _print_rows(rows)
    points: list[Row] = [
        {"beta": beta, "algorithm": name, "compute": float(f"{f:.6g}"), "risk": float(f"{p:.6g}"), "size": round(d)}
        for (beta, name), envelope in envelopes.items()
        for f, p, d in zip(envelope.compute, envelope.risk, envelope.size, strict=True)
    ]
    drawing = envelope_drawing(envelopes, alpha=alpha)
    return _finish(
        write_rows(rows, out / "exponents.csv"),
        write_rows(points, out / "envelopes.csv"),
        _write(out / "envelopes.svg", standalone(drawing)),
    )


def experiment(name: Name, /, *, out: Path = Path("runs/plrf")) -> int:
    """Run a whole experiment of the theory and write its table, OUT/NAME.csv; exponents.md as well for exponents.

    Args:
        name: spectrum, slopes, exponents, stability, moments, mixture or batches; two minutes at most on an idle core.
        out: Directory to write to.
    """
    from logclock.config.registry import suggestion
    from logclock.recipes.plrf import EXPERIMENTS, SHOWN_WINDOWS, exponent_table, write_rows
    from logclock.recipes.plrf_batches import BATCH_EXPERIMENTS
    from logclock.recipes.plrf_runs import RUN_EXPERIMENTS

    experiments = EXPERIMENTS | RUN_EXPERIMENTS | BATCH_EXPERIMENTS
    if name not in experiments:
        hint = suggestion(name, experiments)
        raise ValueError(f"unknown experiment {name!r}.{hint} Known: {', '.join(experiments)}.")
    rows = experiments[name](_report)
    _print_rows(rows)
    written = [write_rows(rows, out / f"{name}.csv")]
    if name == "exponents":
        written.append(_write(out / "exponents.md", exponent_table(rows, windows=SHOWN_WINDOWS)))
    return _finish(*written)


def simulate(
    *,
    alpha: float = 1.0,
    beta: float = 0.7,
    algorithms: Algorithms = ("sgd", "dana-constant", "dana-decaying"),
    num_features: int = 100,
    ambient_ratio: float = 4.0,
    seed: int = 0,
    num_steps: int = 10_000,
    num_runs: int = 1,
    batch_size: int = 1,
    fraction: float = 0.5,
    c3: float = 0.5,
    delta: float = 6.0,
    label_noise: float = 0.0,
    out: Path = Path("runs/plrf"),
) -> int:
    """Run the optimizer `dana` on random features beside the exact expected risk: OUT/simulate.csv and simulate.svg.

    Args:
        alpha: Decay of the data.
        beta: Decay of the target.
        algorithms: Any of sgd, sgd-m, schedule-free, dana-constant, dana-decaying.
        num_features: d.
        ambient_ratio: v / d.
        seed: Of the features and of the data.
        num_steps: Updates.
        num_runs: Independent runs on the same features.
        batch_size: B.
        fraction: gamma2 Tr K / B.
        c3: DANA's gain.
        delta: DANA's memory, Delta(t) = delta / (delta + t).
        label_noise: Standard deviation of noise on the targets.
        out: Directory to write to.
    """
    from logclock.cli.plrf_figures import overlay_drawing
    from logclock.recipes.plrf import Row, write_rows
    from logclock.report.drawing import standalone
    from logclock.theory import dana_spec, exact_risk, geometric_steps, get_algorithm, random_plrf, simulate_modes

    _check_numbers(
        alpha=alpha,
        beta=beta,
        num_features=num_features,
        ambient_ratio=ambient_ratio,
        seed=seed,
        num_steps=num_steps,
        num_runs=num_runs,
        batch_size=batch_size,
        fraction=fraction,
        c3=c3,
        delta=delta,
        label_noise=label_noise,
    )
    _check_algorithms(algorithms)
    problem = random_plrf(
        alpha,
        beta,
        num_features=num_features,
        ambient_dim=round(ambient_ratio * num_features),
        seed=seed,
        label_noise=label_noise,
    )
    times = geometric_steps(num_steps)
    runs, curves = {}, {}
    rows: list[Row] = []
    for name in algorithms:
        algorithm = get_algorithm(
            name, problem, alpha=alpha, batch_size=batch_size, fraction=fraction, c3=c3, delta=delta
        )
        options: dict[str, Any] = {"num_steps": num_steps, "batch_size": batch_size, "record_at": times}
        print(f"{name}: {num_runs} x {num_steps} updates", flush=True)
        curves[name] = exact_risk(problem, algorithm, **options)
        runs[name] = simulate_modes(problem, dana_spec(algorithm), num_runs=num_runs, seed=seed, **options)
        mean = runs[name].risk.mean(axis=0)
        print(f"{name}: mean of the runs {mean[-1]:.4g}, exact {curves[name].risk[-1]:.4g}")
        rows += [
            {"algorithm": name, "time": t, "mean": float(f"{m:.6g}"), "exact": float(f"{p:.6g}")}
            for t, m, p in zip(times, mean, curves[name].risk, strict=True)
        ]
    drawing = overlay_drawing(runs, curves, floor=problem.irreducible_risk)
    return _finish(write_rows(rows, out / "simulate.csv"), _write(out / "simulate.svg", standalone(drawing)))


def hummingbird(
    names: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="CONDITION ...")] = (
        "dense",
        "sparse",
    ),
    /,
    *,
    num_steps: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None,
    out: Path = Path("runs/plrf"),
) -> int:
    """Run ADANA's family over kappa on one expert and on many, and compare the final risks with AdamW's.

    Conditions that OUT holds already are not run again, interrupted ones go on. Ends with a table, OUT/hummingbird.csv
    and .svg, and OUT/NAME.md for every condition.

    Args:
        names: dense or sparse; together they take three minutes of an idle core.
        num_steps: Other than the condition's number of updates.
        out: Directory of the results.
    """
    from logclock.cli.plrf_figures import hummingbird_drawing
    from logclock.recipes import hummingbird as recipe
    from logclock.recipes.plrf import write_rows
    from logclock.report.drawing import standalone

    _check_numbers(num_steps=num_steps)
    for name in names:
        _check_results(out / f"{name}.json")
    recipe.hummingbird(out, names=names, num_steps=num_steps, message=_report)
    results = {name: recipe.load_condition(out / f"{name}.json") for name in names}
    rows = [row for name, data in results.items() for row in recipe.rows(name, data)]
    _print_rows(rows)
    return _finish(
        *(_write(out / f"{name}.md", recipe.table(data)) for name, data in results.items()),
        write_rows(rows, out / "hummingbird.csv"),
        _write(out / "hummingbird.svg", standalone(hummingbird_drawing(results))),
    )


PLRF_COMMANDS: dict[str, Callable[..., int]] = {
    "risk": risk,
    "phase-diagram": phase_diagram,
    "exponents": exponents,
    "experiment": experiment,
    "simulate": simulate,
    "hummingbird": hummingbird,
}


def _check_numbers(**values: float | int | None) -> None:
    """Raise a ValueError for a number out of range; the theory's own checks say more about those within."""
    for name, value in values.items():
        if value is None:
            continue
        largest = LARGEST.get(name, 1e15)
        smallest = 1 if name in AT_LEAST_ONE else 0 if name in POSITIVE + NOT_NEGATIVE else -largest
        is_open = name in POSITIVE
        if not (smallest < value if is_open else smallest <= value) or not value <= largest:
            begin = f"exceed {smallest}" if is_open else f"be at least {smallest:g}"
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option} must {begin} and be at most {largest:.6g}, got {value}.")


def _check_algorithms(algorithms: Sequence[str]) -> None:
    from logclock.config.registry import suggestion
    from logclock.theory import ALGORITHMS

    if not algorithms:
        raise ValueError(f"--algorithms needs at least one of {', '.join(ALGORITHMS)}.")
    for name in algorithms:
        if name not in ALGORITHMS:
            hint = suggestion(name, ALGORITHMS)
            raise ValueError(f"unknown algorithm {name!r}.{hint} Known: {', '.join(ALGORITHMS)}.")


def _check_results(path: Path) -> None:
    """Raise a ValueError if the results of a condition that are there already cannot be read."""
    if not path.exists():
        return
    data = read_json(path, advice=REMOVE)
    missing = [key for key in RESULTS if key not in data]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}, so it holds no results of a condition. {REMOVE}")


def _report(line: str) -> None:
    print(line, flush=True)


def _print_rows(rows: Sequence[dict[str, Any]]) -> None:
    numeric = frozenset(i for i, value in enumerate(rows[0].values()) if not isinstance(value, str))
    _print_table(tuple(rows[0]), [tuple(map(_shown, row.values())) for row in rows], numeric)


def _shown(value: str | int | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], numeric: frozenset[int]) -> None:
    from logclock.report.tables import Table, plain_text

    print(plain_text(Table(columns=columns, rows=tuple(rows), numeric=numeric)))


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    return path


def _finish(*paths: Path) -> int:
    print(f"wrote {', '.join(map(str, paths))}")
    return 0
