"""Reports: from run records to tables, figures and one self-contained page. Never imports torch."""

from logclock.report.ablation_figures import arm_drawing, horizon_drawing
from logclock.report.export import export_drawings
from logclock.report.html import comparison_figures, render_report, write_report
from logclock.report.ladder_page import ladder_figures, render_ladder_report, write_ladder_report
from logclock.report.ladder_tables import ladder_table
from logclock.report.ladder_wording import ladder_headline
from logclock.report.tables import comparison_table, cost_table, plain_text, result_table, rich_table, sweep_table
from logclock.report.wording import headline

__all__ = [
    "arm_drawing",
    "comparison_figures",
    "comparison_table",
    "cost_table",
    "export_drawings",
    "headline",
    "horizon_drawing",
    "ladder_figures",
    "ladder_headline",
    "ladder_table",
    "plain_text",
    "render_ladder_report",
    "render_report",
    "result_table",
    "rich_table",
    "sweep_table",
    "write_ladder_report",
    "write_report",
]
