"""How does a ledger become a table and a page?"""

import os
from collections.abc import Callable
from pathlib import Path

from logclock.analysis import compare
from logclock.records import Ledger
from logclock.report import comparison_table, headline, write_report

__all__ = ["rebuild_report"]


def rebuild_report(
    out: str | os.PathLike[str], *, baseline: str | None = None, message: Callable[[str], None] = print
) -> Path:
    """Write `out/report.html` from the ledger alone, and print its table. The same ledger gives the same bytes.

    Args:
        out: Directory of the study.
        baseline: The label to compare with; None for the one that the records name.
        message: Told the table.

    Raises:
        FileNotFoundError: There is no ledger.
        ValueError: Its records must not be merged.
    """
    ledger = Ledger(Path(out) / "ledger.jsonl")
    if not ledger.path.exists():
        raise FileNotFoundError(f"no ledger at {ledger.path}. Give the --out directory of a comparison.")
    records = ledger.records()
    comparison = compare(records, baseline=baseline)
    message(f"\n{comparison_table(comparison)}\n\n{headline(comparison)}")
    return write_report(records, Path(out) / "report.html", baseline=baseline)
