import collections
import dataclasses
import subprocess
import sys

import pytest

from logclock.cli import main
from logclock.cli.compare import Request, ensure_named_dataset, resolve
from logclock.records import Ledger
from logclock.sweep import SweepOutcome, Trial

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
def compare_command(tmp_path, tiny_data_root):
    def make(*arguments: str, settings: tuple[str, ...] = ()) -> list[str]:
        places = ["--out", str(tmp_path / "out"), "--data-root", str(tiny_data_root)]
        return ["compare", *arguments, "--heads", "2", *places, "--set", *TINY, *settings]

    return make


def test_a_comparison_with_a_sweep_ends_in_a_report_that_the_ledger_alone_rebuilds(capsys, compare_command, tmp_path):
    sweep = ["--lr-sweep", "--lr-multipliers", "0.5", "1", "--sweep-steps", "10"]
    command = compare_command("adamw", "adana", "--steps", "40", "--jobs", "2", *sweep)

    assert main(command) == 0

    shown = capsys.readouterr().out
    budget = "2 multipliers (0.5, 1) x 10 steps for each of 2 optimizers, 0.5 times the steps of a main run each"
    assert f"learning-rate sweep: {budget}" in shown
    assert "recipe demo: 2 runs of 40 steps" in shown
    assert "compute multiplier" in shown
    page = tmp_path / "out" / "report.html"
    assert f"report: {page}" in shown
    first = page.read_bytes()
    assert first.startswith(b"<!DOCTYPE html>")
    assert "at the edge of the grid, so a wider one may be better: " in shown
    records = Ledger(tmp_path / "out" / "ledger.jsonl").records()
    phases = collections.Counter((record.label, record.tags["phase"]) for record in records)
    assert phases == {("adamw", "sweep"): 4, ("adana", "sweep"): 4, ("adamw", "main"): 1, ("adana", "main"): 1}
    assert {record.config["total_steps"] for record in records if record.tags["phase"] == "sweep"} == {10}
    check_best_was_used(records)
    check_same_tokens(records)
    check_report(first.decode(), records)

    page.unlink()
    assert main(["report", str(tmp_path / "out")]) == 0
    assert page.read_bytes() == first
    ledger = (tmp_path / "out" / "ledger.jsonl").read_bytes()
    assert main(command) == 0  # everything is there already
    assert (page.read_bytes(), (tmp_path / "out" / "ledger.jsonl").read_bytes()) == (first, ledger)


def test_one_optimizer_may_warm_up_by_its_loss(compare_command, tmp_path):
    plan = ["adana:lr_schedule.kind=adaptive_warmup", "adana:lr_schedule.end_loss=5.5", "adana:lr_schedule.div=10"]

    assert main(compare_command("adamw", "adana", "--steps", "40", settings=plan)) == 0

    adamw, adana = Ledger(tmp_path / "out" / "ledger.jsonl").records()
    assert (adamw.config["lr_schedule"]["kind"], adana.config["lr_schedule"]["kind"]) == ("cosine", "adaptive_warmup")
    assert adana.config["lr_schedule"]["final"] == adamw.config["lr_schedule"]["final"]
    assert adana.metrics["handover_step"] is not None
    page = (tmp_path / "out" / "report.html").read_bytes()
    assert main(["report", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").read_bytes() == page


def test_a_composition_is_compared_and_the_report_names_it(compare_command, tmp_path):
    options = ["adana:optimizer.apply=cautious", 'adana:optimizer.wrappers=["grams"]']

    assert main(compare_command("adamw", "adamw-cautious", "adana", "--steps", "20", settings=options)) == 0

    records = Ledger(tmp_path / "out" / "ledger.jsonl").records()
    composed = {record.label: record.config["optimizer"] for record in records}
    assert not {"apply", "wrappers"} & set(composed["adamw"])
    assert composed["adamw-cautious"]["wrappers"] == [{"name": "cautious", "floor": 0.001}]
    assert (composed["adana"]["apply"], composed["adana"]["wrappers"]) == (
        {"name": "cautious_decay"},
        [{"name": "grams"}],
    )
    page = (tmp_path / "out" / "report.html").read_text()
    for text in ("optimizer.apply.name", "cautious_decay", "optimizer.wrappers", "grams"):
        assert text in page


def check_best_was_used(records):
    for label in ("adamw", "adana"):
        tried = [r for r in records if r.label == label and r.tags["phase"] == "sweep"]
        (main_run,) = [r for r in records if r.label == label and r.tags["phase"] == "main"]
        best = min(tried, key=lambda record: record.metrics["final_validation_loss"])
        assert main_run.config["optimizer"]["lr"] == pytest.approx(best.config["optimizer"]["lr"])


def check_same_tokens(records):
    adamw, adana = (record for record in records if record.tags["phase"] == "main")
    different = {key for key in adamw.config if adamw.config[key] != adana.config[key]}
    assert different == {"optimizer"}
    assert adamw.train["tokens"] == adana.train["tokens"]
    assert adamw.data["fingerprint"] == adana.data["fingerprint"]


def check_report(page, records):
    for record in records:
        assert record.record_hash in page


def test_a_stopped_comparison_goes_on_with_the_same_command(compare_command, tmp_path):
    """Ctrl-C reaches the command in a terminal; the workers write checkpoints and the command says how to go on."""
    script = f"""
import os, signal, sys
from logclock.cli import main
from logclock.train import progress

class Impatient(progress.PlainDisplay):
    is_patient = True

    def show(self, name, reading):
        if reading.step > 0 and self.is_patient:
            self.is_patient = False
            os.kill(os.getpid(), signal.SIGINT)

progress.PlainDisplay = Impatient
sys.exit(main({compare_command("adana", "--steps", "100000", "--progress", "plain")!r}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 130, done.stderr
    assert "stopped; the same command goes on from the checkpoints" in done.stdout
    assert done.stderr == ""
    (record,) = Ledger(tmp_path / "out" / "ledger.jsonl").records()
    assert "stopped by SIGTERM after step" in record.reason


def test_a_sweep_in_which_nothing_finished_ends_the_comparison(capsys, compare_command, monkeypatch):
    from logclock.cli import compare as module

    won = {"adamw": Trial(multiplier=0.5)}
    outcome = SweepOutcome(records=[], winners=won, losses={}, on_edge=(), was_stopped=False)
    monkeypatch.setattr(module, "run_sweep", lambda arms, **settings: outcome)
    monkeypatch.setattr(module, "run_jobs", lambda *args, **settings: pytest.fail("started"))

    assert main(compare_command("adamw", "adana", "--steps", "40", "--lr-sweep")) == 2

    assert "no run of the learning-rate sweep of 'adana' finished. Try smaller" in capsys.readouterr().err


def test_runs_of_another_comparison_are_not_mixed_in(capsys, compare_command, tmp_path, monkeypatch):
    from logclock.cli import compare as module

    write_finished(compare_command("adamw", "adana", "--steps", "40"), tmp_path)
    monkeypatch.setattr(module, "run_jobs", lambda *args, **settings: pytest.fail("started"))

    assert main(compare_command("adamw", "adana", "--steps", "50")) == 2

    message = capsys.readouterr().err
    assert "holds runs of another comparison: total_steps of main runs differs" in message
    assert "Choose another directory with --out." in message


def write_finished(command, tmp_path):
    """Put records of finished runs into the ledger without training."""
    from logclock.train import open_dataset
    from logclock.train.record import new_record

    root = command[command.index("--data-root") + 1]
    steps = int(command[command.index("--steps") + 1])
    for name in ("adamw", "adana"):
        config = resolve("demo", name, heads=2, steps=steps, overrides=TINY)
        record = new_record(config, open_dataset(config, root=root), tags={"phase": "main", "baseline": "adamw"})
        Ledger(tmp_path / "out" / "ledger.jsonl").append(dataclasses.replace(record, status="diverged", reason="test"))


def test_settings_can_be_meant_for_one_optimizer():
    request = Request(
        optimizers=["adamw", "adana"],
        overrides=["seed=3", "adana:optimizer.kappa=0.9", 'model={"kind":"enoki","heads":1}'],
    )

    adamw, adana = (request.build(name, 0, 100) for name in request.optimizers)

    assert adana.optimizer.kappa == 0.9
    assert (adamw.seed, adana.seed) == (3, 3)
    assert (adamw.model.heads, adana.model.heads) == (1, 1)
    assert adamw.total_steps == 100


def test_a_named_dataset_is_prepared_when_it_is_missing(tiny_run, tmp_path, monkeypatch):
    from logclock.cli import compare as module

    asked = []
    monkeypatch.setattr(module, "ensure_dataset", lambda corpus, **settings: asked.append((corpus, settings)))
    for name in ("essentials-bpe-2048", "stdlib-byte-257", "mine", "my-own-text", "./essentials-bpe-2048"):
        ensure_named_dataset(tiny_run(f"data.dataset={name}"), root=tmp_path, message=print)

    assert [(corpus, s["tokenizer"], s["vocab_size"]) for corpus, s in asked] == [
        ("essentials", "bpe", 2048),
        ("stdlib", "byte", None),
    ]
    (tmp_path / "datasets" / "stdlib-bpe-512").mkdir(parents=True)
    ensure_named_dataset(tiny_run("data.dataset=stdlib-bpe-512"), root=tmp_path, message=print)
    assert len(asked) == 2


def test_optimizers_with_other_steps_than_adamws_train_and_are_compared(capsys, compare_command, tmp_path):
    """One with blocks for heads, one without a learning rate, and one that wants a gradient of its own."""
    names = ["adam-mini", "prodigy", "sophia-g"]

    assert main(compare_command(*names, "--steps", "12", "--jobs", "1")) == 0

    records = Ledger(tmp_path / "out" / "ledger.jsonl").records()
    assert {record.label: record.status for record in records} == dict.fromkeys(names, "finished")
    assert f"recipe demo: {len(names)} runs of 12 steps" in capsys.readouterr().out
