"""Where does the process of a run live: on this machine, or on any machine of a cluster?

An executor starts processes that all do the same: `python -m logclock.sweep.worker DIRECTORY`, with one order file in
that directory and its log, progress and checkpoints beside it. Whoever starts them decides what to make, when to try
again and what the ledger says; see `logclock.sweep.executor`.
"""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from logclock.train.config import ExecutionConfig, RunConfig
from logclock.train.device import choose_device

__all__ = [
    "ELSEWHERE",
    "JOB",
    "LOG",
    "PROGRESS",
    "Ending",
    "Executor",
    "LocalExecutor",
    "Worker",
    "check_num_jobs",
    "spawn",
]

PROGRESS = "progress.json"
JOB = "job.json"
LOG = "log.txt"

ELSEWHERE = 75
"""Exit code of a worker that found its run claimed by another process (EX_TEMPFAIL of sysexits)."""

KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}
"""Makes glibc keep freed memory. Otherwise the logits and other large temporaries go back to the system after each step
and are faulted in again page by page: 8 of 40 ms per step of the demo (measured), with the same peak memory."""


def check_num_jobs(num_jobs: int | None) -> None:
    """Raise a ValueError for a number of runs at a time with which none would ever start."""
    if num_jobs is not None and num_jobs < 1:
        raise ValueError(f"jobs must be >= 1, got {num_jobs}. Leave it out for as many as the machine has cores for.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """How a worker's process ended.

    Args:
        code: Exit code as of `subprocess`: negative for a signal; None if the process was lost with its machine.
        cause: What happened, as the end of a sentence about the process.
    """

    code: int | None
    cause: str

    @property
    def is_death(self) -> bool:
        """Whether it was ended from outside, so that another try may succeed."""
        return self.code is None or self.code < 0

    @classmethod
    def of(cls, code: int) -> "Ending":
        """Return the ending with this exit code."""
        return cls(
            code=code,
            cause=f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}",
        )


class Worker(Protocol):
    """A process that makes one run."""

    def poll(self) -> Ending | None:
        """Return how the process ended, or None while it lives."""

    def stop(self) -> None:
        """Ask the process to end with a checkpoint."""

    def kill(self) -> None:
        """End the process at once."""


class Executor(Protocol):
    """Starts processes for runs whose directories it and they can reach."""

    def default_num_jobs(self, configs: Sequence[RunConfig]) -> int:
        """Return how many of these runs fit at a time, at least 1."""

    def start(self, directory: Path, execution: ExecutionConfig) -> Worker:
        """Start the process of the run whose order lies in `directory`."""


class LocalExecutor:
    """Processes on this machine: one per core they need, and one on an accelerator."""

    def default_num_jobs(self, configs: Sequence[RunConfig]) -> int:
        """Return the number of cores over the threads of a run; 1 on an accelerator."""
        if any(choose_device(config.execution.device).type != "cpu" for config in configs):
            return 1
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // max((config.execution.num_threads for config in configs), default=1))

    def start(self, directory: Path, execution: ExecutionConfig) -> Worker:
        """Start a process of this one."""
        return LocalWorker(spawn(directory, execution.num_threads))


class LocalWorker:
    """A child process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def poll(self) -> Ending | None:
        """Return how the process ended, or None while it lives."""
        code = self.process.poll()
        return None if code is None else Ending.of(code)

    def stop(self) -> None:
        """Send SIGTERM."""
        self.process.terminate()

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.process.kill()
        self.process.wait()


def spawn(directory: Path, num_threads: int) -> subprocess.Popen[bytes]:
    """Start the process of one run; what it prints goes to the run's log. It ends when this process does."""
    # Read when torch is loaded; setting it later has no effect on some of its libraries.
    threads = {"OMP_NUM_THREADS": str(num_threads)}
    with open(directory / LOG, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "logclock.sweep.worker", str(directory), str(os.getpid())],
            env=KEEP_MEMORY | os.environ | threads,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal reaches this process alone, which passes it on
        )
