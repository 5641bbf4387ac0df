"""Do the commands that run optimizers on random features write what they say?"""

import csv

import pytest

from logclock.cli import main
from logclock.recipes import plrf_runs

pytest.importorskip("matplotlib")


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_simulate_writes_runs_beside_their_expectation(tmp_path, capsys):
    small = ["--num-features", "12", "--num-steps", "300", "--num-runs", "200", "--out", str(tmp_path)]

    assert main(["plrf", "simulate", "--algorithms", "sgd", "dana-decaying", *small]) == 0

    rows = rows_of(tmp_path / "simulate.csv")
    assert {row["algorithm"] for row in rows} == {"sgd", "dana-decaying"}
    last = [row for row in rows if row["time"] == "300"]
    assert len(last) == 2
    for row in last:  # 200 runs leave a few percent
        assert float(row["mean"]) == pytest.approx(float(row["exact"]), rel=0.15)
    assert (tmp_path / "simulate.svg").read_text().startswith("<svg")
    assert "simulate.csv" in capsys.readouterr().out


def test_an_unknown_algorithm_is_named(capsys):
    assert main(["plrf", "simulate", "--algorithms", "sdg"]) != 0

    assert "unknown algorithm 'sdg'. Did you mean 'sgd' or 'sgd-m'?" in capsys.readouterr().err


def test_the_moments_of_both_forms_are_those_of_the_runs():
    rows = plrf_runs.moments(lambda line: None, num_features=20, num_runs=300, num_steps=100, num_explicit=10)

    assert {row["form"] for row in rows} == {"eigenbasis", "explicit"}
    assert len(rows) == (4 + 2) * 2
    for row in rows:
        assert abs(row["standard_errors"]) < 4


@pytest.mark.slow
def test_the_thresholds_of_a_mixture_fall_with_the_root_of_the_probability(tmp_path):
    assert main(["plrf", "experiment", "mixture", "--out", str(tmp_path)]) == 0

    rows = rows_of(tmp_path / "mixture.csv")
    scaled = [float(row["c3_over_root_p"]) for row in rows if row["kind"] == "threshold"]
    # p = 1 has a constant of its own, 15 % smaller
    assert max(scaled[1:]) / min(scaled[1:]) < 1.05
    diverged = {row["algorithm"]: int(row["num_diverged"]) for row in rows if row["experts"] == "12"}
    assert diverged["dana-decaying c3 1"] == 8
    assert diverged["expert-clock"] == diverged["dana-decaying c3 0.1"] == 0
