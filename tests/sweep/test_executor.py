import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from logclock.config import to_dict
from logclock.records import Ledger
from logclock.sweep import Job, LocalExecutor, default_num_jobs, executor, run_jobs
from logclock.sweep.workers import ELSEWHERE
from logclock.train import checkpoint, run_directory, train
from logclock.train.progress import Display, Reading


class Watcher(Display):
    """Notes what is shown and calls a function at the first reading of a run that has reached a step."""

    def __init__(self, step=None, act=lambda name: None):
        self.step, self.act = step, act
        self.messages, self.steps = [], {}

    def show(self, name: str, reading: Reading) -> None:
        self.steps.setdefault(name, []).append(reading.step)
        if self.step is not None and reading.step >= self.step:
            self.step = None
            self.act(name)

    def message(self, text: str) -> None:
        self.messages.append(text)


def job(config, label="adana", **tags):
    return Job(config=config, label=label, tags={"phase": "main", **tags})


@pytest.fixture
def run(tiny_data_root, tmp_path):
    def make(jobs, *, display=None, num_jobs=2, out="out", **settings):
        display = display or Watcher()
        places = {"out": tmp_path / out, "display": display, "data_root": tiny_data_root}
        return run_jobs(jobs, num_jobs=num_jobs, **places, **settings)

    return make


@pytest.fixture
def no_workers(monkeypatch):
    def start(*args, **kwargs):
        pytest.fail("started a worker")

    monkeypatch.setattr(executor, "_start", start)


@pytest.mark.parametrize("num_jobs", [0, -1])
def test_no_runs_at_a_time_would_never_end_and_is_refused(run, tiny_run, no_workers, tmp_path, num_jobs):
    with pytest.raises(ValueError, match=rf"jobs must be >= 1, got {num_jobs}\. Leave it out"):
        run([job(tiny_run())], num_jobs=num_jobs)

    assert not (tmp_path / "out").exists()


def test_a_worker_tells_a_request_that_cannot_be_met_without_a_traceback(run, tiny_run):
    display = Watcher()

    (record,) = run([job(tiny_run("model.num_layers=100000000000"))], display=display)

    assert record.status == "failed"
    told = "\n".join(display.messages)
    assert "error: the model has" in told
    assert "Traceback" not in told


def test_a_run_that_cannot_train_costs_nobody_else_anything(run, tiny_run, tiny_data_root, tmp_path):
    good, bad = tiny_run(), tiny_run("seed=1", "execution.checkpoint_interval=5")
    in_the_way = run_directory(tmp_path / "out", bad) / "checkpoints"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where the run wants a directory")
    display = Watcher()

    records = run([job(bad, "bad"), job(good)], display=display)

    assert [(record.label, record.status) for record in records] == [("bad", "failed"), ("adana", "finished")]
    assert records[0].reason.startswith("FileExistsError")
    told = next(text for text in display.messages if text.startswith("bad seed 1: failed"))
    assert f"\n    error: {in_the_way}: File exists." in told  # the end of the log
    assert "Traceback" not in told
    assert str(run_directory(tmp_path / "out", bad) / "log.txt") in told
    assert display.steps["adana seed 0"][-1] == 24
    assert Ledger(tmp_path / "out" / "ledger.jsonl").records() == records
    alone = train(good, out=tmp_path / "alone", data_root=tiny_data_root)
    assert (records[1].train, records[1].validation) == (alone.train, alone.validation)
    assert records[1].provenance["num_threads"] == 1


def kill_when_there_is_a_checkpoint(directory):
    while not list((directory / "checkpoints").glob("step-*.pt")):
        time.sleep(0.001)
    os.kill(int((directory / "lock").read_text()), signal.SIGKILL)


def test_a_killed_worker_costs_its_own_run_alone_and_that_goes_on_from_its_checkpoint(
    run, tiny_run, tiny_data_root, tmp_path
):
    settings = ("log_interval=1", "evaluation.interval=500")
    killed, other = tiny_run("execution.checkpoint_interval=1", *settings, steps=300), tiny_run("seed=1")
    display = Watcher(0, lambda name: kill_when_there_is_a_checkpoint(run_directory(tmp_path / "out", killed)))

    records = run([job(killed, "killed"), job(other, "other")], display=display)

    assert [(record.label, record.status) for record in records] == [("killed", "finished"), ("other", "finished")]
    told = "killed seed 0: the worker process was ended by SIGKILL; trying again from the latest checkpoint (1 of 2)"
    assert told in display.messages
    assert any("going on after step" in text for text in display.messages)
    whole = train(killed, out=tmp_path / "whole", data_root=tiny_data_root)
    assert (records[0].train, records[0].validation) == (whole.train, whole.validation)
    history = [(record.label, record.status) for record in Ledger(tmp_path / "out" / "ledger.jsonl").history()]
    assert ("killed", "failed") not in history


def test_a_run_that_is_killed_every_time_fails_after_the_last_try(run, tiny_run, monkeypatch):
    started = []

    class Doomed(LocalExecutor):
        def start(self, directory, execution):
            started.append(directory)
            worker = super().start(directory, execution)
            worker.process.kill()
            return worker

    display = Watcher()
    (record,) = run([job(tiny_run())], display=display, executor=Doomed(), retries=2)

    assert (record.status, record.reason) == ("failed", "the worker process was ended by SIGKILL")
    assert len(started) == 3
    assert [text for text in display.messages if "trying again" in text][-1].endswith("(2 of 2)")


def test_an_error_in_a_run_is_not_tried_again(run, tiny_run, tmp_path):
    bad = tiny_run("execution.checkpoint_interval=5")
    in_the_way = run_directory(tmp_path / "out", bad) / "checkpoints"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where the run wants a directory")
    display = Watcher()

    (record,) = run([job(bad)], display=display)

    assert record.status == "failed"
    assert not any("trying again" in text for text in display.messages)


def test_a_run_that_another_process_makes_is_waited_for(run, tiny_run, tiny_data_root, tmp_path, no_workers):
    config = tiny_run()
    directory = run_directory(tmp_path / "out", config)
    done = train(config, out=tmp_path / "elsewhere", data_root=tiny_data_root, label="adana", tags={"phase": "sweep"})

    class Other(Watcher):
        """The other process: it ends its run, with the record in the ledger, when this one has seen it."""

        def message(self, text):
            super().message(text)
            if "another process makes run" in text:
                Ledger(tmp_path / "out" / "ledger.jsonl").append(done)
                claimed.close()

    display = Other()
    claimed = contextlib.ExitStack()
    claimed.enter_context(checkpoint.claim(directory))
    (record,) = run([job(config)], display=display)

    assert record == dataclasses.replace(done, tags={"phase": "main"})
    assert display.messages == [
        f"adana seed 0: another process makes run {done.run_id}; waiting for it",
        f"adana seed 0: finished by another process (run {done.run_id})",
    ]


def test_a_worker_that_finds_its_run_claimed_leaves_it_alone_and_it_is_made_later(run, tiny_run, tmp_path, monkeypatch):
    config = tiny_run()
    directory = run_directory(tmp_path / "out", config)
    directory.mkdir(parents=True)
    claimed = contextlib.ExitStack()
    claimed.enter_context(checkpoint.claim(directory))
    endings = []

    class Late(LocalExecutor):
        """Starts a worker although the run is claimed, as if the claim had come an instant later."""

        def start(self, directory, execution):
            worker = super().start(directory, execution)
            if not endings:
                worker.process.wait()
                claimed.close()
            endings.append(worker)
            return worker

    monkeypatch.setattr(executor.checkpoint, "is_claimed", lambda directory: False)
    (record,) = run([job(config)], executor=Late())

    assert [worker.poll().code for worker in endings] == [ELSEWHERE, 0]
    assert record.status == "finished"


def test_two_studies_in_one_directory_make_each_run_once(tiny_run, tiny_data_root, tmp_path):
    """The same call in two processes at once: they share the work instead of doing it twice."""
    script = """
import json, sys
from logclock.config import from_dict
from logclock.sweep import Job, run_jobs
from logclock.train import RunConfig
from logclock.train.progress import QuietDisplay

configs, out, root = json.loads(sys.stdin.read())
jobs = [Job(config=from_dict(RunConfig, config), label="adana", tags={}) for config in configs]
records = run_jobs(jobs, out=out, display=QuietDisplay(), num_jobs=1, data_root=root)
print(json.dumps([record.record_hash for record in records]))
"""
    configs = [to_dict(tiny_run(f"seed={seed}")) for seed in range(3)]
    order = json.dumps([configs, str(tmp_path / "out"), str(tiny_data_root)])
    command = [sys.executable, "-c", script]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        process.stdin.write(order)
        process.stdin.close()
        process.stdin = None
    shown = [process.communicate(timeout=120) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], shown
    assert shown[0][0] == shown[1][0]
    history = list(Ledger(tmp_path / "out" / "ledger.jsonl").history())
    finished = [record.run_id for record in history if record.status == "finished"]
    assert len(finished) == len(set(finished)) == 3
    assert not any(record.status == "failed" for record in history)


def test_a_line_cut_off_by_a_crash_is_told_and_its_run_made(run, tiny_run, tiny_data_root, tmp_path):
    train(tiny_run(), out=tmp_path / "out", data_root=tiny_data_root)
    path = tmp_path / "out" / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-20])  # the record of the end
    display = Watcher()

    (record,) = run([job(tiny_run())], display=display)

    assert record.status == "finished"
    told = f"{path}: line 2 was cut off by a crash and is skipped; its run is made again"
    assert told in display.messages


def test_a_killed_worker_is_a_failed_run_that_the_next_call_finishes(run, tiny_run, tiny_data_root, tmp_path):
    settings = ("log_interval=1", "evaluation.interval=500")
    config = tiny_run("execution.checkpoint_interval=1", *settings, steps=300)
    directory = run_directory(tmp_path / "out", config)

    watcher = Watcher(0, lambda name: kill_when_there_is_a_checkpoint(directory))
    (killed,) = run([job(config)], display=watcher, retries=0)
    assert (killed.status, killed.reason) == ("failed", "the worker process was ended by SIGKILL")

    display = Watcher()
    quick = tiny_run(*settings, steps=300)  # the same run, without the checkpoints
    (record,) = run([job(quick)], display=display)

    assert record.status == "finished"
    assert any("going on after step" in text for text in display.messages)
    whole = train(quick, out=tmp_path / "whole", data_root=tiny_data_root)
    assert (record.train, record.validation, record.schedules) == (whole.train, whole.validation, whole.schedules)


def test_a_signal_stops_every_worker_with_a_checkpoint(run, tiny_run, tmp_path):
    settings = ("log_interval=1", "evaluation.interval=100000")
    running, waiting = tiny_run(*settings, steps=100_000), tiny_run(*settings, "seed=1", steps=50_000)
    display = Watcher(1, lambda name: os.kill(os.getpid(), signal.SIGINT))

    records = run([job(waiting), job(running)], display=display, num_jobs=1)

    assert [record.status for record in records] == ["running", "running"]
    assert records[0].reason == "not started yet"  # the longer one was first
    assert "stopped by SIGTERM after step" in records[1].reason
    assert any("SIGINT: stopping 1 runs" in text for text in display.messages)
    checkpoints = list((run_directory(tmp_path / "out", running) / "checkpoints").glob("step-*.pt"))
    assert [torch.load(path, weights_only=True)["step"] for path in checkpoints] == [records[1].metrics["final_step"]]
    assert not (run_directory(tmp_path / "out", waiting) / "checkpoints").exists()
    labels = [record.run_id for record in Ledger(tmp_path / "out" / "ledger.jsonl").records()]
    assert labels == [record.run_id for record in records]  # in the order of the plan


def test_runs_that_the_ledger_holds_are_not_made_again(run, tiny_run, tiny_data_root, tmp_path, no_workers):
    done = train(tiny_run(), out=tmp_path / "out", data_root=tiny_data_root, tags={"phase": "main"})
    display = Watcher()

    assert run([job(tiny_run())], display=display) == [done]
    assert display.messages == [f"adana seed 0: finished before (run {done.run_id})"]


def test_a_run_that_is_there_for_another_purpose_is_retagged(run, tiny_run, tiny_data_root, tmp_path, no_workers):
    done = train(tiny_run(), out=tmp_path / "out", data_root=tiny_data_root, tags={"phase": "sweep"})

    (record,) = run([job(tiny_run(), "mine")])

    assert record == dataclasses.replace(done, label="mine", tags={"phase": "main"})
    assert Ledger(tmp_path / "out" / "ledger.jsonl").records() == [record]


def test_the_longest_run_starts_first(run, tiny_run, monkeypatch):
    started = []

    def start(job, **settings):
        started.append(job.label)
        raise StopIteration

    monkeypatch.setattr(executor, "_start", start)
    jobs = [
        job(tiny_run(steps=10), "short"),
        job(tiny_run(steps=30), "long"),
        job(tiny_run("seed=1", optimizer="dana-star-mk4", steps=30), "long and dear"),
    ]

    with pytest.raises(StopIteration):
        run(jobs)

    assert started == ["long and dear"]
    order = sorted(jobs, key=lambda job: executor._work_left(job, executor.Path("nowhere")), reverse=True)
    assert [job.label for job in order] == ["long and dear", "long", "short"]


def test_one_run_cannot_be_planned_twice(run, tiny_run):
    with pytest.raises(ValueError, match="jobs must be distinct runs, got 'a seed 0' and 'b seed 0'"):
        run([job(tiny_run(), "a"), job(tiny_run(), "b")])


def test_what_is_wrong_with_the_data_is_found_out_before_anything_starts(run, tiny_run, no_workers):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        run([job(tiny_run("data.dataset=nowhere"))])
    with pytest.raises(ValueError, match="training tokens, but batch_size=100000"):
        run([job(tiny_run("data.batch_size=100000"))])
    with pytest.raises(ValueError, match="validation tokens, but batch_size=4"):
        run([job(tiny_run("evaluation.batches=100000"))])


@pytest.mark.parametrize(("cores", "threads", "expected"), [(8, 1, 8), (8, 3, 2), (2, 4, 1)])
def test_one_run_per_core_it_needs(tiny_run, monkeypatch, cores, threads, expected):
    monkeypatch.setattr(executor.os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)

    assert default_num_jobs([tiny_run(), tiny_run(f"execution.num_threads={threads}")]) == expected
