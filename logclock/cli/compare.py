"""What does `logclock compare` do, from the names of optimizers to a report?"""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from logclock.analysis import gather
from logclock.cli.reporting import rebuild_report
from logclock.config import override
from logclock.config.registry import suggestion
from logclock.data import corpora, data_root, ensure_dataset
from logclock.recipes import get_recipe
from logclock.records import Ledger, RunRecord
from logclock.sweep import Job, check_num_jobs, default_num_jobs, run_jobs, run_sweep, with_lr_multiplier
from logclock.train import Display, RunConfig, open_dataset
from logclock.train.record import new_record

__all__ = ["Request", "compare", "ensure_named_dataset", "overrides_for", "resolve"]

SWEEP_FRACTION = 5
"""A run of the sweep is this many times shorter than a main run, so five of them cost one."""

EXTENSIONS = 2
"""How often the grid of learning rates may grow while an optimizer is best at its edge; all then get one more run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What to compare, as the user said it.

    Args:
        optimizers: Names that the recipe knows; the first is the baseline.
        recipe: Name of the recipe.
        seeds: Each is one run per optimizer.
        heads: The recipe's size; None for its own.
        steps: Updates of a main run; None for the recipe's.
        overrides: `PATH=VALUE` for every optimizer, or `OPTIMIZER:PATH=VALUE` for one.
        lr_multipliers: Factors on the recipe's learning rates to sweep; None for no sweep.
        sweep_steps: Updates of a run of the sweep; None for a fifth of a main run.
    """

    optimizers: Sequence[str]
    recipe: str = "demo"
    seeds: Sequence[int] = (0,)
    heads: int | None = None
    steps: int | None = None
    overrides: Sequence[str] = ()
    lr_multipliers: Sequence[float] | None = None
    sweep_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("optimizers", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"{name} must be distinct and at least one, got {', '.join(map(str, values)) or 'none'}."
                )

    def build(self, optimizer: str, seed: int, steps: int | None) -> RunConfig:
        """Return the run of one optimizer."""
        return resolve(
            self.recipe,
            optimizer,
            seed=seed,
            heads=self.heads,
            steps=self.steps if steps is None else steps,
            overrides=overrides_for(optimizer, self.optimizers, self.overrides),
        )


def resolve(
    recipe: str,
    optimizer: str,
    *,
    seed: int = 0,
    heads: int | None = None,
    steps: int | None = None,
    overrides: Sequence[str] = (),
) -> RunConfig:
    """Return a recipe's run for an optimizer, with overrides applied."""
    dials = {"heads": heads, "total_steps": steps}
    given = {name: value for name, value in dials.items() if value is not None}
    return override(get_recipe(recipe)(optimizer, seed=seed, **given), overrides)


def compare(
    request: Request,
    *,
    out: str | os.PathLike[str],
    display: Callable[[], Display],
    num_jobs: int | None = None,
    data_root: str | Path | None = None,
    command: str | None = None,
    message: Callable[[str], None] = print,
) -> int:
    """Train every optimizer on the same tokens in the same order, print who won, and write `out/report.html`.

    Args:
        request: What to compare.
        out: Directory of the study. Runs that it holds are not made again, interrupted ones go on.
        display: Opens the display of progress, once per phase.
        num_jobs: Runs at a time; None for what fits on the machine.
        data_root: Where datasets and corpora lie.
        command: What the user typed, for the records.
        message: Told what is about to happen and what came out.

    Returns:
        The exit code: 0 if every main run came to its end, 1 if one failed, 130 after a signal.

    Raises:
        ValueError: A name is unknown, or `out` holds runs that do not belong to this comparison.
    """
    check_num_jobs(num_jobs)
    tags = {"study": request.recipe, "baseline": request.optimizers[0]}
    settings = [request.build(optimizer, seed, None) for seed in request.seeds for optimizer in request.optimizers]
    for config in settings:
        ensure_named_dataset(config, root=data_root, message=message)
    multipliers: dict[str, float] = {}
    if request.lr_multipliers is not None:
        steps = request.sweep_steps or max(settings[0].total_steps // SWEEP_FRACTION, 1)
        message(_sweep_budget(request, steps, settings[0].total_steps))
        with display() as shown:
            sweep = run_sweep(
                {name: functools.partial(request.build, name) for name in request.optimizers},
                multipliers=request.lr_multipliers,
                extensions=EXTENSIONS,
                seeds=request.seeds[:1],
                steps=steps,
                phase="sweep",
                tags=tags,
                out=out,
                display=shown,
                num_jobs=num_jobs,
                data_root=data_root,
                command=command,
            )
        if sweep.was_stopped:
            return _stopped(message)
        multipliers = {name: trial.multiplier for name, trial in sweep.winners.items()}
        message(_sweep_outcome(request, multipliers, sweep.on_edge))
    jobs = [
        Job(
            config=with_lr_multiplier(request.build(name, seed, None), multipliers.get(name, 1.0)),
            label=name,
            tags=tags | {"phase": "main"},
        )
        for seed in request.seeds
        for name in request.optimizers
    ]
    message(_main_budget(request, settings[0], num_jobs or default_num_jobs(settings)))
    records = _run(jobs, out, display, num_jobs, data_root, command)
    if _was_stopped(records):
        return _stopped(message)
    rebuild_report(out)
    return 1 if any(record.status == "failed" for record in records) else 0


def ensure_named_dataset(config: RunConfig, *, root: str | Path | None, message: Callable[[str], None]) -> None:
    """Get and prepare the dataset of a run if it is missing and its name says how, as `essentials-bpe-2048` does.

    Args:
        config: The run.
        root: Where datasets and corpora lie.
        message: Told what is done.
    """
    name = config.data.dataset
    corpus, tokenizer, vocab_size = [*name.rsplit("-", 2), "", ""][:3]
    is_known = corpus in {known.name for known in corpora()} and tokenizer in ("bpe", "byte") and vocab_size.isdigit()
    if is_known and not (data_root(root) / "datasets" / name).exists():
        vocabulary = int(vocab_size) if tokenizer == "bpe" else None
        ensure_dataset(corpus, tokenizer=tokenizer, vocab_size=vocabulary, root=root, progress=message)


def overrides_for(optimizer: str, optimizers: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return the assignments that concern an optimizer, without their prefix.

    Args:
        optimizer: One of them.
        optimizers: All that take part.
        overrides: `PATH=VALUE` for every optimizer, or `OPTIMIZER:PATH=VALUE` for one.

    Raises:
        ValueError: A prefix is no optimizer that takes part.
    """
    chosen = []
    for assignment in overrides:
        prefix, colon, rest = assignment.partition(":")
        if not colon or "=" in prefix:
            chosen.append(assignment)
        elif prefix not in optimizers:
            hint = suggestion(prefix, optimizers)
            raise ValueError(f"{assignment!r}: {prefix!r} is not compared.{hint} Here: {', '.join(optimizers)}.")
        elif prefix == optimizer:
            chosen.append(rest)
    return chosen


def _run(
    jobs: Sequence[Job],
    out: str | os.PathLike[str],
    display: Callable[[], Display],
    num_jobs: int | None,
    root: str | Path | None,
    command: str | None,
) -> list[RunRecord]:
    _check_belongs(jobs, out, root)
    with display() as shown:
        return run_jobs(jobs, out=out, display=shown, num_jobs=num_jobs, data_root=root, command=command)


def _check_belongs(jobs: Sequence[Job], out: str | os.PathLike[str], root: str | Path | None) -> None:
    """Raise before hours of training if the report could not merge what the ledger holds with what is planned."""
    planned = [
        new_record(job.config, open_dataset(job.config, root=root), label=job.label, tags=job.tags | {"phase": "main"})
        for job in jobs
        if job.tags["phase"] == "main"
    ]
    ids = {record.run_id for record in planned}
    kept = [record for record in Ledger(Path(out) / "ledger.jsonl").records() if record.run_id not in ids]
    if not planned or not kept:
        return
    try:
        gather([*planned, *kept])
    except ValueError as error:
        raise ValueError(
            f"{out} holds runs of another comparison: {error} Choose another directory with --out."
        ) from None


def _sweep_budget(request: Request, steps: int, main_steps: int) -> str:
    assert request.lr_multipliers is not None
    factors = ", ".join(f"{factor:g}" for factor in request.lr_multipliers)
    share = len(request.lr_multipliers) * steps / main_steps
    return (
        f"learning-rate sweep: {len(request.lr_multipliers)} multipliers ({factors}) x {steps} steps for each of "
        f"{len(request.optimizers)} optimizers, {share:.2g} times the steps of a main run each; up to {EXTENSIONS} "
        "more runs for each while one is best at the edge of its grid"
    )


def _sweep_outcome(request: Request, multipliers: Mapping[str, float], on_edge: Sequence[str]) -> str:
    """Return what the sweep chose.

    Raises:
        RuntimeError: No run of an optimizer finished.
    """
    for name in request.optimizers:
        if name not in multipliers:
            raise RuntimeError(f"no run of the learning-rate sweep of {name!r} finished. Try smaller multipliers.")
    chosen = ", ".join(f"{name} {factor:g}" for name, factor in multipliers.items())
    edge = f"; at the edge of the grid, so a wider one may be better: {', '.join(on_edge)}" if on_edge else ""
    return f"best multipliers: {chosen}{edge}"


def _main_budget(request: Request, config: RunConfig, num_jobs: int) -> str:
    num_runs = len(request.optimizers) * len(request.seeds)
    tokens = config.total_steps * config.tokens_per_step
    return (
        f"recipe {request.recipe}: {num_runs} runs of {config.total_steps} steps ({tokens / 1e6:.3g} M tokens, "
        f"{config.model.size().total_params / 1e6:.3g} M parameters), {min(num_jobs, num_runs)} at a time"
    )


def _was_stopped(records: Sequence[RunRecord]) -> bool:
    return any(record.status == "running" for record in records)


def _stopped(message: Callable[[str], None]) -> int:
    message("stopped; the same command goes on from the checkpoints")
    return 130
