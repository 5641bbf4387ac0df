"""What does `logclock calibrate` do?"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from logclock.analysis import LadderResult

__all__ = ["calibrate"]

Ledger = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
NOMINAL, TOLERANCE = 0.05, 0.01


def calibrate(
    *,
    ladder: Ledger = None,
    repetitions: int = 2000,
    seeds: int = 3,
    sizes: int = 5,
    optimizers: int = 5,
    effect: float = 0.03,
    sampling_error: float = 0.0044,
    noise: float = 1.0,
    curvature: float = 1.0,
    seed: int = 0,
) -> int:
    """Simulate an optimizer against itself and print how often each kind of verdict is wrong, and right.

    Nothing is trained: noise and curvature are those of the micro ladder, or of a ladder's ledger. The verdicts are
    those of `compare`, `ladder` and `ablate`. Exit code 1 if one is wrong in more than 6 % beyond chance.

    Args:
        ladder: Directory of a ladder whose ledger says how noisy runs are; the micro ladder's numbers if not said.
        repetitions: How often everything is drawn; 2000 take about two minutes, 100 are a quick look.
        seeds: Runs of every winner.
        sizes: How many of the sizes, the smallest first.
        optimizers: How many are judged together, beside the baseline; also the arms of an experiment.
        effect: In nats, for the power: at every size; from 0 to twice as much along the sizes for a trend.
        sampling_error: Standard error of a difference from the validation set, in nats.
        noise: Factor on the noise of all runs.
        curvature: Factor on the curvature of the loss in the learning rate.
        seed: Of the simulation.
    """
    from logclock.analysis.calibration import MEASURED, measured_noise
    from logclock.analysis.calibration import calibrate as simulate
    from logclock.report.calibration_table import calibration_table
    from logclock.report.tables import plain_text

    used = MEASURED if ladder is None else measured_noise(_analysed(ladder))
    if not 1 <= sizes <= len(used.own):
        raise ValueError(f"sizes must lie between 1 and {len(used.own)}, the sizes whose noise is known, got {sizes}.")
    if noise < 0 or curvature < 0:
        raise ValueError(f"noise and curvature must be >= 0, got {noise:g} and {curvature:g}. They are factors.")
    used = dataclasses.replace(
        used,
        own=tuple(noise * sd for sd in used.own[:sizes]),
        shared=tuple(noise * sd for sd in used.shared[:sizes]),
        curvature=curvature * used.curvature,
        params=used.params[:sizes],
        compute=used.compute[:sizes],
    )
    found = simulate(
        used,
        repetitions=repetitions,
        num_seeds=seeds,
        num_optimizers=optimizers,
        effect=effect,
        sampling_error=sampling_error,
        seed=seed,
    )
    print(f"noise of a run by size: {_listed(used.own)} nats; common to a seed: {_listed(used.shared)}")
    print(
        f"curvature {used.curvature:.3f} nats per squared e-fold of the learning rate, "
        f"+-{100 * used.curvature_spread:.0f} % between sizes"
    )
    print(f"{seeds} seeds, {optimizers} optimizers beside the baseline, {repetitions} repetitions, seed {seed}\n")
    print(plain_text(calibration_table(found)))
    wrong = [kind for kind, rate in found.false_positives.items() if rate.value - 2 * rate.error > NOMINAL + TOLERANCE]
    if wrong:
        print(f"\nwrong in more than {NOMINAL + TOLERANCE:.0%}: {', '.join(wrong)}")
    return 1 if wrong else 0


def _analysed(folder: Path) -> "LadderResult":
    from logclock.analysis import analyse_ladder
    from logclock.records import Ledger as Records

    path = folder / "ledger.jsonl"
    if not path.exists():
        raise FileNotFoundError(f"no ledger at {path}. Give the --out directory of a ladder.")
    return analyse_ladder(Records(path).records(), forms=(), num_samples=0)


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
