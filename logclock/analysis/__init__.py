"""Analysis: from run records to differences, multipliers and verdicts. Never imports torch."""

from logclock.analysis.compare import Comparison, Row, Run, Sweep, SweepPoint, compare, compare_study
from logclock.analysis.efficiency import Multiplier, MultiplierRange, compute_multiplier, multiplier_range
from logclock.analysis.significance import MINIMUM_EFFECT, Difference, paired_difference, t_interval
from logclock.analysis.study import Study, gather

__all__ = [
    "MINIMUM_EFFECT",
    "Comparison",
    "Difference",
    "Multiplier",
    "MultiplierRange",
    "Row",
    "Run",
    "Study",
    "Sweep",
    "SweepPoint",
    "compare",
    "compare_study",
    "compute_multiplier",
    "gather",
    "multiplier_range",
    "paired_difference",
    "t_interval",
]
