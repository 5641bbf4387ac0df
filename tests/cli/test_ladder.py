import dataclasses
import os
import subprocess
import sys
import time

import pytest
from ladders import Invented

from logclock.cli import ladder as module
from logclock.cli import main
from logclock.cli.ladder import LadderRequest, parse_duration
from logclock.recipes import VARIANTS
from logclock.recipes.ladder import OPTIMIZERS, SIZES, ladder
from logclock.records import Ledger
from logclock.sweep import Axis, Ladder, LadderOutcome, LocalExecutor, RunCost

TINY = [
    "data.dataset=tiny-byte-257",
    "data.batch_size=4",
    "data.sequence_length=32",
    "model.vocab_size=257",
    "model.head_dim=8",
    "evaluation.batches=2",
    "evaluation.batch_size=4",
    "log_interval=10",
]


@pytest.fixture
def ladder_command(tmp_path, tiny_data_root):
    def make(*arguments: str) -> list[str]:
        places = ["--out", str(tmp_path / "out"), "--data-root", str(tiny_data_root)]
        return ["ladder", "--optimizers", "adamw", "adana", *arguments, *places, "--set", *TINY]

    return make


@pytest.fixture
def hundred_seconds(monkeypatch):
    """Every run costs 100 seconds, without being timed."""

    def measure(configs, **settings):
        return [
            RunCost(start_seconds=0, step_seconds=1, evaluation_seconds=0, num_steps=100, num_evaluations=0, load=2.0)
            for _ in configs
        ]

    monkeypatch.setattr(module, "measure_costs", measure)


@pytest.fixture
def nothing_runs(monkeypatch):
    monkeypatch.setattr(module, "run_ladder", lambda *args, **settings: pytest.fail("started"))


def test_a_dry_run_prints_the_plan_with_its_cost_and_stops(
    capsys, ladder_command, hundred_seconds, nothing_runs, tmp_path
):
    assert main(ladder_command("--sizes", "1", "2", "--jobs", "2", "--dry-run")) == 0

    shown = capsys.readouterr().out
    assert "ladder of recipe ladder: 2 optimizers at 2 sizes, 20 tokens per total parameter" in shown
    assert "learning rates x0.5 x1 x2 of the winner one size below, 0 to 2 more trials each, seeds 0 1" in shown
    assert "per optimizer and size: 4 to 6 runs, the same for all" in shown
    row = next(line.split() for line in shown.splitlines() if line.split()[:1] == ["2"])
    # width 16: P = 12 * 16^2, D = P + 2 * 16 * 257; 20 D tokens in steps of 128
    assert row[1:4] == ["3,072", "11,296", "1,765"]
    assert row[-3:] == ["100", "100", "0"]
    assert "left: 16 runs in 13 min, at most 24 runs in 20 min; 2 at a time" in shown
    assert "note: this machine is busy with something else; at rest about 50% of that" in shown
    assert not (tmp_path / "out").exists()


def test_a_ladder_over_its_budget_is_refused_with_what_would_fit(capsys, ladder_command, hundred_seconds, nothing_runs):
    assert main(ladder_command("--sizes", "1", "2", "--jobs", "2", "--budget", "15m")) == 2

    message = capsys.readouterr().err
    assert "the ladder takes up to 20 min, the budget is 15 min. What fits: --extensions 0 (at most 13 min)" in message
    assert "--sizes 1 (at most 10 min)" in message
    assert "--seeds" not in message  # one seed saves a run of six, which is not enough
    assert "may be stopped at any time and go on" in message


def test_a_ladder_that_no_part_fits_says_so(capsys, ladder_command, hundred_seconds, nothing_runs):
    assert main(ladder_command("--sizes", "1", "2", "--budget", "10s")) == 2

    assert "No part of it fits; use smaller sizes." in capsys.readouterr().err


def test_a_ladder_runs_where_it_is_told_to(ladder_command, hundred_seconds, monkeypatch):
    asked, used = [], []

    class Cluster(LocalExecutor):
        def __init__(self, address):
            asked.append(address)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            asked.append("left")

        def default_num_jobs(self, configs):
            return 7

    def run_ladder(ladder, *, executor, num_jobs, **settings):
        used.append((type(executor), num_jobs))
        return LadderOutcome(records=[], sweeps={}, was_stopped=True)

    monkeypatch.setattr(module, "RayExecutor", Cluster)
    monkeypatch.setattr(module, "run_ladder", run_ladder)

    assert main(ladder_command("--sizes", "1", "--ray", "10.0.0.1:6379")) == 130
    assert main(ladder_command("--sizes", "1", "--jobs", "3")) == 130

    assert asked == ["10.0.0.1:6379", "left"]
    assert used == [(Cluster, 7), (LocalExecutor, 3)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3h", 10800), ("2h30m", 9000), ("90m", 5400), ("45s", 45), ("1.5h", 5400), (" 1h1m1s ", 3661)],
)
def test_a_duration_is_hours_minutes_and_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "3", "3 hours", "h", "-1h", "30m2h"])
def test_what_is_no_duration_is_an_error(text):
    with pytest.raises(ValueError, match=r"cannot read the duration .* Write hours, minutes and seconds as in 3h"):
        parse_duration(text)


def test_a_duration_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="a duration must be > 0, got '0h'"):
        parse_duration("0h")


def test_axes_and_settings_can_be_meant_for_one_optimizer():
    request = LadderRequest(
        recipe="ladder",
        optimizers=("adamw", "adana"),
        sizes=(1, 2),
        overrides=("adana:optimizer.delta=6", "grad_clip=1.0"),
        axes=("optimizer.weight_decay=x2", "adana:optimizer.kappa=0.8"),
    )

    made = request.ladder()

    assert isinstance(made, Ladder)
    assert made.axes == {
        "adamw": (Axis(path="optimizer.weight_decay", values=("x2",)),),
        "adana": (
            Axis(path="optimizer.weight_decay", values=("x2",)),
            Axis(path="optimizer.kappa", values=("0.8",)),
        ),
    }
    assert made.config("adana", 1).optimizer.delta == 6
    assert made.config("adamw", 1).grad_clip == 1.0
    with pytest.raises(ValueError, match=r"'adan' is not compared. Did you mean 'adana'"):
        LadderRequest(recipe="ladder", optimizers=("adana",), sizes=(1,), axes=("adan:optimizer.kappa=0.8",)).ladder()


def test_the_full_search_takes_the_documented_space_of_every_optimizer():
    request = LadderRequest(recipe="ladder", optimizers=tuple(VARIANTS), sizes=(1,), searches_all=True)

    made = request.ladder()

    decay = Axis(path="optimizer.weight_decay", values=("x0.5", "x2"))
    memory = Axis(path="optimizer.ema2", values=("x3", "x10")), Axis(path="optimizer.ema1", values=("x0.5", "x2"))
    assert made.axes["adamw"] == (decay, *memory)
    delta = Axis(path="optimizer.delta", values=("x0.5", "x2"))
    kappa = Axis(path="optimizer.kappa", values=("0.75", "0.9"))
    assert made.axes["adana"] == (decay, delta, kappa)
    assert made.axes["adana-h"] == (delta, kappa)  # it has no decay
    assert made.axes["log-adam-nesterov"] == (decay, delta)  # kappa has no effect there
    tables = Axis(path="rest_optimizer.lr", values=("x0.5", "x2"))
    assert made.axes["muon-adana"] == (decay, Axis(path="optimizer.ema1", values=("x0.5", "x2")), tables)
    assert set(made.axes) == set(VARIANTS)
    most = max(sum(len(axis.values) for axis in axes) for axes in made.axes.values())
    assert made.round_range == (most, most + 2)


def test_the_micro_ladder_spans_what_was_asked_for():
    runs = [ladder("adana", heads=heads) for heads in SIZES]
    compute = [run.model.size().compute_6p(tokens=run.total_steps * run.tokens_per_step) for run in runs]

    assert len(SIZES) >= 5
    assert compute[-1] / compute[0] > 10**1.5
    for run in runs:
        assert run.total_steps * run.tokens_per_step >= 19.9 * run.model.size().total_params
        assert run.tokens_per_step == 512
        assert run.model.depth == max(1, 3 * run.model.heads // 4)
    assert OPTIMIZERS[0] == "adamw"


def test_the_ladders_learning_rates_follow_the_demos_rule():
    from logclock.recipes import demo

    base, large = demo("adana", heads=4), ladder("adana", heads=6)

    growth = large.model.size().non_embedding_params / base.model.size().non_embedding_params
    assert large.optimizer.lr == pytest.approx(base.optimizer.lr * growth**-0.6)


def test_the_report_of_a_ladder_has_a_page_for_each_track(capsys, tmp_path):
    small = Invented(optimizers=("adamw", "adana"), sizes=("2", "3", "4"))
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for record in small.records():
        track = "defaults,tuned" if record.tags["lr_multiplier"] == "1" else "tuned"
        ledger.append(dataclasses.replace(record, tags=record.tags | {"track": track}))

    assert main(["report", str(tmp_path)]) == 0

    shown = capsys.readouterr().out
    assert shown.index("\ntuned:") < shown.index("\ndefaults:")
    tuned, defaults = tmp_path / "report.html", tmp_path / "defaults" / "report.html"
    assert f"report: {tuned}" in shown
    assert f"report: {defaults}" in shown
    assert defaults.stat().st_size > 10_000
    assert tuned.read_bytes() != defaults.read_bytes()


def test_a_size_that_is_still_to_be_made_is_left_out_of_the_report(capsys, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for record in Invented(optimizers=("adamw", "adana"), sizes=("2", "3", "4")).records():
        is_made = record.tags["size"] != "4"
        ledger.append(record if is_made else dataclasses.replace(record, status="running", reason="not started yet"))

    assert main(["report", str(tmp_path)]) == 0

    shown = capsys.readouterr()
    assert shown.err == "note: no run of size 4 has finished; it is left out\n"
    assert "multiplier at 3" in shown.out


def test_a_report_says_which_lines_a_crash_cut_off(capsys, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for record in Invented(optimizers=("adamw", "adana"), sizes=("2", "3")).records():
        ledger.append(record)
    with open(ledger.path, "ab") as file:
        file.write(b'{"config": {')

    assert main(["report", str(tmp_path)]) == 0

    number = len(ledger.path.read_bytes().split(b"\n"))
    assert f"line {number} was cut off by a crash and is skipped" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3000)  # well under 600 seconds on an idle machine, as the result line says
def test_one_command_goes_from_an_empty_folder_to_the_report(tmp_path):
    """The smallest ladder: three sizes, two optimizers, 20 tokens per parameter, on a corpus that needs no network."""
    environment = os.environ | {"LOGCLOCK_DATA": str(tmp_path / "data"), "PYTHONPATH": os.pathsep.join(sys.path)}
    logclock = [sys.executable, "-m", "logclock"]
    out = tmp_path / "out"
    settings = ["data.dataset=synthetic-byte-257", "model.vocab_size=257", "model.head_dim=8", "evaluation.batches=4"]
    command = [*logclock, "ladder", "--optimizers", "adamw", "adana", "--sizes", "2", "3", "4", "--extensions", "1"]
    command += ["--budget", "3h", "--out", str(out), "--progress", "plain", "--set", *settings]
    began = time.monotonic()
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    minutes = (time.monotonic() - began) / 60

    assert first.returncode == 0, first.stdout + first.stderr
    print(f"the smallest ladder took {minutes:.1f} minutes")
    assert "ladder of recipe ladder: 2 optimizers at 3 sizes" in first.stdout
    records = Ledger(out / "ledger.jsonl").records()
    counts = {}
    for record in records:
        assert record.status in ("finished", "diverged")
        assert (record.tags["phase"], record.tags["track"]) == ("ladder", "tuned")
        key = record.tags["size"], record.label
        counts[key] = counts.get(key, 0) + 1
    for size in ("2", "3", "4"):
        assert counts[size, "adamw"] == counts[size, "adana"] in (4, 5)  # equal budgets
    check_report(out, records)

    before, page = (out / "ledger.jsonl").read_bytes(), (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_bytes() == page
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert (out / "ledger.jsonl").read_bytes() == before  # everything was there


def check_report(out, records):
    page = (out / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    for record in records:
        assert record.record_hash in page
    figures = {path.suffix for path in (out / "figures").iterdir()}
    assert figures == {".svg", ".png"}
