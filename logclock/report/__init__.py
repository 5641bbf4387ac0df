"""Reports: from run records to tables, figures and one self-contained page. Never imports torch."""

from logclock.report.html import render_report, write_report
from logclock.report.tables import comparison_table, cost_table, plain_text, result_table, rich_table, sweep_table
from logclock.report.wording import headline

__all__ = [
    "comparison_table",
    "cost_table",
    "headline",
    "plain_text",
    "render_report",
    "result_table",
    "rich_table",
    "sweep_table",
    "write_report",
]
