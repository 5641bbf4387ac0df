"""How does a ledger become a table and a page?"""

import os
import sys
from pathlib import Path

from logclock.analysis import Comparison, compare
from logclock.records import Ledger
from logclock.report import comparison_table, cost_table, headline, result_table, rich_table, sweep_table, write_report

__all__ = ["rebuild_report"]


def rebuild_report(out: str | os.PathLike[str], *, baseline: str | None = None) -> Path:
    """Print the table of a study and write its `report.html`, both from the ledger alone.

    The same ledger gives the same page, byte for byte.

    Args:
        out: Directory of the study.
        baseline: The label to compare with; None for the one that the records name.

    Raises:
        FileNotFoundError: There is no ledger.
        ValueError: Its records must not be merged.
    """
    ledger = Ledger(Path(out) / "ledger.jsonl")
    if not ledger.path.exists():
        raise FileNotFoundError(f"no ledger at {ledger.path}. Give the --out directory of a comparison.")
    records = ledger.records()
    comparison = compare(records, baseline=baseline)
    print()
    if sys.stdout.isatty():
        _print_tables(comparison)
    else:
        print(comparison_table(comparison))
    page = write_report(records, Path(out) / "report.html", baseline=baseline)
    print(f"\n{headline(comparison)}\n\nreport: {page}")
    return page


def _print_tables(comparison: Comparison) -> None:
    """Print the tables of `comparison_table` so that they fit the terminal."""
    from rich.box import SIMPLE
    from rich.console import Console

    console = Console(highlight=False)
    tables = [result_table(comparison), cost_table(comparison)]
    for table in [*tables, sweep_table(comparison.sweeps)] if comparison.sweeps else tables:
        shown = rich_table(table)
        shown.box = SIMPLE
        for column in shown.columns:
            column.overflow = "fold"  # in a narrow terminal: cut off no digit
        console.print(shown)
    for warning in comparison.warnings:
        console.print(f"note: {warning}", markup=False)
