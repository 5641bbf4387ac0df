"""Optimizers: torch.optim.Optimizer subclasses over the registered rules, and parameter groups for language models."""

from logclock.optim.algorithms import ADANA, SGD, AdamW, Dana, DanaMK4, DanaStar, DanaStarMK4
from logclock.optim.groups import assign_groups, param_groups
from logclock.optim.optimizer import ScheduledOptimizer, from_spec

__all__ = [
    "ADANA",
    "SGD",
    "AdamW",
    "Dana",
    "DanaMK4",
    "DanaStar",
    "DanaStarMK4",
    "ScheduledOptimizer",
    "assign_groups",
    "from_spec",
    "param_groups",
]
