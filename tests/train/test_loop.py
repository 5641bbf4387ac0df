import json
import math
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

import logclock
from logclock.algorithms import AdamwSpec, SgdSpec
from logclock.config import to_dict
from logclock.data import TrainBatches
from logclock.records import Ledger
from logclock.schedules import AdaptiveWarmupPlan, Constant
from logclock.sweep import worker
from logclock.train import exit_code, load_model, loop, open_dataset, run_directory, train
from logclock.train.passes import Passes
from logclock.train.progress import PlainDisplay, QuietDisplay, Reading
from logclock.train.record import source_hashes

OPTIMIZERS = ["adamw", "adana", "dana-mk4", "dana-star", "dana-star-mk4"]


class StopAt(QuietDisplay):
    """Sends this process a signal when a run has reached a step."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self.step, self.number = step, number
        self.messages: list[str] = []

    def show(self, name: str, reading: Reading) -> None:
        if reading.step >= self.step:
            self.step = 10**9
            os.kill(os.getpid(), self.number)

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def make_run(tiny_data_root, tmp_path):
    """Return a function that trains a config in a directory of its own."""

    def make(config, *, out="out", **settings):
        return train(config, out=tmp_path / out, data_root=tiny_data_root, **settings)

    return make


def weights(out, config):
    return (run_directory(out, config) / "final.safetensors").read_bytes()


def series(record):
    return record.train, record.validation, record.schedules


def test_a_finished_run_leaves_a_whole_record(make_run, tiny_run, tmp_path):
    config = tiny_run()

    record = make_run(config, label="mine", tags={"phase": "main"}, command="logclock train")

    assert (record.status, record.reason, record.label, record.tags) == ("finished", None, "mine", {"phase": "main"})
    assert record.train["step"] == [5, 10, 15, 20, 24]
    assert record.train["tokens"] == [step * 128 for step in record.train["step"]]
    assert record.validation["step"] == [10, 20, 24]
    assert (record.schedules["step"][0], record.schedules["step"][-1]) == (1, 24)
    assert {"lr", "ema1", "ema2", "gain", "eps", "decay/decay", "no_decay/decay"} < set(record.schedules)
    assert record.schedules["ema1"] == [float(f"{8 / (8 + t):.6g}") for t in record.schedules["step"]]
    assert record.schedules["eps"] == [1e-8]  # one value: it does not change
    assert record.schedules["no_decay/decay"] == [0.0]
    assert record.metrics["final_step"] == 24
    assert record.metrics["final_validation_loss"] == record.validation["loss"][-1]
    assert record.metrics["final_bits_per_byte"] == record.validation["bits_per_byte"][-1]
    assert record.metrics["final_train_loss"] == record.train["loss"][-1]
    assert record.cost["optimizer_state_bytes"] == 8 * sum(p.numel() for p in config.model.build(seed=0).parameters())
    for key in ("wall_seconds", "step_seconds", "tokens_per_second", "optimizer_step_seconds", "peak_memory_bytes"):
        assert record.cost[key] > 0
    assert record.cost["optimizer_step_seconds"] < record.cost["step_seconds"]
    assert record.provenance["command"] == "logclock train"
    assert Ledger(tmp_path / "out" / "ledger.jsonl").records() == [record]
    assert json.loads((run_directory(tmp_path / "out", config) / "config.json").read_text()) == record.config


def test_learning_lowers_the_loss_below_that_of_letter_frequencies(make_run, tiny_run, tiny_data_root):
    config = tiny_run(steps=200)
    tokens = open_dataset(config, root=tiny_data_root).train[:]
    _, counts = torch.unique(torch.tensor(tokens.astype(int)), return_counts=True)
    entropy = torch.distributions.Categorical(counts.double()).entropy().item()

    record = make_run(config)

    assert record.train["loss"][0] > math.log(257) - 1  # starts near a guess among all tokens
    assert record.metrics["final_validation_loss"] < entropy - 0.3


def test_a_bare_loop_gives_the_same_numbers(make_run, tiny_run, tiny_data_root, tmp_path):
    """The loop against its definition with torch's own AdamW: schedules, clipping, order of the data."""
    steps, peak = 12, 5e-3
    spec = AdamwSpec(lr=peak, weight_decay=0.1)
    config = tiny_run("log_interval=1", spec=spec, steps=steps)
    dataset = open_dataset(config, root=tiny_data_root)
    model = config.model.build(seed=0)
    linear = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Linear)}
    groups = [
        {"params": [p for p in model.parameters() if (id(p) in linear) == is_linear], "weight_decay": decay}
        for is_linear, decay in [(True, 0.1), (False, 0.0)]
    ]
    optimizer = torch.optim.AdamW(groups, lr=peak)
    batches = TrainBatches(dataset.train, batch_size=4, sequence_length=32, seed=0)
    losses, norms = [], []
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:  # 12 // 50 = 0 warm-up steps
            group["lr"] = peak * (0.1 + 0.45 * (1 + math.cos(math.pi * (step - 1) / steps)))
        inputs, targets = batches.at(step)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
        losses.append(loss.item())
        optimizer.step()

    record = make_run(config)

    # float32 rounding (6e-8 a step) amplified by a dozen Adam steps, which divide by small roots
    assert record.train["loss"] == pytest.approx(losses, rel=1e-5)
    assert record.train["grad_norm"] == pytest.approx(norms, rel=1e-4)
    trained = load_model(run_directory(tmp_path / "out", config))
    for ours, theirs in zip(trained.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_learning_rate_is_the_peak_times_the_schedule(make_run, tiny_run):
    record = make_run(tiny_run("log_interval=1", steps=100))

    lr = record.train["lr"]
    assert lr[0] == pytest.approx(5e-3 * 0.01)  # 2 % warm-up from 1 %
    assert lr[2] == pytest.approx(5e-3)
    assert lr[51] == pytest.approx(5e-3 * (0.1 + 0.45 * (1 + math.cos(math.pi / 2))))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("stop_at", [5, 12])
def test_resume_is_bitwise(make_run, tiny_run, tmp_path, monkeypatch, optimizer, stop_at):
    """Weights, optimizer state, random state and series, whether it stops between points of the series or at one."""
    log_interval = 5 if stop_at == 5 else 12
    config = tiny_run(
        f"log_interval={log_interval}", "evaluation.interval=7", "execution.checkpoint_interval=20", optimizer=optimizer
    )
    monkeypatch.setattr(loop.checkpoint, "remove_checkpoints", lambda directory: None)
    whole = make_run(config, out="whole")

    stopped = make_run(config, out="parts", display=StopAt(stop_at))
    display = StopAt(10**9)
    resumed = make_run(config, out="parts", display=display)

    assert stopped.status == "running"
    assert stopped.reason.startswith("stopped by SIGTERM after step")
    assert stopped.train["step"][-1] < 24
    assert any("going on after step" in text for text in display.messages)
    assert series(resumed) == series(whole)
    assert weights(tmp_path / "parts", config) == weights(tmp_path / "whole", config)
    at_20 = [
        torch.load(run_directory(tmp_path / out, config) / "checkpoints" / "step-00000020.pt", weights_only=True)
        for out in ("whole", "parts")
    ]
    for key in ("model", "optimizer", "random", "log", "monitor"):
        assert_identical(at_20[0][key], at_20[1][key])


def assert_identical(first, second):
    """Compare nested plain data bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_identical(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_identical(a, b)
    else:
        assert first == second


def test_a_process_stops_on_sigterm_with_a_checkpoint_and_goes_on(make_run, tiny_run, tiny_data_root, tmp_path):
    config = tiny_run("log_interval=1", "execution.checkpoint_interval=1", "evaluation.interval=500", steps=250)
    out = tmp_path / "out"

    with subprocess.Popen(write_job(config, out, tiny_data_root)) as process:
        wait_for_checkpoint(run_directory(out, config), 5)
        process.terminate()
        assert process.wait(timeout=60) == 130

    record = Ledger(out / "ledger.jsonl").records()[0]
    last = loop.checkpoint.load_latest(run_directory(out, config) / "checkpoints", message=pytest.fail)["step"]
    assert (record.status, record.train["step"][-1]) == ("running", last)
    assert record.reason == f"stopped by SIGTERM after step {last}; start it again to go on"
    resumed = make_run(tiny_run(*RARELY, steps=250))
    whole = make_run(tiny_run(*RARELY, steps=250), out="whole")
    assert series(resumed) == series(whole)
    assert weights(out, config) == weights(tmp_path / "whole", config)


RARELY = ("log_interval=1", "evaluation.interval=500")


@pytest.mark.parametrize(
    "schedule", [None, AdaptiveWarmupPlan(end_loss=4.8, max_warmup_frac=1.0)], ids=["in time", "by the loss"]
)
def test_kill_9_at_any_moment_leaves_a_run_that_goes_on_bitwise(make_run, tiny_run, tiny_data_root, tmp_path, schedule):
    """A fork server holds the imports, so that most of a victim's life is training."""
    config = tiny_run("log_interval=1", "execution.checkpoint_interval=1", steps=150, lr_schedule=schedule)
    out = tmp_path / "out"
    order = write_job(config, out, tiny_data_root)[-1]
    directory = run_directory(out, config)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["logclock.sweep.worker"])
    chance = random.Random(0)
    reached = [0]
    for _ in range(6):
        victim = context.Process(target=worker.main, args=(order,))
        victim.start()
        wait_for_checkpoint(directory, reached[-1] + chance.randint(1, 15))
        time.sleep(chance.uniform(0, 0.01))  # about two steps: anywhere in a step, or in the writing of a checkpoint
        victim.kill()
        victim.join()
        assert victim.exitcode == -signal.SIGKILL
        latest = loop.checkpoint.load_latest(directory / "checkpoints", message=pytest.fail)
        reached.append(latest["step"])
    assert Ledger(out / "ledger.jsonl").records()[0].status == "running"
    assert reached == sorted(set(reached))  # every victim made at least one step

    finished = make_run(config)

    whole = make_run(tiny_run("log_interval=1", steps=150, lr_schedule=schedule), out="whole")
    assert series(finished) == series(whole)
    assert weights(out, config) == weights(tmp_path / "whole", config)


def write_job(config, out, data_root):
    """Return the command that makes a run as the executor does."""
    directory = run_directory(out, config)
    directory.mkdir(parents=True)
    order = {
        "config": to_dict(config),
        "label": "victim",
        "tags": {},
        "out": str(out),
        "data_root": str(data_root),
        "command": "test",
    }
    (directory / "job.json").write_text(json.dumps(order))
    return [sys.executable, "-m", "logclock.sweep.worker", str(directory)]


def wait_for_checkpoint(directory, step):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(int(path.stem[-8:]) >= step for path in (directory / "checkpoints").glob("step-*.pt")):
            return
        time.sleep(0.001)
    pytest.fail(f"the run did not reach step {step} within a minute")


def test_every_optimizer_sees_the_same_tokens_in_the_same_order(make_run, tiny_run, monkeypatch):
    seen = {}

    class Recorder(TrainBatches):
        def at(self, step):
            inputs, targets = super().at(step)
            seen.setdefault(self.name, []).append((step, inputs.tolist(), targets.tolist()))
            return inputs, targets

    monkeypatch.setattr(loop, "TrainBatches", Recorder)
    for name in ("adamw", "adana"):
        Recorder.name = name
        make_run(tiny_run(optimizer=name))
    Recorder.name = "resumed"
    make_run(tiny_run(), out="parts", display=StopAt(10))
    make_run(tiny_run(), out="parts")
    Recorder.name = "other seed"
    make_run(tiny_run("seed=1"))

    assert [step for step, *_ in seen["adamw"]] == list(range(1, 25))
    assert seen["adana"] == seen["adamw"]
    assert seen["resumed"] == seen["adamw"]
    assert seen["other seed"] != seen["adamw"]


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_add_up_to_the_batch(make_run, tiny_run, parts):
    settings = {"spec": SgdSpec(lr=0.1), "z_loss": 1e-3}
    whole = make_run(tiny_run("log_interval=1", **settings))

    accumulated = make_run(tiny_run("log_interval=1", f"accumulation_steps={parts}", **settings))

    # The sums are the same in another order: float32 rounding, amplified by 24 steps.
    assert accumulated.train["loss"] == pytest.approx(whole.train["loss"], rel=1e-5)
    assert accumulated.train["grad_norm"] == pytest.approx(whole.train["grad_norm"], rel=1e-4)


def test_z_loss_is_in_no_reported_loss(make_run, tiny_run):
    """With learning rate 0 the weights stay, so only the objective differs: reported losses must not."""
    plain, penalised = (
        make_run(tiny_run(spec=SgdSpec(lr=0.1), lr_schedule=Constant(value=0.0), z_loss=z)) for z in (0.0, 0.5)
    )

    assert penalised.validation == plain.validation
    assert penalised.train["loss"] == plain.train["loss"]
    assert penalised.train["grad_norm"] != plain.train["grad_norm"]


def test_the_gradient_is_clipped_and_its_norm_before_that_recorded(make_run, tiny_run):
    """SGD moves by lr times the clipped gradient, so the first step tells its length."""
    config = tiny_run("log_interval=1", "grad_clip=0.01", spec=SgdSpec(lr=1.0, momentum=0.0), steps=1)
    record = make_run(config, out="clipped")
    free = make_run(tiny_run("log_interval=1", "grad_clip=null", spec=SgdSpec(lr=1.0, momentum=0.0), steps=1))

    assert record.train["grad_norm"] == free.train["grad_norm"]
    assert record.train["grad_norm"][0] > 0.1
    assert record.validation["loss"] != free.validation["loss"]


def test_divergence_is_recorded_with_step_and_reason(make_run, tiny_run, tmp_path):
    config = tiny_run("grad_clip=null", "log_interval=8", spec=SgdSpec(lr=1e30), steps=40)

    record = make_run(config)

    assert record.status == "diverged"
    assert record.reason in {
        f"the training loss was {value} at step {step}" for value in ("nan", "inf") for step in (2, 3)
    }
    assert record.metrics["final_step"] == 8
    assert record.metrics["final_validation_loss"] is None
    assert record.train["loss"] == [None]
    assert exit_code(record) == 3
    assert Ledger(tmp_path / "out" / "ledger.jsonl").records() == [record]
    assert not (run_directory(tmp_path / "out", config) / "final.safetensors").exists()
    display = StopAt(10**9)
    assert make_run(config, display=display) == record
    assert "has diverged before" in display.messages[0]


def test_an_evaluation_inside_an_interval_finds_the_step_too(make_run, tiny_run):
    settings = ("grad_clip=null", "log_interval=40", "evaluation.interval=6")

    record = make_run(tiny_run(*settings, spec=SgdSpec(lr=1e30), steps=40))

    assert record.status == "diverged"
    assert record.reason.startswith("the training loss was")
    assert record.reason.endswith(("at step 2", "at step 3"))
    assert record.metrics["final_step"] == 6


def test_a_validation_loss_that_is_not_finite_is_divergence(make_run, tiny_run, monkeypatch):
    class Broken(loop.ValidationSet):
        def evaluate(self, *args, **kwargs):
            result = super().evaluate(*args, **kwargs)
            return type(result)(loss=math.nan, bits_per_byte=math.nan)

    monkeypatch.setattr(loop, "ValidationSet", Broken)

    record = make_run(tiny_run())

    assert (record.status, record.reason) == ("diverged", "the validation loss was nan after step 10")


def test_an_exception_is_recorded_and_raised(make_run, tiny_run, monkeypatch, tmp_path):
    real, calls = Passes.objective, []

    def fails_late(*args, **settings):
        calls.append(1)
        if len(calls) == 7:
            raise ArithmeticError("out of luck")
        return real(*args, **settings)

    monkeypatch.setattr(Passes, "objective", fails_late)

    with pytest.raises(ArithmeticError, match="out of luck"):
        make_run(tiny_run())

    record = Ledger(tmp_path / "out" / "ledger.jsonl").records()[0]
    assert (record.status, record.reason) == ("failed", "ArithmeticError: out of luck")


def test_a_failed_run_goes_on_from_its_checkpoint(make_run, tiny_run, monkeypatch):
    whole = make_run(tiny_run(), out="whole")
    real, calls = Passes.objective, []

    def fails_once(*args, **settings):
        calls.append(1)
        if len(calls) == 13:
            raise ArithmeticError
        return real(*args, **settings)

    monkeypatch.setattr(Passes, "objective", fails_once)
    config = tiny_run("execution.checkpoint_interval=5")
    with pytest.raises(ArithmeticError):
        make_run(config)

    record = make_run(config)

    assert len(calls) == 13 + 14  # from step 11 on
    assert series(record) == series(whole)


def test_a_running_record_is_there_from_the_start(make_run, tiny_run, tmp_path):
    ledger = Ledger(tmp_path / "out" / "ledger.jsonl")
    seen = []

    class Look(QuietDisplay):
        def show(self, name, reading):
            seen.append((reading.step, [record.status for record in ledger.records()]))

    make_run(tiny_run(), display=Look())

    assert seen[0] == (0, ["running"])
    assert seen[-1] == (24, ["running"])


def test_a_finished_run_is_not_made_again_unless_asked(make_run, tiny_run, monkeypatch):
    first = make_run(tiny_run())
    display = StopAt(10**9)

    assert make_run(tiny_run(), display=display) == first
    assert "has finished before" in display.messages[0]
    again = make_run(tiny_run(), resume=False)
    assert series(again) == series(first)
    assert again.provenance["started"] >= first.provenance["started"]
    assert again is not first


def test_starting_over_forgets_checkpoints(make_run, tiny_run):
    make_run(tiny_run(), display=StopAt(10))
    display = StopAt(10**9)

    record = make_run(tiny_run(), resume=False, display=display)

    assert record.status == "finished"
    assert display.messages == []


def test_going_on_with_another_number_of_threads_is_said(make_run, tiny_run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "new_record", changing("provenance", "num_threads", 64))
        make_run(tiny_run(), display=StopAt(10))
    display = StopAt(10**9)

    record = make_run(tiny_run(), display=display)

    assert record.status == "finished"
    expected = "num_threads 64 before, 1 now: the same up to rounding, not bitwise"
    assert any(expected in text for text in display.messages)


OLD_SOURCES = source_hashes() | {"schedules": "0" * 16, "backends": "1" * 16}
OTHER_VERSIONS = [
    ("torch", "0.4", f"torch 0.4 before, {torch.__version__} now"),
    ("logclock", "0.0.1", f"logclock 0.0.1 before, {logclock.__version__} now"),
    ("rule_hash", "abc", "rule_hash abc before, "),
    ("sources", OLD_SOURCES, "other sources of schedules, backends"),
]


@pytest.mark.parametrize(("key", "value", "difference"), OTHER_VERSIONS, ids=[key for key, *_ in OTHER_VERSIONS])
def test_a_checkpoint_of_another_version_is_refused_unless_accepted(
    make_run, tiny_run, monkeypatch, tmp_path, key, value, difference
):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "new_record", changing("provenance", key, value))
        make_run(tiny_run(), display=StopAt(10))

    with pytest.raises(
        ValueError, match=rf"from another version: {re.escape(difference)}.*--no-resume.*--accept-version"
    ):
        make_run(tiny_run())
    display = StopAt(10**9)
    record = make_run(tiny_run("execution.accept_version=true"), display=display)

    assert record.status == "finished"
    assert record.provenance["accepted_changes"].startswith(f"from step 11: {difference}")
    assert record.provenance[key] != value
    assert any("accepted another version" in text for text in display.messages)
    assert Ledger(tmp_path / "out" / "ledger.jsonl").records() == [record]


def test_what_was_accepted_stays_in_the_record_over_further_stops(make_run, tiny_run, monkeypatch):
    for step, version in ((5, "0.1"), (10, "0.2"), (15, "0.2")):
        with monkeypatch.context() as patch:
            patch.setattr(loop, "new_record", changing("provenance", "logclock", version))
            make_run(tiny_run("execution.accept_version=true"), display=StopAt(step))

    record = make_run(tiny_run("execution.accept_version=true"))

    assert record.provenance["accepted_changes"] == (
        f"from step 6: logclock 0.1 before, 0.2 now; from step 16: logclock 0.2 before, {logclock.__version__} now"
    )


def test_a_checkpoint_from_before_versions_were_kept_is_of_another_version(make_run, tiny_run, tmp_path):
    make_run(tiny_run(), display=StopAt(10))
    (path,) = (run_directory(tmp_path / "out", tiny_run()) / "checkpoints").glob("step-*.pt")
    state = torch.load(path, weights_only=True)
    state["origin"] = {key: state["origin"][key] for key in ("rule_hash", "dataset fingerprint")}
    torch.save(state, path)

    with pytest.raises(ValueError, match=f"logclock unknown before, {logclock.__version__} now"):
        make_run(tiny_run())


def test_a_longer_run_says_that_it_continues_none(make_run, tiny_run):
    first = make_run(tiny_run(steps=12))
    display = StopAt(10**9)

    record = make_run(tiny_run(steps=18), display=display)

    assert record.run_id != first.run_id
    assert display.messages == [
        f"adana: 18 steps are another run ({record.run_id}) than the 12 steps of run {first.run_id} here, which is not "
        "continued: its schedules were made for its length. This one starts at step 1."
    ]
    make_run(tiny_run("seed=1", steps=18), display=display)
    make_run(tiny_run(optimizer="adamw", steps=18), display=display)
    make_run(tiny_run(steps=24), tags={"phase": "sweep"}, display=display)
    assert len(display.messages) == 1  # another seed, optimizer or purpose is no longer run


class GonePipe:
    """A stream whose reader goes after some lines."""

    def __init__(self, lines):
        self.lines = lines

    def write(self, text):
        self.lines -= text.count("\n")
        if self.lines < 0:
            raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        pass


def test_a_run_whose_reader_has_gone_stops_with_a_checkpoint_and_goes_on(make_run, tiny_run, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr("logclock.train.progress.PLAIN_SECONDS", 0.0)
        patch.setattr("sys.stdout", GonePipe(2))
        stopped = make_run(tiny_run(), display=PlainDisplay())

    assert (stopped.status, stopped.reason) == (
        "running",
        "stopped by the end of the program that read its output after step 10; start it again to go on",
    )
    assert series(make_run(tiny_run())) == series(make_run(tiny_run(), out="whole"))


def test_a_disk_that_is_full_ends_a_run_with_one_error_about_it(make_run, tiny_run, monkeypatch, tmp_path):
    config = tiny_run("execution.checkpoint_interval=5")
    directory = run_directory(tmp_path / "out", config) / "checkpoints"
    before, _ = make_run(config, display=StopAt(5)), sorted(directory.iterdir())

    def full(state, file):
        file.write(b"x" * 100_000)
        raise OSError(28, "No space left on device")

    def no_room(self, record):
        if record.status == "failed":
            raise OSError(28, "No space left on device, again")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr(Ledger, "append", no_room)
    with pytest.raises(OSError, match=r"No space left on device: .*step-00000010\.pt"):
        make_run(config)

    assert before.status == "running"
    assert [path.name for path in directory.iterdir()] == ["step-00000005.pt"]


def test_a_model_that_no_memory_could_hold_is_refused_at_once(make_run, tiny_run, tmp_path):
    with pytest.raises(ValueError, match=r"parameters, .* GB of float32; this machine has .* Use a smaller model"):
        make_run(tiny_run("model.num_layers=100000000000"))

    assert not (tmp_path / "out").exists()


def changing(part, key, value, real=loop.new_record):
    """Return a `new_record` that says something else in one place."""

    def changed(*args, **kwargs):
        record = real(*args, **kwargs)
        getattr(record, part)[key] = value
        return record

    return changed


@pytest.mark.parametrize(("part", "key"), [("data", "fingerprint")])
def test_a_checkpoint_from_other_data_is_refused_even_if_versions_are_accepted(
    make_run, tiny_run, monkeypatch, part, key
):
    make_run(tiny_run(), display=StopAt(10))
    monkeypatch.setattr(loop, "new_record", changing(part, key, "something else"))

    with pytest.raises(ValueError, match=r"now it is something else: .* Start it over with resume=False"):
        make_run(tiny_run("execution.accept_version=true"))


def test_two_processes_cannot_train_one_run(make_run, tiny_run, tmp_path):
    config = tiny_run()

    with (
        loop.checkpoint.claim(run_directory(tmp_path / "out", config)),
        pytest.raises(RuntimeError, match="in use by another process"),
    ):
        make_run(config)


def test_checkpoints_are_gone_when_a_run_has_finished(make_run, tiny_run, tmp_path):
    config = tiny_run("execution.checkpoint_interval=5")

    make_run(config)

    assert list((run_directory(tmp_path / "out", config) / "checkpoints").iterdir()) == []


def test_bfloat16_on_request_stays_close_to_float32(make_run, tiny_run):
    exact = make_run(tiny_run())

    rough = make_run(tiny_run("precision=bfloat16"))

    assert rough.provenance["precision"] == "bfloat16"
    assert rough.train["loss"] != exact.train["loss"]
    assert rough.train["loss"] == pytest.approx(exact.train["loss"], rel=0.02)  # 8 bits: 0.4 % a product


def test_a_model_with_too_small_a_vocabulary_is_refused(make_run, tiny_run):
    with pytest.raises(ValueError, match=r"model.vocab_size is 200, dataset 'tiny-byte-257' has 257 tokens"):
        make_run(tiny_run("model.vocab_size=200"))


def test_a_missing_dataset_is_one_clear_error(make_run, tiny_run, tiny_data_root):
    with pytest.raises(FileNotFoundError, match=r"datasets/nowhere does not exist"):
        make_run(tiny_run("data.dataset=nowhere"))
    by_path = str(tiny_data_root / "datasets" / "tiny-byte-257")
    assert make_run(tiny_run(f"data.dataset={by_path}")).status == "finished"


@pytest.mark.slow
def test_a_compiled_model_trains_the_same(make_run, tiny_run):
    eager = make_run(tiny_run(), out="eager")

    compiled = make_run(tiny_run("execution.compile_model=true"))

    assert compiled.train["loss"] == pytest.approx(eager.train["loss"], rel=1e-4)
