"""Exports of two short runs, whose verdict can be computed on paper."""

import csv
import io
import json

import pytest

STEPS = (100, 200, 300)
LOSSES = {"adamw": (4.0, 3.5, 3.2), "adana": (3.9, 3.4, 3.1)}

# adana's line falls from 3.4 at step 200 to 3.1 at 300 and meets adamw's last loss, 3.2, after two thirds of it in the
# logarithm: 200 * 1.5^(2/3) = 262.074. 300 / 262.074 is 1.14471.
DIFFERENCE, MULTIPLIER = -0.1, 1.14471


@pytest.fixture
def write_csv(tmp_path):
    """A function that writes rows, the first of them the names."""

    def write(name, *rows):
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.getvalue())
        return path

    return write


@pytest.fixture
def write_lines(tmp_path):
    """A function that writes lines; those that are dicts as JSON."""

    def write(name, *lines):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return path

    return write


@pytest.fixture
def check_verdict():
    """A function that checks the records of the two runs against the numbers computed by hand."""
    from logclock.analysis import compare

    def check(records):
        found = compare(records, baseline="adamw")
        row = found.row("adana")
        assert row.final_validation_loss == pytest.approx(3.1, abs=1e-6)
        assert row.difference.mean == pytest.approx(DIFFERENCE, abs=1e-6)
        assert row.multiplier.mean == pytest.approx(MULTIPLIER, abs=1e-4)
        return found

    return check


@pytest.fixture
def own_record():
    """A run that logclock has trained."""
    from logclock.records import RunRecord

    return RunRecord(
        config={"optimizer": {"name": "adamw", "lr": 1e-3}, "seed": 0, "total_steps": 1},
        seed=0,
        label="adamw",
        tags={},
        status="finished",
        reason=None,
        model={},
        data={},
        provenance={"logclock": "0.1.0"},
        train={"step": [1], "tokens": [1], "loss": [1.0]},
        validation={"step": [1], "tokens": [1], "loss": [1.0]},
        schedules={"step": []},
        metrics={"final_validation_loss": 1.0},
        cost={},
    )
