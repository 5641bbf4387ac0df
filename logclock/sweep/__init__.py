"""Sweeps: many runs in local processes, each made once."""

from logclock.sweep.adaptive import SweepOutcome, run_sweep
from logclock.sweep.executor import Job, default_num_jobs, run_jobs
from logclock.sweep.grid import best_multipliers, main_jobs, sweep_jobs, with_lr_multiplier
from logclock.sweep.ray_executor import RayExecutor
from logclock.sweep.search import Axis, Search, Trial
from logclock.sweep.workers import Executor, LocalExecutor

__all__ = [
    "Axis",
    "Executor",
    "Job",
    "LocalExecutor",
    "RayExecutor",
    "Search",
    "SweepOutcome",
    "Trial",
    "best_multipliers",
    "default_num_jobs",
    "main_jobs",
    "run_jobs",
    "run_sweep",
    "sweep_jobs",
    "with_lr_multiplier",
]
