"""Schedules: small frozen functions of the update count t, used by optimizers and by theory alike."""

from logclock.schedules.adaptive import AdaptiveWarmupPlan, warmup_factor
from logclock.schedules.base import Constant, Join, Product, Schedule, Slot, check, value_at
from logclock.schedules.decay import constant_decay, log_time_decay, matched_decay
from logclock.schedules.gain import LinearRamp, PowerGrowth
from logclock.schedules.lr import Cosine, Eden, InverseSqrt, Linear, LrSchedule, PowerLaw, Warmup, WarmupStableDecay
from logclock.schedules.momentum import (
    DebiasedEma,
    HalfLifeRamp,
    InverseTime,
    MemoryCooldown,
    log_time_ema,
    memory_ema,
)
from logclock.schedules.operating_point import dual_norm_ratio, optimal_ratio

__all__ = [
    "AdaptiveWarmupPlan",
    "Constant",
    "Cosine",
    "DebiasedEma",
    "Eden",
    "HalfLifeRamp",
    "InverseSqrt",
    "InverseTime",
    "Join",
    "Linear",
    "LinearRamp",
    "LrSchedule",
    "MemoryCooldown",
    "PowerGrowth",
    "PowerLaw",
    "Product",
    "Schedule",
    "Slot",
    "Warmup",
    "WarmupStableDecay",
    "check",
    "constant_decay",
    "dual_norm_ratio",
    "log_time_decay",
    "log_time_ema",
    "matched_decay",
    "memory_ema",
    "optimal_ratio",
    "value_at",
    "warmup_factor",
]
