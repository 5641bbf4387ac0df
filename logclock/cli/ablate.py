"""What does `logclock ablate` do, from the name of an experiment to its table and figures?"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from logclock.analysis import Comparison, compare
from logclock.cli.compare import ensure_named_dataset
from logclock.cli.reporting import rebuild_report
from logclock.config import override
from logclock.recipes.ablations import get_ablation
from logclock.records import Ledger
from logclock.report import arm_drawing, export_drawings, horizon_drawing
from logclock.sweep import Arm, check_num_jobs, run_sweep
from logclock.train import Display

__all__ = ["ablate", "report_ablations"]

HORIZON = "horizon-"
"""Prefix of the experiments that differ in length alone, which share a figure."""


def ablate(
    names: Sequence[str],
    *,
    out: str | os.PathLike[str],
    display: Callable[[], Display],
    seeds: Sequence[int] | None = None,
    steps: int | None = None,
    num_jobs: int | None = None,
    overrides: Sequence[str] = (),
    data_root: str | Path | None = None,
    command: str | None = None,
    message: Callable[[str], None] = print,
) -> int:
    """Run experiments one after another, each in `out/NAME`, and report each from its records.

    Args:
        names: Of `recipes.ablations.ABLATIONS`.
        out: Directory of all of them. Runs that it holds are not made again.
        display: Opens the display of progress, once per experiment.
        seeds: Instead of each experiment's own; the first sweeps the learning rate.
        steps: Updates of every run, with every schedule made for that many; None for the experiment's own.
        num_jobs: Runs at a time; None for what fits on the machine.
        overrides: `PATH=VALUE` for every run.
        data_root: Where datasets and corpora lie.
        command: What the user typed, for the records.
        message: Told what is about to happen.

    Returns:
        The exit code: 0, or 130 after a signal.

    Raises:
        ValueError: There is no such experiment.
    """
    check_num_jobs(num_jobs)
    experiments = {name: get_ablation(name) for name in names}
    for name, experiment in experiments.items():
        directory = Path(out) / name
        config = next(iter(experiment.arms.values()))(0, steps)
        ensure_named_dataset(config, root=data_root, message=message)
        message(
            f"{name}: {experiment.question} {len(experiment.arms)} arms, {len(experiment.multipliers)} learning rates "
            f"or more, {config.total_steps} steps"
        )
        with display() as shown:
            outcome = run_sweep(
                _with_overrides(experiment.arms, overrides),
                multipliers=experiment.multipliers,
                extensions=experiment.extensions,
                seeds=experiment.seeds if seeds is None else seeds,
                steps=steps,
                tags={"study": name, "baseline": experiment.baseline},
                out=directory,
                display=shown,
                num_jobs=num_jobs,
                data_root=data_root,
                command=command,
            )
        if outcome.was_stopped:
            message("stopped; the same command goes on from the checkpoints")
            return 130
    report_ablations(names, out=out)
    return 0


def _with_overrides(arms: Mapping[str, Arm], overrides: Sequence[str]) -> dict[str, Arm]:
    def changed(arm: Arm) -> Arm:
        return lambda seed, steps: override(arm(seed, steps), overrides)

    return {label: changed(arm) for label, arm in arms.items()}


def report_ablations(names: Sequence[str], *, out: str | os.PathLike[str]) -> None:
    """Print the table of each experiment and write its page and figure, and that of the horizons, from the records."""
    horizons: dict[float, Comparison] = {}
    for name in names:
        directory = Path(out) / name
        experiment = get_ablation(name)
        rebuild_report(directory)
        comparison = compare(Ledger(directory / "ledger.jsonl").records())
        drawing = arm_drawing(comparison, question=experiment.question, labels=list(experiment.arms))
        export_drawings([drawing], directory)
        if name.startswith(HORIZON):
            horizons[float(name.removeprefix(HORIZON))] = comparison
    if len(horizons) > 1:
        export_drawings([horizon_drawing(dict(sorted(horizons.items())))], out)
