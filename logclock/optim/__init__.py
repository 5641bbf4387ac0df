"""Optimizers: torch.optim.Optimizer subclasses over the registered rules, and parameter groups for language models."""

from logclock.optim.adaptive_warmup import AdaptiveWarmup
from logclock.optim.algorithms import (
    ADANA,
    SGD,
    SOAP,
    AdamW,
    AdEMAMix,
    Dana,
    DanaMK4,
    DanaStar,
    DanaStarMK4,
    LaProp,
    Lion,
    Muon,
    NAdamW,
    NormSGD,
    Signum,
)
from logclock.optim.groups import assign_groups, assign_matrices, matrix_param_groups, param_groups
from logclock.optim.optimizer import ScheduledOptimizer, from_spec, group_of

__all__ = [
    "ADANA",
    "SGD",
    "SOAP",
    "AdEMAMix",
    "AdamW",
    "AdaptiveWarmup",
    "Dana",
    "DanaMK4",
    "DanaStar",
    "DanaStarMK4",
    "LaProp",
    "Lion",
    "Muon",
    "NAdamW",
    "NormSGD",
    "ScheduledOptimizer",
    "Signum",
    "assign_groups",
    "assign_matrices",
    "from_spec",
    "group_of",
    "matrix_param_groups",
    "param_groups",
]
