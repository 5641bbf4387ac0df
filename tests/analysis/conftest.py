"""Records made by hand, so that every expected number can be computed on paper."""

import csv
from pathlib import Path

import pytest

from logclock.analysis import Point
from logclock.models.sizes import ModelSize
from logclock.records import RunRecord

DATA = Path(__file__).parent / "data"


def make_record(label="adamw", *, seed=0, steps=(100, 200, 300, 400), losses=(5.0, 4.6, 4.3, 4.1), lr=1e-3, **changes):
    """Return a finished run of 400 steps of 10 tokens; keywords replace whole fields of the record."""
    tokens = [10 * step for step in steps]
    fields = {
        "config": {
            "total_steps": 400,
            "seed": seed,
            "optimizer": {"name": label, "lr": lr},
            "model": {"width": 8},
        },
        "seed": seed,
        "label": label,
        "tags": {"study": "compare", "phase": "main"},
        "status": "finished",
        "reason": None,
        "model": {
            "non_embedding_params": 100,
            "total_params": 200,
            "compute_6p_per_token": 600,
            "compute_6d_per_token": 900,
        },
        "data": {"fingerprint": "data-a", "vocab_size": 256},
        "provenance": {"rule_hash": f"rule-{label}", "torch": "2.13.0", "device": "cpu"},
        "train": {
            "step": list(steps),
            "tokens": tokens,
            "loss": list(losses),
            "lr": [lr] * len(steps),
            "grad_norm": [1.0] * len(steps),
        },
        "validation": {
            "step": list(steps),
            "tokens": tokens,
            "loss": list(losses),
            "bits_per_byte": [None if loss is None else loss / 2 for loss in losses],
        },
        "schedules": {"step": list(steps), "lr": [lr] * len(steps), "ema1": [0.1] * len(steps)},
        "metrics": {
            "final_validation_loss": losses[-1],
            "final_bits_per_byte": None if losses[-1] is None else losses[-1] / 2,
            "final_step": steps[-1],
        },
        "cost": {
            "step_seconds": 0.01,
            "optimizer_step_seconds": 0.002,
            "tokens_per_second": 1000.0,
            "optimizer_state_bytes": 1600.0,
        },
    }
    return RunRecord(**(fields | changes))


@pytest.fixture
def record():
    """The function that makes a record."""
    return make_record


@pytest.fixture
def diverged():
    """The function that makes a record of a run that stopped at step 200 with a loss that was not finite."""

    def make(label="adana", *, seed=0, lr=1e-3, **changes):
        return make_record(
            label,
            seed=seed,
            lr=lr,
            steps=(100, 200),
            losses=(5.0, None),
            status="diverged",
            reason="step 200: loss is nan",
            **changes,
        )

    return make


@pytest.fixture(scope="session")
def published():
    """The function that reads a file of `data/`: dicts of a row's numbers, None where a cell is empty."""

    def read(name):
        lines = [line for line in (DATA / name).read_text().splitlines() if not line.startswith("#")]
        return [{key: _value(cell) for key, cell in row.items()} for row in csv.DictReader(lines)]

    return read


def _value(cell):
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell


@pytest.fixture(scope="session")
def enoki(published):
    """The runs of the log-time study by optimizer, and its printed multipliers, by a convention of `ModelSize`."""

    def ladder(convention="compute_6p"):
        points, multipliers = {}, {}
        for row in published("enoki_ladder.csv"):
            size = ModelSize(
                non_embedding_params=int(row["P"]),
                total_params=int(row["D"]),
                num_layers=int(row["layers"]),
                width=int(row["width"]),
                vocab_size=50304,
            )
            compute = getattr(size, convention)(tokens=size.tokens_for())
            for name, value in row.items():
                if value is not None and name.startswith("loss_"):
                    points.setdefault(name[5:], {})[int(row["heads"])] = Point(compute=compute, loss=value)
                if value is not None and name.startswith("mult_"):
                    multipliers.setdefault(name[5:], {})[int(row["heads"])] = value
        return points, multipliers

    return ladder
