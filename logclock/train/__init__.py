"""Training: one configuration in, one record out."""

from logclock.train.config import (
    DataConfig,
    EvaluationConfig,
    ExecutionConfig,
    Optimizers,
    RunConfig,
    identity,
    run_id,
)
from logclock.train.export import load_model
from logclock.train.loop import open_dataset, run_directory, train
from logclock.train.progress import Display, DisplayMode, open_display
from logclock.train.record import exit_code, optimizer_name

__all__ = [
    "DataConfig",
    "Display",
    "DisplayMode",
    "EvaluationConfig",
    "ExecutionConfig",
    "Optimizers",
    "RunConfig",
    "exit_code",
    "identity",
    "load_model",
    "open_dataset",
    "open_display",
    "optimizer_name",
    "run_directory",
    "run_id",
    "train",
]
