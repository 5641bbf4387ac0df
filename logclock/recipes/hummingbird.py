"""How does the final risk depend on kappa, for one expert and for many? The study's "hummingbird", for one core.

The study: alpha = 1, beta = -0.3, v = 10,000, d = 5,000, a million updates, no noise, no weight decay, a constant
learning rate 1e-3 min(1, B / tr K), delta = 6, Adam with betas (0.99, 0.999); one expert, or 1,000 with zeta = 1.

Changed here: v and d, and the number of updates. The sparse case has 100 experts at batch 1 instead of 1,000 at batch
10, so that the rarest is active about as rarely (in 0.19 % of the updates against 0.13 %), and a learning rate that
grows as d^(-1/2): an update whose coordinates all have about the same size moves the prediction by lr d^(1/2). With the
study's rate at d = 16, rare experts do not get anywhere in 400,000 updates, and nothing is seen of what they do later.

References: Ferbach et al. 2026, arXiv:2602.05298, released code (jax/).
"""

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from logclock.algorithms import AdamwSpec, AdanaSpec, DanaMk4Spec, DanaStarMk4Spec
from logclock.config import to_dict
from logclock.config.registry import suggestion
from logclock.recipes.plrf import Row
from logclock.rules import Spec
from logclock.theory import RandomFeatures, expert_probabilities, random_features, simulate_features

__all__ = [
    "BASELINE",
    "CONDITIONS",
    "Condition",
    "final_risks",
    "hummingbird",
    "load_condition",
    "optimizers",
    "rows",
    "table",
]

ALPHA, BETA = 1.0, -0.3
PEAK_LR = 1e-3
DELTA = 6.0
ADAM_BETAS = (0.99, 0.999)
SEED = 42
BASELINE = "adamw"

KAPPAS = tuple(round(0.1 * i, 1) for i in range(11))
"""The theory's threshold is 1 / (2 alpha) = 0.5."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
    """One panel of the experiment.

    Args:
        num_features: d.
        ambient_dim: v.
        num_experts: m; expert i gets an example with probability proportional to i^-zeta, zeta = 1.
        batch_size: B.
        num_steps: Updates; no schedule depends on it.
        clips: Bounds of Dana-MK4 to try.
        star_clips: Bounds of Dana-Star-MK4 to try.
        clipped_kappas: Damping exponents of Dana-MK4.
        kappas: Damping exponents of ADANA and Dana-Star-MK4.
        peak_lr: The learning rate is peak_lr min(1, B / tr K).
    """

    num_features: int
    ambient_dim: int
    num_experts: int
    batch_size: int
    num_steps: int
    clips: tuple[float, ...]
    star_clips: tuple[float, ...]
    clipped_kappas: tuple[float, ...]
    kappas: tuple[float, ...] = KAPPAS
    peak_lr: float = PEAK_LR

    def problem(self) -> RandomFeatures:
        """Draw the features."""
        sizes = {"num_features": self.num_features, "ambient_dim": self.ambient_dim}
        return random_features(ALPHA, BETA, **sizes, seed=SEED)


CONDITIONS = {
    "dense": Condition(
        num_features=500,
        ambient_dim=1000,
        num_experts=1,
        batch_size=10,
        num_steps=300_000,
        clips=(0.25, 1.0, 4.0),
        star_clips=(),
        clipped_kappas=(0.0, 0.2, 0.4, 0.6),
    ),
    "sparse": Condition(
        num_features=16,
        ambient_dim=32,
        num_experts=100,
        batch_size=1,
        num_steps=120_000,
        peak_lr=0.03,
        clips=(0.5,),
        star_clips=(0.5,),
        clipped_kappas=(0.6,),
        kappas=(0.0, 0.5, 0.6, 0.8, 1.0),
    ),
}
"""What is run; `small` versions for tests are made with dataclasses.replace."""


def optimizers(condition: Condition) -> dict[str, Spec]:
    """Return the optimizers of a condition by label, such as `dana-mk4 clip 0.25 kappa 0.6`.

    ADANA has the released code's gain 1 + (1 + t)^(1 - kappa): in the study's toy it is Dana-MK4 with clip 1000.
    """
    trace = float((np.arange(1, condition.ambient_dim + 1) ** (-2 * ALPHA)).sum())
    lr = condition.peak_lr * min(1.0, condition.batch_size / trace)
    beta1, beta2 = ADAM_BETAS
    specs: dict[str, Spec] = {BASELINE: AdamwSpec(lr=lr, ema1=1 - beta1, ema2=1 - beta2, weight_decay=0.0)}
    for kappa in condition.kappas:
        specs[f"adana kappa {kappa:g}"] = AdanaSpec(lr=lr, kappa=kappa, delta=DELTA, gain_offset=1.0)
    for clip, kappa in itertools.product(condition.clips, condition.clipped_kappas):
        specs[f"dana-mk4 clip {clip:g} kappa {kappa:g}"] = DanaMk4Spec(lr=lr, kappa=kappa, delta=DELTA, clip_snr=clip)
    for clip, kappa in itertools.product(condition.star_clips, condition.kappas):
        label = f"dana-star-mk4 clip {clip:g} kappa {kappa:g}"
        specs[label] = DanaStarMk4Spec(lr=lr, kappa=kappa, delta=DELTA, clip_snr=clip)
    return specs


def hummingbird(
    out: Path,
    *,
    names: Sequence[str] = tuple(CONDITIONS),
    num_steps: int | None = None,
    message: Callable[[str], None] = print,
) -> None:
    """Run conditions and write OUT/NAME.json for each; finished ones are left alone, interrupted ones go on.

    Args:
        out: Directory of the results.
        names: Which conditions.
        num_steps: Another number of updates.
        message: Where progress is told.

    Raises:
        ValueError: There is no such condition.
    """
    for name in names:
        if name not in CONDITIONS:
            known = ", ".join(CONDITIONS)
            raise ValueError(f"unknown condition {name!r}.{suggestion(name, CONDITIONS)} Known: {known}.")
    for name in names:
        condition = CONDITIONS[name]
        if num_steps is not None:
            condition = dataclasses.replace(condition, num_steps=num_steps)
        path = out / f"{name}.json"
        if path.is_file():
            message(f"{name}: {path} is there already")
            continue
        _run(name, condition, path, message)


def _run(name: str, condition: Condition, path: Path, message: Callable[[str], None]) -> None:
    features, specs = condition.problem(), optimizers(condition)
    labels = list(specs)

    def tell(t: int, risk: np.ndarray) -> None:
        best = int(np.nanargmin(np.where(np.isfinite(risk), risk, np.inf)))
        message(f"{name}: {t:,} of {condition.num_steps:,} updates, best {labels[best]} at {risk[best]:.4g}")

    state = path.with_suffix(".state.npz")
    result = simulate_features(
        features,
        specs,
        num_steps=condition.num_steps,
        seed=SEED,
        batch_size=condition.batch_size,
        probabilities=expert_probabilities(condition.num_experts, zeta=1.0),
        checkpoint=state,
        progress=tell,
    )
    data = {
        "condition": to_dict(condition),
        "seed": SEED,
        "irreducible_risk": features.least_squares().irreducible_risk,
        "initial_risk": float(result.risk[0, 0]),
        "time": result.time.astype(int).tolist(),
    }
    curves = {label: [_plain(r) for r in row] for label, row in zip(labels, result.risk, strict=True)}
    _write(path, data, curves)
    state.unlink(missing_ok=True)


def _write(path: Path, data: Mapping[str, Any], curves: Mapping[str, list[float | None]]) -> None:
    """Write a condition as JSON with a line for each curve."""
    lines = [f'"{key}": {json.dumps(value)}' for key, value in data.items()]
    risks = [f'  "{label}": {json.dumps(curve)}' for label, curve in curves.items()]
    lines.append('"risk": {\n' + ",\n".join(risks) + "\n}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _plain(risk: float) -> float | None:
    """Round to what the figures need; None where a run has left the range of its numbers."""
    return float(f"{risk:.5g}") if np.isfinite(risk) else None


def load_condition(path: Path) -> dict[str, Any]:
    """Return what `hummingbird` wrote."""
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def final_risks(data: Mapping[str, Any]) -> dict[tuple[str, float | None], float]:
    """Return the last risk by method and kappa (None for the baseline), inf where a run has left every bound."""
    found = {}
    for label, curve in data["risk"].items():
        method, _, kappa = label.partition(" kappa ")
        found[method, float(kappa) if kappa else None] = float("inf") if curve[-1] is None else curve[-1]
    return found


def table(data: Mapping[str, Any]) -> str:
    """Return final risks as a Markdown table, a line per method and a column per kappa; a dash where none was run."""
    found = final_risks(data)
    kappas = sorted({kappa for _, kappa in found if kappa is not None})
    lines = [
        f"| method | {' | '.join(f'{kappa:g}' for kappa in kappas)} |",
        "|---" * (1 + len(kappas)) + "|",
        f"| {BASELINE} | " + " | ".join([_shown(found[BASELINE, None])] * len(kappas)) + " |",
    ]
    for method in dict.fromkeys(method for method, kappa in found if kappa is not None):
        cells = [_shown(found[method, kappa]) if (method, kappa) in found else "-" for kappa in kappas]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _shown(risk: float) -> str:
    return f"{risk:.4f}" if risk < 1 else f"{risk:.3g}"


def rows(name: str, data: Mapping[str, Any]) -> list[Row]:
    """Return the table of a condition: final risks, also over the baseline's, with and without the irreducible part."""
    found, floor = final_risks(data), data["irreducible_risk"]
    baseline = found[BASELINE, None]
    return [
        {
            "condition": name,
            "method": method,
            "kappa": "" if kappa is None else f"{kappa:g}",
            "updates": data["time"][-1],
            "risk": risk,
            "over_adamw": float(f"{risk / baseline:.4g}"),
            "excess_over_adamw": float(f"{(risk - floor) / (baseline - floor):.4g}"),
        }
        for (method, kappa), risk in found.items()
    ]
