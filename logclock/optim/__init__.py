"""Optimizers: torch.optim.Optimizer subclasses over the registered rules, and parameter groups for language models."""

from logclock.optim.algorithms import (
    ADANA,
    SGD,
    AdamW,
    AdEMAMix,
    DanaMK4,
    DanaStar,
    DanaStarMK4,
    LaProp,
    Lion,
    NAdamW,
    Signum,
)
from logclock.optim.groups import assign_groups, param_groups
from logclock.optim.optimizer import ScheduledOptimizer, from_spec

__all__ = [
    "ADANA",
    "SGD",
    "AdEMAMix",
    "AdamW",
    "DanaMK4",
    "DanaStar",
    "DanaStarMK4",
    "LaProp",
    "Lion",
    "NAdamW",
    "ScheduledOptimizer",
    "Signum",
    "assign_groups",
    "from_spec",
    "param_groups",
]
