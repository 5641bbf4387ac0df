"""Sweeps: many runs, each made once, on this machine or on a cluster."""

from logclock.sweep.adaptive import Arm, SweepOutcome, run_sweep
from logclock.sweep.descent import Descent
from logclock.sweep.executor import Job, default_num_jobs, run_jobs
from logclock.sweep.ladder import Ladder, LadderOutcome, LadderPlan, ladder_configs, plan_ladder, run_ladder
from logclock.sweep.ray_executor import RayExecutor
from logclock.sweep.search import Axis, Search, Trial, with_lr_multiplier
from logclock.sweep.timing import RunCost, measure_costs
from logclock.sweep.workers import Executor, LocalExecutor, check_num_jobs

__all__ = [
    "Arm",
    "Axis",
    "Descent",
    "Executor",
    "Job",
    "Ladder",
    "LadderOutcome",
    "LadderPlan",
    "LocalExecutor",
    "RayExecutor",
    "RunCost",
    "Search",
    "SweepOutcome",
    "Trial",
    "check_num_jobs",
    "default_num_jobs",
    "ladder_configs",
    "measure_costs",
    "plan_ladder",
    "run_jobs",
    "run_ladder",
    "run_sweep",
    "with_lr_multiplier",
]
