"""What does `logclock ladder` do, from names and sizes to a report?"""

import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from logclock.cli.compare import ensure_named_dataset, overrides_for, resolve
from logclock.cli.reporting import rebuild_report
from logclock.recipes import get_variant
from logclock.records import Ledger
from logclock.sweep import (
    Axis,
    Executor,
    Ladder,
    LadderPlan,
    LocalExecutor,
    RayExecutor,
    check_num_jobs,
    ladder_configs,
    measure_costs,
    plan_ladder,
    run_ladder,
)
from logclock.train import Display, RunConfig

__all__ = ["LadderRequest", "parse_duration", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderRequest:
    """What to climb, as the user said it.

    Args:
        recipe: Name of the recipe.
        optimizers: Names that the recipe knows; the first is the baseline.
        sizes: Numbers of heads.
        overrides: `PATH=VALUE` for every optimizer, or `OPTIMIZER:PATH=VALUE` for one.
        axes: `PATH=VALUE,VALUE` likewise.
        searches_all: Whether to search the documented space of every optimizer too.
        searches_class_rates: Whether the rate of embedding, head and gains belongs to that space.
        fields: Of the `Ladder`: tokens_per_param, multipliers, extensions, seeds, tracks, follows.
    """

    recipe: str
    optimizers: Sequence[str]
    sizes: Sequence[int]
    overrides: Sequence[str] = ()
    axes: Sequence[str] = ()
    searches_all: bool = False
    searches_class_rates: bool = False
    fields: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def build(self, optimizer: str, size: int, seed: int, steps: int | None) -> RunConfig:
        """Return the run of one optimizer at one size."""
        overrides = overrides_for(optimizer, self.optimizers, self.overrides)
        return resolve(self.recipe, optimizer, seed=seed, heads=size, steps=steps, overrides=overrides)

    def ladder(self) -> Ladder:
        """Return the ladder."""
        axes = {optimizer: self._axes(optimizer) for optimizer in self.optimizers}
        return Ladder(
            build=self.build,
            optimizers=tuple(self.optimizers),
            sizes=tuple(self.sizes),
            axes={optimizer: found for optimizer, found in axes.items() if found},
            **self.fields,  # type: ignore[arg-type]
        )

    def _axes(self, optimizer: str) -> tuple[Axis, ...]:
        given = tuple(Axis.parse(text) for text in overrides_for(optimizer, self.optimizers, self.axes))
        if not self.searches_all:
            return given
        smallest = self.build(optimizer, min(self.sizes), 0, None)
        known = get_variant(optimizer).search_space(smallest, class_rates=self.searches_class_rates)
        return given + tuple(axis for axis in known if axis.path not in {axis.path for axis in given})


def run(
    request: LadderRequest,
    *,
    out: str | os.PathLike[str],
    display: Callable[[], Display],
    budget_seconds: float | None = None,
    dry_run: bool = False,
    num_jobs: int | None = None,
    ray_address: str | None = None,
    data_root: str | Path | None = None,
    command: str | None = None,
    message: Callable[[str], None] = print,
) -> int:
    """Print what a ladder will cost; if it fits the budget, make its runs and report what came out.

    Args:
        request: The ladder.
        out: Directory of the study. Runs that it holds are not made again, interrupted ones go on.
        display: Opens the display of progress.
        budget_seconds: How long the runs that are left may take at most; None for any time.
        dry_run: Whether to stop after the plan.
        num_jobs: Runs at a time; None for what fits.
        ray_address: Of the Ray cluster to run on; None for this machine.
        data_root: Where datasets and corpora lie.
        command: What the user typed, for the records.
        message: Told the plan and the result.

    Returns:
        The exit code: 0 if every run came to its end, 130 after a signal.

    Raises:
        ValueError: The ladder does not fit the budget, or `out` holds runs of another ladder.
        RuntimeError: A run failed.
    """
    check_num_jobs(num_jobs)
    ladder = request.ladder()
    configs = ladder_configs(ladder)
    for config in configs:
        ensure_named_dataset(config, root=data_root, message=message)
    ledger = Ledger(Path(out) / "ledger.jsonl")
    with open_executor(ray_address) as executor:
        num_jobs = executor.default_num_jobs(configs) if num_jobs is None else num_jobs
        cores = LocalExecutor().default_num_jobs(configs)
        message(f"timing {len(configs)} runs on this machine, a few steps each")
        costs = measure_costs(configs, num_jobs=min(cores, num_jobs), data_root=data_root)
        plan = plan_ladder(ladder, costs=costs, records=ledger.records(), num_jobs=num_jobs)
        message(plan_text(plan, recipe=request.recipe))
        if budget_seconds is not None:
            check_budget(plan, budget_seconds)
        if dry_run:
            return 0
        with display() as shown:
            outcome = run_ladder(
                ladder,
                tags={"study": request.recipe, "baseline": ladder.optimizers[0]},
                out=out,
                display=shown,
                num_jobs=num_jobs,
                data_root=data_root,
                command=command,
                executor=executor,
            )
    if outcome.was_stopped:
        message("stopped; the same command goes on from the checkpoints")
        return 130
    rebuild_report(out)
    return 0


def parse_duration(text: str) -> float:
    """Return the seconds that `3h`, `2h30m`, `90m` or `45s` stands for.

    Raises:
        ValueError: It stands for nothing.
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip())
    if match is None or not text.strip() or not any(match.groups()):
        raise ValueError(f"cannot read the duration {text!r}. Write hours, minutes and seconds as in 3h, 2h30m or 90m.")
    seconds = sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True))
    if not seconds > 0:
        raise ValueError(f"a duration must be > 0, got {text!r}.")
    return seconds


def open_executor(ray_address: str | None) -> AbstractContextManager[Executor]:
    """Return where the runs' processes live: on this machine, or on a Ray cluster until the context ends."""
    return contextlib.nullcontext(LocalExecutor()) if ray_address is None else RayExecutor(ray_address)


def plan_text(plan: LadderPlan, *, recipe: str) -> str:
    """Return the planned runs and their cost as a table."""
    ladder = plan.ladder
    fewest, most = ladder.round_range
    rows = [["size", "P", "D", "steps", "tokens", "C (6 P)", *(f"{name} s" for name in ladder.optimizers), "done"]]
    compute = []
    for size in ladder.sizes:
        config = ladder.config(ladder.optimizers[0], size)
        model, tokens = config.model.size(), config.total_steps * config.tokens_per_step
        compute.append(model.compute_6p(tokens=tokens))
        numbers = [f"{model.non_embedding_params:,}", f"{model.total_params:,}", f"{config.total_steps:,}"]
        seconds = [f"{plan.costs[name, size].seconds:.0f}" for name in ladder.optimizers]
        done = sum(plan.done.get((name, size), 0) for name in ladder.optimizers)
        rows.append([str(size), *numbers, f"{tokens / 1e6:.3g} M", f"{compute[-1]:.2e}", *seconds, str(done)])
    per_size = sum(ladder.stages(num_rounds=fewest)), sum(ladder.stages(num_rounds=most))
    grid = " ".join(f"x{multiplier:g}" for multiplier in ladder.multipliers)
    lines = [
        f"ladder of recipe {recipe}: {len(ladder.optimizers)} optimizers at {len(ladder.sizes)} sizes, "
        f"{ladder.tokens_per_param:g} tokens per total parameter, "
        f"{math.log10(compute[-1] / compute[0]):.1f} decades of compute",
        f"learning rates {grid} {'of the winner one size below' if ladder.follows else 'of the recipe'}, "
        f"{fewest} to {most} more trials each, seeds {' '.join(map(str, ladder.seeds))}; tracks: "
        f"{', '.join(ladder.tracks)}",
        f"per optimizer and size: {per_size[0]} to {per_size[1]} runs, the same for all",
        "",
        *_aligned(rows),
        "",
        f"left: {_left(plan, fewest)}, at most {_left(plan, most)}; {plan.num_jobs} at a time",
    ]
    if plan.load > BUSY:
        lines.append(f"note: this machine is busy with something else; at rest about {1 / plan.load:.0%} of that")
    return "\n".join(lines)


def _left(plan: LadderPlan, num_rounds: int) -> str:
    return f"{plan.num_runs(num_rounds=num_rounds)} runs in {duration(plan.seconds(num_rounds=num_rounds))}"


BUSY = 1.25
"""Elapsed over CPU time from which a plan says that the machine is busy."""


def check_budget(plan: LadderPlan, budget_seconds: float) -> None:
    """Raise for a ladder that may not end within a budget, with smaller ones that would."""
    if plan.fits(budget_seconds):
        return
    most = plan.seconds(num_rounds=plan.ladder.round_range[1])
    fitting = [f"{options} (at most {duration(seconds)})" for options, seconds in plan.alternatives(budget_seconds)]
    advice = f"What fits: {'; '.join(fitting)}." if fitting else "No part of it fits; use smaller sizes."
    raise ValueError(
        f"the ladder takes up to {duration(most)}, the budget is {duration(budget_seconds)}. {advice} "
        "Or give it a larger --budget: the runs may be stopped at any time and go on."
    )


def duration(seconds: float) -> str:
    """Return a duration as a person says it."""
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes // 60:.0f} h {minutes % 60:02.0f} min"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
