"""How do many runs share one machine, so that none is made twice and a crash costs one run only?"""

import dataclasses
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from logclock.config import to_dict
from logclock.config.files import write_whole
from logclock.records import Ledger, RunRecord
from logclock.sweep.workers import (
    ELSEWHERE,
    JOB,
    LOG,
    PROGRESS,
    Ending,
    Executor,
    LocalExecutor,
    Worker,
    check_num_jobs,
)
from logclock.train import checkpoint
from logclock.train.config import RunConfig, run_id
from logclock.train.loop import open_dataset, run_directory
from logclock.train.progress import Display, read_progress
from logclock.train.record import completed, ended, exit_code, new_record
from logclock.train.stop import stop_on_signal

__all__ = ["Job", "default_num_jobs", "run_jobs"]

POLL_SECONDS = 0.2
LOG_LINES = 12


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


def run_jobs(
    jobs: Sequence[Job],
    *,
    out: str | os.PathLike[str],
    display: Display,
    num_jobs: int | None = None,
    data_root: str | Path | None = None,
    command: str | None = None,
    executor: Executor | None = None,
    retries: int = 2,
) -> list[RunRecord]:
    """Make every run that the ledger does not hold yet, each in a process of its own, and return their records.

    Runs that were interrupted go on from their checkpoints. A worker that dies loses its own run only, which is tried
    again from its latest checkpoint; after the last try it gets a record with the status `failed`. A run that another
    process makes is waited for. SIGTERM or SIGINT stops the workers with checkpoints and starts no more of them; the
    records of runs that have not ended then have the status `running`.

    Args:
        jobs: The runs, in the order of the returned records.
        out: Directory of the study, with its ledger.
        display: Where progress shows.
        num_jobs: Runs at a time; None for what fits by the executor's account.
        data_root: Where datasets lie that are given by name.
        command: What the user typed, for the records.
        executor: Where the processes live; on this machine if None.
        retries: How often a run whose worker was killed or lost is tried again. An error in the run is not: it would
            come again.

    Raises:
        FileNotFoundError: A dataset is not there.
        ValueError: Two jobs are the same run, or `num_jobs` is less than 1.
    """
    check_num_jobs(num_jobs)
    _check_distinct(jobs)
    out = Path(out)
    executor = LocalExecutor() if executor is None else executor
    ledger = Ledger(out / "ledger.jsonl")
    for line in ledger.cut_off_lines():
        display.message(f"{ledger.path}: line {line} was cut off by a crash and is skipped; its run is made again")
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
    known = {record.run_id: record for record in ledger.records()}
    records: dict[str, RunRecord] = {}
    waiting = []
    for job, record in zip(jobs, fresh, strict=True):
        earlier = completed(known.get(record.run_id), record)
        if earlier is None:
            waiting.append(job)
            records[record.run_id] = dataclasses.replace(record, reason="not started yet")
            if record.run_id not in known:  # so that the ledger lists the runs in this order, whichever starts first
                ledger.append(records[record.run_id])
        else:
            display.message(f"{job.name}: {earlier.status} before (run {earlier.run_id})")
            records[earlier.run_id] = _for_this_purpose(earlier, job, ledger)
    waiting.sort(key=lambda job: _work_left(job, out), reverse=True)  # the longest first: none is left over at the end
    num_jobs = executor.default_num_jobs([job.config for job in waiting]) if num_jobs is None else num_jobs

    def start(job: Job) -> Worker:
        return _start(job, executor=executor, out=out, data_root=data_root, command=command)

    with stop_on_signal(display=display) as stop, _Pool(start, waiting, records, ledger, display, retries) as pool:
        while pool.running or (pool.waiting and not stop.reason):
            while len(pool.running) < num_jobs and not stop.reason and pool.start_next(out):
                pass
            time.sleep(POLL_SECONDS)
            if stop.reason:
                pool.stop(stop.reason)
            for run in list(pool.running):
                pool.look_after(run)
    return [records[record.run_id] for record in fresh]


def default_num_jobs(configs: Sequence[RunConfig]) -> int:
    """Return how many runs fit on this machine at a time: one per core they need, and one on an accelerator."""
    return LocalExecutor().default_num_jobs(configs)


def _for_this_purpose(record: RunRecord, job: Job, ledger: Ledger) -> RunRecord:
    """Return a record that is there already, with the job's label and tags if it was made for another purpose."""
    if (record.label, record.tags) == (job.label, job.tags):
        return record
    record = dataclasses.replace(record, label=job.label, tags=job.tags)
    ledger.append(record)
    return record


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
    return flop, len(config.optimizers.hidden.rule.state_names)


def _start(job: Job, *, executor: Executor, out: Path, data_root: str | Path | None, command: str | None) -> Worker:
    """Write the order of one run and start its process."""
    directory = run_directory(out, job.config).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    order = {
        "config": to_dict(job.config),
        "label": job.label,
        "tags": job.tags,
        "out": str(out.absolute()),
        "data_root": None if data_root is None else str(Path(data_root).expanduser().absolute()),
        "command": command,
    }
    (directory / PROGRESS).unlink(missing_ok=True)  # of an earlier attempt
    write_whole(directory / JOB, json.dumps(order, indent=1).encode(), durable=True)
    return executor.start(directory, job.config.execution)


@dataclasses.dataclass(eq=False)
class _Running:
    """A run in the making."""

    job: Job
    directory: Path
    worker: Worker


class _Pool:
    """Runs that wait and runs in the making; those that are still in the making at the end, after an error, are killed.

    Args:
        start: Starts the process of a run.
        waiting: The runs to make, in this order.
        records: By run id, how each stands; kept up to date.
        ledger: Where the processes write.
        display: Where progress shows.
        retries: How often a run whose process was killed or lost is tried again.
    """

    def __init__(
        self,
        start: Callable[[Job], Worker],
        waiting: list[Job],
        records: dict[str, RunRecord],
        ledger: Ledger,
        display: Display,
        retries: int,
    ) -> None:
        self.waiting, self.records = waiting, records
        self.running: list[_Running] = []
        self._start, self._ledger, self._display, self._retries = start, ledger, display, retries
        self._deaths: Counter[str] = Counter()
        self._elsewhere: set[str] = set()
        self._is_stopping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for run in self.running:
            run.worker.kill()

    def start_next(self, out: Path) -> bool:
        """Start the first run that no other process makes, and return whether there was one."""
        for job in self.waiting:
            name, begun = job.name, self.records[run_id(job.config)]
            directory = run_directory(out, job.config)
            if checkpoint.is_claimed(directory):
                if begun.run_id not in self._elsewhere:
                    self._elsewhere.add(begun.run_id)
                    self._display.message(f"{name}: another process makes run {begun.run_id}; waiting for it")
                continue
            self.waiting.remove(job)
            earlier = completed(self._ledger.record(begun.config), begun) if begun.run_id in self._elsewhere else None
            if earlier is None:
                self.running.append(_Running(job=job, directory=directory, worker=self._start(job)))
            else:
                self._display.message(f"{name}: {earlier.status} by another process (run {earlier.run_id})")
                self.records[begun.run_id] = _for_this_purpose(earlier, job, self._ledger)
            return True
        return False

    def stop(self, reason: str) -> None:
        """Ask the runs in the making, once, to end with checkpoints."""
        if not self._is_stopping:
            self._is_stopping = True
            self._display.message(f"{reason}: stopping {len(self.running)} runs; each writes a checkpoint")
            for run in self.running:
                run.worker.stop()

    def look_after(self, run: _Running) -> None:
        """Show how far a run is; if its process has ended, take its record or try again."""
        name, begun = run.job.name, self.records[run_id(run.job.config)]
        reading = read_progress(run.directory / PROGRESS)
        if reading is not None:
            self._display.show(name, reading)
        ending = run.worker.poll()
        if ending is None:
            return
        self.running.remove(run)
        self._deaths[begun.run_id] += ending.is_death
        if ending.code == ELSEWHERE:  # claimed by another process just before this one could
            self.waiting.append(run.job)
        elif ending.is_death and self._deaths[begun.run_id] <= self._retries and not self._is_stopping:
            again = f"trying again from the latest checkpoint ({self._deaths[begun.run_id]} of {self._retries})"
            self._display.message(f"{name}: the worker process {ending.cause}; {again}")
            self.waiting.insert(0, run.job)
        else:
            self.records[begun.run_id] = _collect(run, begun, ending, ledger=self._ledger, display=self._display)


def _collect(run: _Running, begun: RunRecord, ending: Ending, *, ledger: Ledger, display: Display) -> RunRecord:
    """Return the record of a run whose process has ended, writing one if the process could not."""
    record = ledger.record(begun.config) or begun
    if record.status == "running" and ending.code != exit_code(record):
        record = ended(record, status="failed", reason=f"the worker process {ending.cause}")
        ledger.append(record)
    log = (run.directory / LOG).read_text(errors="replace").splitlines()
    lines = [f"{run.job.name}: {record.status}{f', {record.reason}' if record.reason else ''}"]
    if log:
        lines += [f"    {line}" for line in log[-LOG_LINES:]] + [f"    (log: {run.directory / LOG})"]
    display.message("\n".join(lines))
    return record
