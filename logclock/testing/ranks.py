"""How are probes asked on several ranks, on this machine, in processes that are gone afterwards?"""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from logclock.testing.results import ProbeResult
from logclock.testing.subject import Subject

__all__ = ["JOB", "STORE", "answer_path", "ask_on_ranks"]

JOB, STORE = "job.pickle", "store"

GRACE = 10.0
"""Seconds that the others get to answer after one rank has failed; they may wait for it in a collective."""

LAST_WORDS = 300
"""Characters of the standard error of a rank that died."""


def answer_path(folder: Path, rank: int) -> Path:
    """Return where a rank leaves its answers."""
    return folder / f"rank{rank}.json"


def ask_on_ranks(subject: Subject, names: Sequence[str], *, ranks: int, timeout: float) -> list[ProbeResult]:
    """Return the results of the named probes.

    Args:
        subject: What is asked; other processes must be able to import its class or factory.
        names: Of probes that need ranks.
        ranks: Number of processes.
        timeout: Seconds for each probe, beside the start of the processes.
    """
    try:
        job = pickle.dumps(
            {"build": subject.build, "settings": dict(subject.settings), "shapes": tuple(subject.shapes)}
        )
    except Exception as error:
        reason = f"Other processes cannot import it ({error}): give a class or function of a module."
        return [ProbeResult(probe=name, status="not applicable", seen=reason) for name in names]
    results: list[ProbeResult] = []
    while len(results) < len(names):  # a rank that fails ends: what is left gets new processes
        results += _one_launch(job, names[len(results) :], ranks, timeout)
        last = results[-1]
        if last.status == "not applicable" or (last.status == "fail" and last.amount is None):
            # it cannot be imported there, or takes no step: the others would say the same
            reason = last.seen if last.status == "not applicable" else f"It takes no sharded steps: see `{last.probe}`."
            left = names[len(results) :]
            results += [ProbeResult(probe=name, status="not applicable", seen=reason) for name in left]
    return results


def _one_launch(job: bytes, names: Sequence[str], ranks: int, timeout: float) -> list[ProbeResult]:
    """Return the results of the first probes, at least one: those up to the first that fails."""
    with tempfile.TemporaryDirectory(prefix="logclock-ranks-") as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        (folder / JOB).write_bytes(job)
        processes = [stack.enter_context(_started(folder, rank, ranks, names)) for rank in range(ranks)]
        deadline = time.monotonic() + timeout * (1 + len(names))
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            if any(_has_failed(folder, rank, process, names) for rank, process in enumerate(processes)):
                deadline = min(deadline, time.monotonic() + GRACE)
            time.sleep(0.02)
        return _together([_answers(folder, rank, process) for rank, process in enumerate(processes)], names, timeout)


@contextlib.contextmanager
def _started(folder: Path, rank: int, ranks: int, names: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    paths = [path or os.getcwd() for path in sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    command = [sys.executable, "-m", "logclock.testing.rank", str(folder), str(rank), str(ranks), *names]
    with (folder / f"stderr{rank}").open("wb") as errors:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(folder: Path, rank: int) -> list[dict[str, Any]]:
    path = answer_path(folder, rank)
    return json.loads(path.read_text()) if path.exists() else []


def _has_failed(folder: Path, rank: int, process: "subprocess.Popen[bytes]", names: Sequence[str]) -> bool:
    """Return whether a rank will say no more although there is more to say."""
    return process.poll() is not None and (
        len(answers := _read(folder, rank)) < len(names) or answers[-1]["status"] != "pass"
    )


def _answers(folder: Path, rank: int, process: "subprocess.Popen[bytes]") -> list[dict[str, Any]]:
    """Return what a rank answered, with its end as the last answer if it died."""
    answers = _read(folder, rank)
    if process.returncode and (not answers or answers[-1]["status"] == "pass"):
        words = (folder / f"stderr{rank}").read_text(errors="replace").strip().splitlines()
        last = f": {words[-1][-LAST_WORDS:]}" if words else ""
        answers.append({"status": "fail", "seen": f"Rank {rank} died (exit code {process.returncode}){last}"})
    return answers


def _together(ranks: list[list[dict[str, Any]]], names: Sequence[str], timeout: float) -> list[ProbeResult]:
    """Return one result per probe up to the first that is not passed by all ranks."""
    results: list[ProbeResult] = []
    for position, name in enumerate(names):
        said = [answers[position] for answers in ranks if len(answers) > position]
        bad = [answer for answer in said if answer["status"] != "pass"]
        # what a rank says for itself before what it says of another one that did not come
        bad.sort(key=lambda answer: bool(answer.get("is_about_others")))
        if bad:
            answer = bad[0]
        elif len(said) < len(ranks):
            late = " and ".join(str(r) for r, answers in enumerate(ranks) if len(answers) <= position)
            answer = {"status": "fail", "seen": f"No answer from rank {late} within {timeout:g} seconds."}
        else:
            results.append(ProbeResult(probe=name, status="pass", seen=said[0]["seen"]))
            continue
        results.append(
            ProbeResult(probe=name, status=answer["status"], seen=answer["seen"], amount=answer.get("amount"))
        )
        break
    return results
