"""Records made by hand, small enough to write their JSON down."""

import pytest

from logclock.records import Ledger, RunRecord


def make_record(seed=0, **changes):
    """Return a finished run of two steps; keywords replace whole fields."""
    fields = {
        "config": {"seed": seed, "optimizer": {"name": "adana", "lr": 0.001, "ema1": None}, "steps": [1, 2.0]},
        "seed": seed,
        "label": "adana",
        "tags": {"study": "compare"},
        "status": "finished",
        "reason": None,
        "model": {"total_params": 200, "depth": 2},
        "data": {"fingerprint": "abc"},
        "provenance": {"torch": "2.13.0", "git_dirty": False},
        "train": {"step": [1, 2], "loss": [5.25, None]},
        "validation": {"step": [2], "loss": [4.5]},
        "schedules": {"step": [1, 2], "ema1": [8 / 9, 0.8]},
        "metrics": {"final_validation_loss": 4.5, "final_step": 2},
        "cost": {"wall_seconds": 0.1, "peak_memory_bytes": None},
    }
    return RunRecord(**fields | changes)


@pytest.fixture
def record():
    return make_record


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "runs" / "ledger.jsonl")
