"""How does a function of a stranger run, so that neither its crash nor its hang nor its settings reach this process?"""

import contextlib
import faulthandler
import logging
import multiprocessing
import os
import pickle
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Crash", "answers"]


class Crash(Exception):
    """A process that ended or hung instead of answering; the message says which."""


def answers(tasks: Sequence[Callable[[], Any]], *, timeout: float) -> Iterator[Any | Crash]:
    """Yield what functions return, or a `Crash`, each from a forked process that is silent and leaves nothing behind.

    One process takes task after task; if it dies or is late, it is killed and the next task gets a new one.

    Args:
        tasks: Functions without arguments, whose results can be pickled.
        timeout: Seconds for each.

    Raises:
        RuntimeError: The system cannot fork.
    """
    if not hasattr(os, "fork"):
        raise RuntimeError(
            f"probes run in forked processes, which {sys.platform} does not have. Run them on Linux or macOS, or under "
            "the Windows Subsystem for Linux."
        )
    position = 0
    while position < len(tasks):
        with _forked(tasks[position:]) as (process, pipe):
            while position < len(tasks):
                answer = _answer(process, pipe, timeout)
                yield answer
                position += 1
                if isinstance(answer, Crash):
                    break


@contextlib.contextmanager
def _forked(tasks: Sequence[Callable[[], Any]]) -> Iterator[tuple[int, Connection]]:
    """Run tasks in a child; at the end, the child and whatever it has started are gone."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()  # or the child would write it once more
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads, of which none is used
        process = os.fork()
    if process == 0:
        try:
            ours.close()
            _serve(tasks, theirs)
        finally:
            os._exit(0)  # nothing of the parent's is to be finished here
    theirs.close()  # so that a dead child reads as the end of the pipe
    try:
        yield process, ours
    finally:
        ours.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, 0)


def _answer(process: int, pipe: Connection, timeout: float) -> Any | Crash:
    if not pipe.poll(timeout):
        return Crash(f"It did not end within {timeout:g} seconds.")
    try:
        return pickle.loads(pipe.recv_bytes())
    except EOFError:
        return Crash(_obituary(process))


def _obituary(process: int) -> str:
    """Return how a process ended."""
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return f"The process was killed by {signal.Signals(os.WTERMSIG(status)).name}."
    return f"The process ended with exit code {os.WEXITSTATUS(status)}."


def _serve(tasks: Sequence[Callable[[], Any]], pipe: Connection) -> None:
    """Answer the tasks in order, in the child."""
    os.setsid()  # a group of its own, to be killed with all that it starts
    with contextlib.suppress(ValueError):  # only the main thread may, and a fork makes the caller the main one
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
    _be_silent()
    import torch

    torch.set_num_threads(1)  # a forked process must not use the threads of its parent
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # nor start a pool of processes, if the optimizer compiles
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    for task in tasks:
        torch.manual_seed(0)
        random.seed(0)
        pipe.send_bytes(pickle.dumps(task()))


def _be_silent() -> None:
    """Lead whatever is printed, warned of, logged or told of a crash to nowhere."""
    faulthandler.disable()  # it may hold the parent's stream
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  for as long as the process lives
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
