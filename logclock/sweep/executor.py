"""How do many runs share one machine, so that none is made twice and a crash costs one run only?"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from logclock.config import to_dict
from logclock.data.atomic import write_atomically
from logclock.records import Ledger, RunRecord
from logclock.train.config import RunConfig, run_id
from logclock.train.device import choose_device
from logclock.train.loop import open_dataset, run_directory
from logclock.train.progress import Display, read_progress
from logclock.train.record import completed_record, ended, exit_code, new_record
from logclock.train.stop import stop_on_signal

__all__ = ["Job", "default_num_jobs", "run_jobs"]

POLL_SECONDS = 0.2
LOG_LINES = 12
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}
"""Makes glibc keep freed memory. Otherwise the logits and other large temporaries go back to the system after each step
and are faulted in again page by page: 8 of 40 ms per step of the demo (measured), with the same peak memory."""

PROGRESS = "progress.json"
JOB = "job.json"
LOG = "log.txt"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A run to be made.

    Args:
        config: The run.
        label: What tables call it.
        tags: By which the study finds it.
    """

    config: RunConfig
    label: str
    tags: dict[str, str]

    @property
    def name(self) -> str:
        """What a display calls the run."""
        if "lr_multiplier" in self.tags:
            return f"{self.label} lr x{self.tags['lr_multiplier']}"
        return f"{self.label} seed {self.config.seed}"


@dataclasses.dataclass
class Worker:
    """A process that makes one run."""

    job: Job
    directory: Path
    process: subprocess.Popen[bytes]
    was_told_to_stop: bool = False

    def stop(self) -> None:
        """Ask the process, once, to end with a checkpoint."""
        if not self.was_told_to_stop:
            self.process.terminate()
            self.was_told_to_stop = True


def run_jobs(
    jobs: Sequence[Job],
    *,
    out: str | os.PathLike[str],
    display: Display,
    num_jobs: int | None = None,
    data_root: str | Path | None = None,
    command: str | None = None,
) -> list[RunRecord]:
    """Make every run that the ledger does not hold yet, each in a process of its own, and return their records.

    Runs that were interrupted go on from their checkpoints. A worker that dies loses its own run only, which gets a
    record with the status `failed`. SIGTERM or SIGINT stops the workers with checkpoints and starts no more of them;
    the records of runs that have not ended then have the status `running`.

    Args:
        jobs: The runs, in the order of the returned records.
        out: Directory of the study, with its ledger.
        display: Where progress shows.
        num_jobs: Runs at a time; see `default_num_jobs`.
        data_root: Where datasets lie that are given by name.
        command: What the user typed, for the records.

    Raises:
        FileNotFoundError: A dataset is not there.
        ValueError: Two jobs are the same run.
    """
    _check_distinct(jobs)
    out = Path(out)
    ledger = Ledger(out / "ledger.jsonl")
    fresh = [
        new_record(
            job.config,
            open_dataset(job.config, root=data_root),
            label=job.label,
            tags=job.tags,
            command=command,
        )
        for job in jobs
    ]
    records: dict[str, RunRecord] = {}
    known = {record.run_id: record for record in ledger.records()}
    waiting = []
    for job, record in zip(jobs, fresh, strict=True):
        earlier = completed_record(known.values(), record)
        if earlier is None:
            waiting.append(job)
            records[record.run_id] = dataclasses.replace(record, reason="not started yet")
            if record.run_id not in known:  # so that the ledger lists the runs in this order, whichever starts first
                ledger.append(records[record.run_id])
            continue
        display.message(f"{job.name}: {earlier.status} before (run {earlier.run_id})")
        if (earlier.label, earlier.tags) != (job.label, job.tags):  # the same run, for another purpose
            earlier = dataclasses.replace(earlier, label=job.label, tags=job.tags)
            ledger.append(earlier)
        records[earlier.run_id] = earlier
    waiting.sort(key=lambda job: _work_left(job, out), reverse=True)  # the longest first: none is left over at the end
    num_jobs = default_num_jobs([job.config for job in waiting]) if num_jobs is None else num_jobs
    with stop_on_signal() as stop, _killed_at_exit() as running:
        while running or (waiting and not stop.reason):
            while waiting and len(running) < num_jobs and not stop.reason:
                running.append(_start(waiting.pop(0), out=out, data_root=data_root, command=command))
            time.sleep(POLL_SECONDS)
            if stop.reason and not all(worker.was_told_to_stop for worker in running):
                display.message(f"{stop.reason}: stopping {len(running)} runs; each writes a checkpoint")
                for worker in running:
                    worker.stop()
            for worker in list(running):
                reading = read_progress(worker.directory / PROGRESS)
                if reading is not None:
                    display.show(worker.job.name, reading)
                if worker.process.poll() is not None:
                    running.remove(worker)
                    begun = records[run_id(worker.job.config)]
                    records[begun.run_id] = _collect(worker, begun, ledger=ledger, display=display)
    return [records[record.run_id] for record in fresh]


def default_num_jobs(configs: Sequence[RunConfig]) -> int:
    """Return how many runs fit on this machine at a time: one per core they need, and one on an accelerator."""
    if any(choose_device(config.execution.device).type != "cpu" for config in configs):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max((config.execution.num_threads for config in configs), default=1))


def _check_distinct(jobs: Sequence[Job]) -> None:
    seen: dict[str, Job] = {}
    for job in jobs:
        other = seen.setdefault(run_id(job.config), job)
        if other is not job:
            raise ValueError(
                f"jobs must be distinct runs, got {other.name!r} and {job.name!r} with the same configuration "
                f"(run {run_id(job.config)}). Change one of them or leave it out."
            )


def _work_left(job: Job, out: Path) -> tuple[float, int]:
    """Return the compute a run still needs, and the number of state tensors as the tie-break."""
    config = job.config
    reading = read_progress(run_directory(out, config) / PROGRESS)
    steps = config.total_steps - (reading.step if reading else 0)
    flop = steps * config.model.size().compute_6d(tokens=config.tokens_per_step)
    return flop, len(type(config.optimizer).rule.state_names)


def _start(job: Job, *, out: Path, data_root: str | Path | None, command: str | None) -> Worker:
    """Start the process of one run; what it prints goes to the run's log."""
    directory = run_directory(out, job.config)
    directory.mkdir(parents=True, exist_ok=True)
    order = {
        "config": to_dict(job.config),
        "label": job.label,
        "tags": job.tags,
        "out": str(out.absolute()),
        "data_root": None if data_root is None else str(Path(data_root).expanduser().absolute()),
        "command": command,
        "parent": os.getpid(),
    }
    (directory / PROGRESS).unlink(missing_ok=True)  # of an earlier attempt
    write_atomically(directory / JOB, json.dumps(order, indent=1).encode())
    # Read when torch is loaded; setting it later has no effect on some of its libraries.
    threads = {"OMP_NUM_THREADS": str(job.config.execution.num_threads)}
    with open(directory / LOG, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "logclock.sweep.worker", str(directory / JOB)],
            env=KEEP_MEMORY | os.environ | threads,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal reaches this process alone, which passes it on
        )
    return Worker(job=job, directory=directory, process=process)


@contextlib.contextmanager
def _killed_at_exit() -> Iterator[list[Worker]]:
    """Yield the list of workers; those that are still in it at the end, after an error, are killed."""
    workers: list[Worker] = []
    try:
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()


def _collect(worker: Worker, begun: RunRecord, *, ledger: Ledger, display: Display) -> RunRecord:
    """Return the record of a run whose process has ended, writing one if the process could not."""
    written = [record for record in ledger.history() if record.run_id == begun.run_id]
    record = written[-1] if written else begun
    code = worker.process.returncode
    if record.status == "running" and code != exit_code(record):
        cause = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        record = ended(record, status="failed", reason=f"the worker process {cause}")
        ledger.append(record)
    log = (worker.directory / LOG).read_text(errors="replace").splitlines()
    lines = [f"{worker.job.name}: {record.status}{f', {record.reason}' if record.reason else ''}"]
    if log:
        lines += [f"    {line}" for line in log[-LOG_LINES:]] + [f"    (log: {worker.directory / LOG})"]
    display.message("\n".join(lines))
    return record
