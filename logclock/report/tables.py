"""How are the numbers of a comparison written, in a terminal as on a page?"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from logclock.analysis import Comparison, Row, Study, Sweep
from logclock.analysis.compute import STEPS, TOKENS
from logclock.analysis.study import MISSING, tokens_per_step
from logclock.records import RunRecord

__all__ = [
    "Table",
    "comparison_table",
    "cost_table",
    "noise_table",
    "plain_text",
    "result_table",
    "rich_table",
    "run_table",
    "source_table",
    "sweep_point_table",
    "sweep_table",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of finished texts; every rendering shows the same.

    Args:
        columns: Headings.
        rows: One text per column.
        numeric: Which columns hold numbers and are set flush right.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int]


def result_table(comparison: Comparison) -> Table:
    """Return who won: losses, differences, verdicts, multipliers."""
    columns = (
        "optimizer",
        "peak lr",
        "final loss (sd)",
        "bits/byte",
        "difference [95 % interval]",
        "p (Holm)",
        "verdict",
        f"{comparison.convention if comparison.convention in (TOKENS, STEPS) else 'compute'} multiplier",
        "finished",
    )
    rows = tuple(
        (
            row.label,
            _peak_lr(row),
            _loss(row.final_validation_loss, row.loss_sd),
            fixed(row.bits_per_byte, 4),
            _difference(row),
            p_value(row.difference.adjusted_p if row.difference else None),
            row.verdict,
            _multiplier(row),
            row.status.replace(" finished", ""),
        )
        for row in comparison.rows
    )
    table = Table(columns=columns, rows=rows, numeric=frozenset({1, 2, 3, 4, 5, 7}))
    return without_empty_columns(table) if comparison.is_imported else table


def _peak_lr(row: Row) -> str:
    if row.peak_lr is None:
        return MISSING
    return number(row.peak_lr) + ("" if row.tables_lr_factor is None else f" (tables x{row.tables_lr_factor:g})")


def cost_table(comparison: Comparison) -> Table:
    """Return what a step costs: time, throughput, memory.

    No ratios of times: the runs were timed in different processes, with different neighbours on the machine.
    """
    columns = ("optimizer", "step", "optimizer part", "tokens/s", "optimizer state", "peak memory")
    rows = tuple(
        (
            row.label,
            seconds(row.step_seconds),
            seconds(row.optimizer_step_seconds),
            MISSING if row.tokens_per_second is None else f"{row.tokens_per_second:,.0f}",
            size(row.optimizer_state_bytes),
            size(row.peak_memory_bytes),
        )
        for row in comparison.rows
    )
    return Table(columns=columns, rows=rows, numeric=frozenset(range(1, 6)))


def noise_table(study: Study) -> Table | None:
    """Return the noise scale of the gradient beside the batch, means over runs; None if no run measured it."""
    rows = []
    for label, runs in study.main.items():
        halves = [
            _mean_of([value for run in runs if (value := run.metrics.get(name)) is not None])
            for name in ("noise_tokens_first_half", "noise_tokens")
        ]
        batch = tokens_per_step(runs[0])
        if batch is None or all(half is None for half in halves):
            continue
        tokens = [MISSING if half is None else f"{half:,.0f}" for half in halves]
        share = MISSING if halves[1] is None else f"{batch / halves[1]:.2g}"
        rows.append((label, f"{batch:,.0f}", *tokens, share))
    columns = ("optimizer", "tokens per update", "noise scale, first half", "second half", "batch / noise scale")
    return Table(columns=columns, rows=tuple(rows), numeric=frozenset(range(1, 5))) if rows else None


def _mean_of(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def sweep_table(sweeps: Sequence[Sweep]) -> Table:
    """Return what the sweep found for each optimizer."""
    columns = ("optimizer", "best lr", "final loss", "tried", "runs")
    rows = []
    for sweep in sweeps:
        best = [point for point in sweep.points if point.peak_lr == sweep.best_lr]
        rows.append(
            (
                sweep.label,
                _best(sweep),
                fixed(best[0].final_validation_loss if best else None, 4),
                f"{number(sweep.points[0].peak_lr)} to {number(sweep.points[-1].peak_lr)}",
                str(sweep.num_runs),
            )
        )
    return Table(columns=columns, rows=tuple(rows), numeric=frozenset({1, 2, 3, 4}))


def sweep_point_table(sweeps: Sequence[Sweep]) -> Table:
    """Return the final loss of every learning rate tried."""
    rows = tuple(
        (
            sweep.label,
            number(point.peak_lr),
            fixed(point.final_validation_loss, 4),
            point.status,
            "best" if point.peak_lr == sweep.best_lr else "",
        )
        for sweep in sweeps
        for point in sweep.points
    )
    return Table(
        columns=("optimizer", "peak lr", "final loss", "status", "remark"), rows=rows, numeric=frozenset({1, 2})
    )


def run_table(comparison: Comparison) -> Table:
    """Return every run of the comparison and of its sweep, with the record it came from."""
    runs = [("main", run) for row in comparison.rows for run in row.runs]
    runs += [("sweep", run) for sweep in comparison.sweeps for point in sweep.points for run in point.runs]
    columns = ("optimizer", "phase", "seed", "peak lr", "final loss", "multiplier", "last step", "status", "record")
    rows = tuple(
        (
            run.label,
            phase,
            str(run.seed),
            MISSING if run.peak_lr is None else number(run.peak_lr),
            fixed(run.final_validation_loss, 4),
            fixed(run.multiplier.value if run.multiplier else None, 3),
            MISSING if run.last_step is None else f"{run.last_step:,}",
            run.status if run.reason is None else f"{run.status}: {run.reason}",
            run.record_hash,
        )
        for phase, run in runs
    )
    table = Table(columns=columns, rows=rows, numeric=frozenset({2, 3, 4, 5, 6}))
    return without_empty_columns(table) if comparison.is_imported else table


def source_table(records: Sequence[RunRecord]) -> Table:
    """Return where imported runs came from."""
    columns = ("optimizer", "seed", "format", "source", "run", "columns", "digest")
    rows = tuple(
        (
            record.label,
            str(record.seed) if record.provenance["imported_seed"] == "said" else "not said",
            record.provenance["imported_format"],
            record.provenance["imported_from"],
            record.provenance["imported_run"],
            record.provenance["imported_columns"],
            record.provenance["imported_digest"],
        )
        for record in records
    )
    return Table(columns=columns, rows=tuple(dict.fromkeys(rows)), numeric=frozenset({1}))


def without_empty_columns(table: Table) -> Table:
    """Return a table without the columns that say nothing in any row."""
    kept = [i for i in range(len(table.columns)) if any(row[i] not in ("", MISSING) for row in table.rows)]
    return Table(
        columns=tuple(table.columns[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
        numeric=frozenset(place for place, i in enumerate(kept) if i in table.numeric),
    )


def comparison_table(comparison: Comparison) -> str:
    """Return results, costs and the sweep as aligned plain text, with the warnings below."""
    tables = [result_table(comparison)]
    if not comparison.is_imported:
        tables.append(cost_table(comparison))
    if comparison.sweeps:
        tables.append(sweep_table(comparison.sweeps))
    parts = [plain_text(table) for table in tables]
    if comparison.warnings:
        parts.append("\n".join(f"note: {warning}" for warning in comparison.warnings))
    return "\n\n".join(parts)


def plain_text(table: Table) -> str:
    """Return a table as aligned text without trailing spaces."""
    lines = [table.columns, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(_aligned(line, widths, table.numeric) for line in lines)


def rich_table(table: Table, *, title: str | None = None) -> Any:
    """Return a table as a `rich.table.Table`.

    Raises:
        ImportError: rich is not installed.
    """
    try:
        from rich.table import Table as RichTable
        from rich.text import Text
    except ImportError as error:
        raise ImportError("coloured tables need rich: pip install 'logclock[bench]'") from error
    rendered = RichTable(title=title)
    for i, column in enumerate(table.columns):
        rendered.add_column(Text(column), justify="right" if i in table.numeric else "left")
    for row in table.rows:
        rendered.add_row(*map(Text, row))  # as Text, so that no bracket is read as markup
    return rendered


def number(value: float) -> str:
    """Write a number shortly and without losing digits that people set.

    Examples:
        >>> number(0.004), number(1.5e-05), number(0.1), number(6000)
        ('4e-3', '1.5e-5', '0.1', '6000')
    """
    if value == 0 or 0.01 <= abs(value) < 1e6:
        return f"{value:.6g}"
    mantissa, exponent = f"{value:.5e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def seconds(value: float | None) -> str:
    """Write a duration in ms below a second."""
    if value is None:
        return MISSING
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def size(value: float | None) -> str:
    """Write a number of bytes in kB, MB or GB (powers of 1000).

    Examples:
        >>> size(786432), size(2883584)
        ('786 kB', '2.88 MB')
    """
    if value is None:
        return MISSING
    unit, scale = size_unit(value)
    return f"{value / scale:.3g} {unit}"


def size_unit(value: float) -> tuple[str, float]:
    """Return the unit in which a number of bytes is written, and how many bytes it is."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return unit, scale
    return "B", 1.0


def _aligned(line: Sequence[str], widths: Sequence[int], numeric: frozenset[int]) -> str:
    cells = zip(line, widths, strict=True)
    padded = [cell.rjust(width) if i in numeric else cell.ljust(width) for i, (cell, width) in enumerate(cells)]
    return "  ".join(padded).rstrip()


def fixed(value: float | None, digits: int) -> str:
    """Write a number with so many decimals."""
    return MISSING if value is None else f"{value:.{digits}f}"


def p_value(value: float | None) -> str:
    """Write a chance with two digits, more where they would hide on which side of 0.05 it is, a tiny one as a bound.

    Examples:
        >>> p_value(0.0456), p_value(0.0503), p_value(1.0), p_value(3e-9), p_value(None)
        ('0.046', '0.0503', '1', '< 1e-6', '-')
    """
    if value is None:
        return MISSING
    if value < 1e-6:
        return "< 1e-6"
    written = (float(f"{value:.{digits}g}") for digits in (2, 3, 4))
    return number(next((found for found in written if found != 0.05), value))


def _loss(value: float | None, sd: float | None) -> str:
    return fixed(value, 4) if sd is None else f"{fixed(value, 4)} ({sd:.4f})"


def _difference(row: Row) -> str:
    if row.difference is None or row.difference.mean is None:
        return MISSING
    mean = f"{row.difference.mean:+.4f}"
    if row.difference.interval is None:
        return mean
    low, high = row.difference.interval
    return f"{mean} [{low:+.4f}, {high:+.4f}]"


def _multiplier(row: Row) -> str:
    found = row.multiplier
    if found is None or found.mean is None:
        return MISSING
    spread = f" ({found.low:.2f} to {found.high:.2f})" if found.num_values > 1 else ""
    return f"{found.mean:.2f}x{spread}"


def _best(sweep: Sweep) -> str:
    if sweep.best_lr is None:
        return MISSING
    return f"{number(sweep.best_lr)} (edge)" if sweep.is_best_on_edge else number(sweep.best_lr)
