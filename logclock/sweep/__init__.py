"""Sweeps: many runs in local processes, each made once."""

from logclock.sweep.executor import Job, default_num_jobs, run_jobs
from logclock.sweep.grid import best_multipliers, main_jobs, sweep_jobs, with_lr_multiplier

__all__ = [
    "Job",
    "best_multipliers",
    "default_num_jobs",
    "main_jobs",
    "run_jobs",
    "sweep_jobs",
    "with_lr_multiplier",
]
