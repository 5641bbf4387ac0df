"""Optimizers: torch.optim.Optimizer subclasses over the registered rules, and parameter groups for language models."""

from typing import TYPE_CHECKING, Any

from logclock.optim import classes
from logclock.optim.adaptive_warmup import AdaptiveWarmup
from logclock.optim.attention import by_heads, head_blocks
from logclock.optim.factory import OptimizerFactory
from logclock.optim.groups import (
    assign_groups,
    assign_matrices,
    class_of_params,
    matrix_param_groups,
    param_groups,
)
from logclock.optim.optimizer import LowPrecisionWarning, ScheduledOptimizer, from_spec, group_of

if TYPE_CHECKING:
    from logclock.optim.classes import *  # noqa: F403

__all__ = [
    "AdaptiveWarmup",
    "LowPrecisionWarning",
    "OptimizerFactory",
    "ScheduledOptimizer",
    "assign_groups",
    "assign_matrices",
    "by_heads",
    "class_of_params",
    "from_spec",
    "group_of",
    "head_blocks",
    "matrix_param_groups",
    "param_groups",
]
__all__ += classes.__all__


def __getattr__(name: str) -> Any:
    """Return the class of an algorithm."""
    return getattr(classes, name)
