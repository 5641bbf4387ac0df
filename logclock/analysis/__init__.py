"""Analysis: from run records to differences, multipliers and verdicts. Never imports torch."""

from logclock.analysis.compare import Comparison, Row, Run, Sweep, SweepPoint, compare, compare_study
from logclock.analysis.compute import CONVENTIONS, compute_6d, compute_6p, compute_deepseek, compute_kaplan
from logclock.analysis.efficiency import (
    Multiplier,
    MultiplierRange,
    Overtraining,
    compute_multiplier,
    equal_loss_compute,
    interpolated_multiplier,
    multiplier_range,
    overtraining_exponent,
    token_multiplier,
)
from logclock.analysis.ladder import analyse_ladder, gather_ladder
from logclock.analysis.ladder_result import (
    LadderCell,
    LadderCost,
    LadderMultiplier,
    LadderResult,
    LadderSize,
    LadderTrends,
    LadderTrial,
)
from logclock.analysis.lr_choice import choice_costs
from logclock.analysis.lr_rules import LrCurvature, LrRule, LrRuleFit, LrTrial, fit_lr_rule, lr_curvature
from logclock.analysis.scaling import HoldOut, LackOfFit, Law, LawFit, Point, fit_laws, hold_out
from logclock.analysis.significance import (
    MINIMUM_EFFECT,
    Difference,
    PooledDifference,
    paired_difference,
    pooled_difference,
    t_interval,
)
from logclock.analysis.study import Study, gather
from logclock.analysis.trends import Trend, trend
from logclock.analysis.uncertainty import Uncertainty, holm

__all__ = [
    "CONVENTIONS",
    "MINIMUM_EFFECT",
    "Comparison",
    "Difference",
    "HoldOut",
    "LackOfFit",
    "LadderCell",
    "LadderCost",
    "LadderMultiplier",
    "LadderResult",
    "LadderSize",
    "LadderTrends",
    "LadderTrial",
    "Law",
    "LawFit",
    "LrCurvature",
    "LrRule",
    "LrRuleFit",
    "LrTrial",
    "Multiplier",
    "MultiplierRange",
    "Overtraining",
    "Point",
    "PooledDifference",
    "Row",
    "Run",
    "Study",
    "Sweep",
    "SweepPoint",
    "Trend",
    "Uncertainty",
    "analyse_ladder",
    "choice_costs",
    "compare",
    "compare_study",
    "compute_6d",
    "compute_6p",
    "compute_deepseek",
    "compute_kaplan",
    "compute_multiplier",
    "equal_loss_compute",
    "fit_laws",
    "fit_lr_rule",
    "gather",
    "gather_ladder",
    "hold_out",
    "holm",
    "interpolated_multiplier",
    "lr_curvature",
    "multiplier_range",
    "overtraining_exponent",
    "paired_difference",
    "pooled_difference",
    "t_interval",
    "token_multiplier",
    "trend",
]
