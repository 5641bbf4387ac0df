"""What does `logclock compare --protocol fantastic` do: every hyperparameter in turn, the same budget for all?"""

import functools
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from logclock.cli.compare import Request, ensure_named_dataset
from logclock.cli.reporting import rebuild_report
from logclock.recipes import get_variant
from logclock.sweep import Descent, SweepOutcome, Trial, check_num_jobs, run_sweep
from logclock.train import Display

__all__ = ["DEFAULTS", "compare_fantastic", "descent_text"]

DEFAULTS = "defaults"
"""Folder of the track without tuning."""


def compare_fantastic(
    request: Request,
    *,
    budget: int,
    threshold: float,
    out: str | os.PathLike[str],
    display: Callable[[], Display],
    class_rates: bool = False,
    num_jobs: int | None = None,
    data_root: str | Path | None = None,
    command: str | None = None,
    message: Callable[[str], None] = print,
) -> int:
    """Tune every optimizer by coordinate descent with one budget, run all seeds there and with defaults, report both.

    Trials are whole runs: rankings turn round during a run, and only its end counts. The tuned track is a comparison
    in `out`, that of the recipe's own settings one in `out/defaults`.

    Args:
        request: What to compare; without a sweep of its own.
        budget: Trials of every optimizer.
        threshold: Nats that a change must gain to be kept.
        out: Directory of the study. Runs that it holds are not made again, interrupted ones go on.
        display: Opens the display of progress, once per track.
        class_rates: Whether the rate of embedding, head and gains is searched too.
        num_jobs: Runs at a time; None for what fits on the machine.
        data_root: Where datasets and corpora lie.
        command: What the user typed, for the records.
        message: Told what is about to happen and what came out.

    Returns:
        The exit code: 0, or 130 after a signal.

    Raises:
        RuntimeError: A run failed, so the budgets would not be equal.
    """
    check_num_jobs(num_jobs)
    arms = {name: functools.partial(request.build, name) for name in request.optimizers}
    first = {name: arm(request.seeds[0], None) for name, arm in arms.items()}
    for config in first.values():
        ensure_named_dataset(config, root=data_root, message=message)
    rules = {
        name: Descent(
            axes=get_variant(name).search_space(config, class_rates=class_rates), budget=budget, threshold=threshold
        )
        for name, config in first.items()
    }
    for name, rule in rules.items():
        axes = ", ".join(f"{axis.path} ({', '.join(axis.values)})" for axis in rule.axes)
        message(f"{name}: {budget} trials over the learning rate{f', {axes}' if axes else ''}")
    common = {"seeds": request.seeds, "num_jobs": num_jobs, "data_root": data_root, "command": command}
    tags = {"study": request.recipe, "baseline": request.optimizers[0]}
    with display() as shown:
        tuned = run_sweep(arms, rules=rules, tags=tags, out=out, display=shown, **common)  # type: ignore[arg-type]
    if not tuned.was_stopped:
        with display() as shown:
            plain = run_sweep(
                arms,
                tracks=("defaults",),
                tags=tags,
                out=Path(out) / DEFAULTS,
                display=shown,
                **common,  # type: ignore[arg-type]
            )
    if tuned.was_stopped or plain.was_stopped:
        message("stopped; the same command goes on from where it was")
        return 130
    message(descent_text(tuned, rules))
    rebuild_report(out)
    rebuild_report(Path(out) / DEFAULTS)
    return 0


def descent_text(outcome: SweepOutcome, rules: Mapping[str, Descent]) -> str:
    """Return where every descent ended, by what it gained, and why it did."""
    lines = []
    for name, losses in outcome.losses.items():
        rule = rules[name]
        start = losses[rule.grid()[0]]
        if name not in outcome.winners:
            lines.append(f"{name}: all {len(losses)} trials diverged")
            continue
        winner = outcome.winners[name]
        gain = start - losses[winner]
        gained = f"{gain:.4f} nats below" if math.isfinite(gain) else "a loss, unlike"
        ended = "nothing left that gains enough" if rule.has_ended(losses) else "the budget is spent"
        lines.append(f"{name}: {_described(winner)}, {gained} the recipe's settings; {len(losses)} trials, {ended}")
    return "\n".join(lines)


def _described(trial: Trial) -> str:
    settings = [f"{path}={value}" for path, value in trial.settings]
    return " ".join([f"learning rate x{trial.multiplier:g}", *settings])
