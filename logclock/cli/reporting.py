"""How does a ledger become a table and a page?"""

import os
import sys
from pathlib import Path

from logclock.analysis import Comparison, analyse_ladder, compare
from logclock.analysis.search import analyse_search, is_search_alone
from logclock.records import Ledger, RunRecord
from logclock.report import (
    comparison_table,
    cost_table,
    headline,
    ladder_headline,
    ladder_table,
    result_table,
    rich_table,
    sweep_table,
    write_ladder_report,
    write_report,
)
from logclock.report.search_page import search_headline, search_text, write_search_report

__all__ = ["rebuild_report"]


def rebuild_report(out: str | os.PathLike[str], *, baseline: str | None = None) -> Path:
    """Print the table of a study and write its `report.html`, both from the ledger alone.

    A ladder's report has figures in files too; with both tracks there is one report each, that of the defaults in
    `out/defaults`. A search of learning rates that nothing came after has a page of its own.

    The same ledger gives the same page, byte for byte on one kind of processor; see `write_ladder_report`.

    Args:
        out: Directory of the study.
        baseline: The label to compare with; None for the one that the records name.

    Raises:
        FileNotFoundError: There is no ledger.
        ValueError: Its records must not be merged.
    """
    ledger = Ledger(Path(out) / "ledger.jsonl")
    if not ledger.path.exists():
        raise FileNotFoundError(f"no ledger at {ledger.path}. Give the --out directory of a comparison or a ladder.")
    for line in ledger.cut_off_lines():
        print(f"note: {ledger.path}: line {line} was cut off by a crash and is skipped", file=sys.stderr)
    records = ledger.records()
    if any(record.tags.get("phase") == "ladder" for record in records):
        return _rebuild_ladder_report(records, Path(out), baseline)
    if is_search_alone(records):
        search = analyse_search(records)
        page = write_search_report(search, Path(out) / "report.html")
        print(f"\n{search_text(search)}\n\n{search_headline(search)}\n\nreport: {page}")
        return page
    comparison = compare(records, baseline=baseline)
    print()
    if sys.stdout.isatty():
        _print_tables(comparison)
    else:
        print(comparison_table(comparison))
    page = write_report(records, Path(out) / "report.html", baseline=baseline)
    print(f"\n{headline(comparison)}\n\nreport: {page}")
    return page


def _rebuild_ladder_report(records: list[RunRecord], out: Path, baseline: str | None) -> Path:
    """Print the table of a ladder and write its report, for each track; return the page of the first."""
    sizes = {record.tags["size"] for record in records if "size" in record.tags}
    for size in sorted(sizes - {r.tags.get("size") for r in records if r.status == "finished"}):
        print(f"note: no run of size {size} has finished; it is left out", file=sys.stderr)
        records = [record for record in records if record.tags.get("size") != size]
    made = {track for record in records for track in record.tags.get("track", "tuned").split(",")}
    pages: list[Path] = []
    for track in [track for track in ("tuned", "defaults") if track in made]:
        result = analyse_ladder(records, baseline=baseline, track=track)
        pages.append(write_ladder_report(result, out / track if pages else out))
        head = "" if result.is_imported else f"\n{track}:\n"
        print(f"{head}\n{ladder_table(result)}\n\n{ladder_headline(result)}\n\nreport: {pages[-1]}")
    return pages[0]


def _print_tables(comparison: Comparison) -> None:
    """Print the tables of `comparison_table` so that they fit the terminal."""
    from rich.box import SIMPLE
    from rich.console import Console

    console = Console(highlight=False)
    tables = [result_table(comparison)]
    if not comparison.is_imported:
        tables.append(cost_table(comparison))
    for table in [*tables, sweep_table(comparison.sweeps)] if comparison.sweeps else tables:
        shown = rich_table(table)
        shown.box = SIMPLE
        for column in shown.columns:
            column.overflow = "fold"  # in a narrow terminal: cut off no digit
        console.print(shown)
    for warning in comparison.warnings:
        console.print(f"note: {warning}", markup=False)
