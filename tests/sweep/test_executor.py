import dataclasses
import os
import signal
import time

import pytest
import torch

from logclock.records import Ledger
from logclock.sweep import Job, default_num_jobs, executor, run_jobs
from logclock.train import run_directory, train
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
    def make(jobs, *, display=None, num_jobs=2, out="out"):
        display = display or Watcher()
        return run_jobs(jobs, out=tmp_path / out, display=display, num_jobs=num_jobs, data_root=tiny_data_root)

    return make


@pytest.fixture
def no_workers(monkeypatch):
    def start(*args, **kwargs):
        pytest.fail("started a worker")

    monkeypatch.setattr(executor, "_start", start)


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
    assert "\n    FileExistsError" in told  # the end of the log
    assert str(run_directory(tmp_path / "out", bad) / "log.txt") in told
    assert display.steps["adana seed 0"][-1] == 24
    assert Ledger(tmp_path / "out" / "ledger.jsonl").records() == records
    alone = train(good, out=tmp_path / "alone", data_root=tiny_data_root)
    assert (records[1].train, records[1].validation) == (alone.train, alone.validation)
    assert records[1].provenance["num_threads"] == 1


def test_a_killed_worker_is_a_failed_run_that_the_next_call_finishes(run, tiny_run, tiny_data_root, tmp_path):
    settings = ("log_interval=1", "evaluation.interval=500")
    config = tiny_run("execution.checkpoint_interval=1", *settings, steps=300)
    directory = run_directory(tmp_path / "out", config)

    def kill_when_there_is_a_checkpoint(name):
        while not list((directory / "checkpoints").glob("step-*.pt")):
            time.sleep(0.001)
        os.kill(int((directory / "lock").read_text()), signal.SIGKILL)

    (killed,) = run([job(config)], display=Watcher(0, kill_when_there_is_a_checkpoint))
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
