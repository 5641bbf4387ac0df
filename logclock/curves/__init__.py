"""Curves: finished runs of other programs, from their files or a table in memory, as records. Never imports torch."""

from logclock.curves.curve import Curve, Points
from logclock.curves.formats import FORMATS, Format, find_sources, read_source
from logclock.curves.naming import Facts
from logclock.curves.notebook import CurveComparison, compare_curves
from logclock.curves.runs import Reading, import_runs, records_of

__all__ = [
    "FORMATS",
    "Curve",
    "CurveComparison",
    "Facts",
    "Format",
    "Points",
    "Reading",
    "compare_curves",
    "find_sources",
    "import_runs",
    "read_source",
    "records_of",
]
