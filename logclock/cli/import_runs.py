"""What does `logclock import` do, from the files of other programs to a report?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from logclock.analysis.study import known_lr, planned_steps
from logclock.cli.reporting import rebuild_report
from logclock.curves import Reading
from logclock.curves import import_runs as read_runs
from logclock.curves.naming import facts_of
from logclock.curves.roles import ROLES
from logclock.curves.smoothing import DEFAULT_WINDOW
from logclock.records import RunRecord
from logclock.report.tables import Table, fixed, number, plain_text, without_empty_columns

__all__ = ["import_runs"]

Sources = Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="SOURCE ...", help_behavior_hint="")]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
Pattern = Annotated[str | None, tyro.conf.arg(metavar="NAME|PATTERN", help_behavior_hint="")]
Number = Annotated[str | None, tyro.conf.arg(metavar="NUMBER", help_behavior_hint="")]
Columns = Annotated[tuple[str, ...], tyro.conf.arg(metavar="MEANING=NAME ...", help_behavior_hint="")]
FormatName = Annotated[str | None, tyro.conf.arg(metavar="FORMAT", help_behavior_hint="")]


def import_runs(
    sources: Sources,
    /,
    *,
    out: Path = Path("runs/imported"),
    label: Pattern = None,
    seed: Number = None,
    size: Name = None,
    params: Number = None,
    tokens_per_step: Number = None,
    lr: Number = None,
    total_steps: Number = None,
    column: Columns = (),
    format: FormatName = None,
    loss: Literal["auto", "validation", "training"] = "auto",
    window: float = DEFAULT_WINDOW,
    baseline: Name = None,
) -> int:
    """Compare finished runs of other programs: read their curves, write records and a report.

    A source is a file or a folder: a chart or history of W&B (CSV, JSON lines, Parquet), a folder of TensorBoard's
    event files, trainer_state.json of Hugging Face, metrics.csv of Lightning, a text log of nanoGPT, build-nanogpt,
    llm.c or modded-nanogpt, or any CSV with a row of names. Their formats are told by name and content.

    What the files do not say is said by a flag, by a column, or by a pattern of the path, in this order: a pattern
    comes before a flag, and a flag before a column. Several sizes make a ladder, several learning rates of one label a
    sweep. Runs of earlier imports into OUT stay. Nothing is written unless all could be read and may be compared.

    Args:
        sources: Files and folders of runs.
        out: Directory of the study: ledger.jsonl and report.html.
        label: What the runs are called, usually their optimizer, or a pattern of their path or name, such as
            'runs/{optimizer}-s{seed}-{size}'. Fields: {label} or {optimizer}, {seed}, {size}, {params}, {lr},
            {tokens_per_step}, {total_steps}; {_} stands for anything. If not said, the run's name without its seed.
        seed: Tells apart runs of one label; counted as 0 if nothing says it.
        size: Name of the rung of a ladder; the parameters if not said.
        params: Parameters of the model, such as 124M; for compute, 6 x parameters x tokens.
        tokens_per_step: Batch size in tokens, such as 491520 or 0.5M.
        lr: Peak learning rate; the largest that was logged if not said.
        total_steps: Updates that were planned; the last step logged if not said. A run that ends before has failed.
        column: Columns by meaning, where they are not known by name: loss=train/ce seed=config.seed. Meanings: step,
            loss, validation_loss, lr, grad_norm, tokens, run, label, seed, size, params, tokens_per_step, total_steps.
        format: Of all sources, if it cannot be told: tensorboard, trainer-state, wandb-csv, lightning-csv, csv,
            history, parquet, nanogpt, llm.c, modded-nanogpt or build-nanogpt.
        loss: What is compared. auto takes the validation loss if every run has one, and the training loss if none has.
        window: Share of the training, at its end, over which a training loss is averaged.
        baseline: The label to compare with; the first if not said.
    """
    given = {
        "seed": seed,
        "size": size,
        "params": params,
        "tokens_per_step": tokens_per_step,
        "lr": lr,
        "total_steps": total_steps,
    }
    reading = Reading(
        label=label,
        facts=facts_of(given, where="import"),
        columns=_columns(column),
        format=format,
        loss=loss,
        window=window,
        baseline=baseline,
    )
    records = read_runs(sources, out, reading)
    print(plain_text(_runs_table(records)))
    rebuild_report(out)
    return 0


def _columns(assignments: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for assignment in assignments:
        role, equals, name = assignment.partition("=")
        if not equals or not name or role in columns:
            wrong = "stands twice" if role in columns else "is not MEANING=NAME"
            raise ValueError(
                f"--column {assignment!r} {wrong}. Write the meaning and the column, such as loss=train/ce. Meanings: "
                f"{', '.join(ROLES)}."
            )
        columns[role] = name
    return columns


def _runs_table(records: Sequence[RunRecord]) -> Table:
    """Return what was understood, run by run, for the user to check before any verdict."""
    columns = ("label", "seed", "size", "lr", "steps", "points", "compared loss", "at its end", "status", "from")
    rows = tuple(
        (
            record.label,
            str(record.seed) if record.provenance["imported_seed"] == "said" else "",
            record.tags.get("size", ""),
            "" if (lr := known_lr(record)) is None else number(lr),
            f"{planned_steps(record):,}",
            f"{len(record.train['step']):,}",
            record.config["loss"],
            fixed(record.metrics.get("final_validation_loss"), 4),
            record.status,
            f"{record.provenance['imported_from']} ({record.provenance['imported_format']})",
        )
        for record in records
    )
    return without_empty_columns(Table(columns=columns, rows=rows, numeric=frozenset({1, 3, 4, 5, 7})))
