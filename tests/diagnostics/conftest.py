"""Runs to look at, made once: two that finished, and one that was stopped between two steps."""

import os
import signal

import pytest

from logclock.train import run_directory, train
from logclock.train.progress import QuietDisplay


class StopAt(QuietDisplay):
    """Sends this process a signal when a run has reached a step."""

    def __init__(self, step):
        self.step = step

    def show(self, name, reading):
        if reading.step >= self.step:
            self.step = 10**9
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="session")
def stop_at():
    """A display that stops its run at a step."""
    return StopAt


@pytest.fixture(scope="session")
def study(tiny_run, tiny_data_root, tmp_path_factory):
    """A study of tiny runs: its folder, and by name configuration, record and folder of each run."""
    out = tmp_path_factory.mktemp("study")
    configs = {
        "adamw": tiny_run("evaluation.batches=null", optimizer="adamw", steps=12),
        "adana": tiny_run("evaluation.batches=null", "seed=1", steps=12),
        "dana-star": tiny_run("log_interval=1", "execution.checkpoint_interval=7", optimizer="dana-star", steps=30),
    }
    runs = {}
    for name, config in configs.items():
        display = StopAt(8) if name == "dana-star" else QuietDisplay()
        record = train(config, out=out, data_root=tiny_data_root, display=display)
        runs[name] = (config, record, run_directory(out, config))
    return out, runs
