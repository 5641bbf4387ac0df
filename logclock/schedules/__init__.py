"""Schedules: small frozen functions of the update count t, used by optimizers and by theory alike."""

from logclock.schedules.base import Constant, Join, Product, Schedule, Slot, check, value_at
from logclock.schedules.decay import constant_decay, log_time_decay, matched_decay
from logclock.schedules.gain import LinearRamp, PowerGrowth
from logclock.schedules.lr import Cosine, InverseSqrt, Linear, LrSchedule, PowerLaw, Warmup, WarmupStableDecay
from logclock.schedules.momentum import (
    DebiasedEma,
    HalfLifeRamp,
    InverseTime,
    MemoryCooldown,
    log_time_ema,
    memory_ema,
)

__all__ = [
    "Constant",
    "Cosine",
    "DebiasedEma",
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
    "log_time_decay",
    "log_time_ema",
    "matched_decay",
    "memory_ema",
    "value_at",
]
