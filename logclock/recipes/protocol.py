"""What do all runs of the ADANA paper share, whatever their optimizer and size?

References: Ferbach et al. 2026, arXiv:2602.05298, released launcher.
"""

from logclock.schedules import Constant, Cosine, InverseTime, constant_decay, log_time_decay, matched_decay

__all__ = [
    "DELTA",
    "GRAD_CLIP",
    "KAPPA",
    "KAPPA_ADEMAMIX",
    "OMEGA",
    "early_decay",
    "log_time_decay_of",
    "matched_decay_of",
    "plain_decay",
    "study_schedule",
]

OMEGA = 4.0
"""Strength of weight decay, for every optimizer."""

DELTA = 8.0
"""Log-time offset; the paper found little effect."""

KAPPA = 0.85
"""Damping exponent of the main runs on text."""

KAPPA_ADEMAMIX = 0.75
"""The same for AdEMAMix, whose gain ends at T^(1 - kappa)."""

GRAD_CLIP = 0.5
"""Bound on the global gradient norm, for every optimizer."""


def study_schedule(total_steps: int) -> Cosine:
    """Return the learning-rate schedule: 2 % warm-up from 1 % of the peak, then a cosine to 10 % of it."""
    return Cosine(total_steps=total_steps, warmup_steps=total_steps // 50, warmup_start=0.01, final=0.1)


def plain_decay(total_steps: int) -> Constant:
    """Return omega / T, the decay of AdamW and of what stands in its place."""
    return constant_decay(OMEGA, total_steps=total_steps)


def log_time_decay_of(total_steps: int) -> InverseTime:
    """Return omega / (T / 10 + t), the launcher's default."""
    return log_time_decay(OMEGA, total_steps=total_steps)


def matched_decay_of(total_steps: int) -> Constant:
    """Return the constant that removes as much in total as the log-time decay."""
    schedule = study_schedule(total_steps)
    return matched_decay(log_time_decay_of(total_steps), lr_schedule=schedule, total_steps=total_steps)


def early_decay(total_steps: int) -> InverseTime:
    """Return omega / (1 + t), near the paper's omega / t."""
    return log_time_decay(OMEGA, offset=1.0)
