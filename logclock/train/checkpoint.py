"""How does a run survive a kill at any moment and go on bitwise?

A checkpoint is one file of plain tensors and numbers, `step-00001000.pt`, which loads with `weights_only=True`. It
appears complete or not at all, and the one before it is kept until the next.
"""

import contextlib
import fcntl
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch

from logclock.config.files import replacing

__all__ = ["InUseError", "claim", "is_claimed", "load_latest", "remove_checkpoints", "save"]

KEPT = 2
FORMAT = 1
NAME = re.compile(r"step-(\d{8})\.pt")


class InUseError(RuntimeError):
    """Another process trains this run."""


@contextlib.contextmanager
def claim(directory: Path) -> Iterator[None]:
    """Hold a run's directory for this process; the claim ends with the process, however that ends.

    Raises:
        InUseError: Another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "a+") as file:
        if not _locked(file, tries=3):  # `is_claimed` in another process holds the lock for an instant
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise InUseError(
                f"{directory} is in use by another process (id {owner}), which trains this run. Wait for it or stop it."
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_claimed(directory: Path) -> bool:
    """Return whether a process holds a run's directory at this moment."""
    try:
        with open(directory / "lock", "rb") as file:
            return not _locked(file, tries=1)
    except FileNotFoundError:
        return False


def _locked(file: IO[Any], *, tries: int) -> bool:
    """Lock a file until it is closed, and return whether that worked."""
    for _ in range(tries):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
            continue
        return True
    return False


def save(directory: Path, step: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint and delete all but the latest two; after an error there are those that were there before.

    Args:
        directory: Where the run's checkpoints lie.
        step: The step after which the state was taken.
        state: Nested dicts and lists of tensors, numbers and strings.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for leftover in directory.glob(".step-*"):  # of a process that was killed while it wrote
        leftover.unlink()
    path = directory / f"step-{step:08d}.pt"
    with replacing(path) as file:
        try:
            torch.save({"format": FORMAT, "step": step, **state}, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch finds its archive too short, and that is all it says
                raise error.__context__ from None
            raise
    _sync_directory(directory)
    for old in _checkpoints(directory)[:-KEPT]:
        old.unlink()
    return path


def load_latest(directory: Path, *, message: Callable[[str], None]) -> dict[str, Any] | None:
    """Return the state of the latest checkpoint that can be read, or None if there is no checkpoint.

    Args:
        directory: Where the run's checkpoints lie.
        message: Told about every file that had to be passed over.

    Raises:
        RuntimeError: There are checkpoints and none of them can be read.
    """
    paths = _checkpoints(directory)
    for path in reversed(paths):
        try:
            _check_sums(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes torch raise whatever its bytes lead to
            message(f"{path} cannot be read ({_first_line(error)}); falling back to the checkpoint before it")
            continue
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise RuntimeError(f"{path} is not a checkpoint of format {FORMAT}, the one this version reads.")
        loaded: dict[str, Any] = state
        return loaded
    if paths:
        raise RuntimeError(
            f"none of the {len(paths)} checkpoints in {directory} can be read. Start the run over with resume=False "
            "(--no-resume), which removes them."
        )
    return None


def remove_checkpoints(directory: Path) -> None:
    """Delete the checkpoints of a run that has ended or starts over."""
    for path in [*_checkpoints(directory), *directory.glob(".step-*")]:
        path.unlink()


def _checkpoints(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if NAME.fullmatch(path.name))


def _check_sums(path: Path) -> None:
    """Raise for a file whose bytes changed after they were written; torch.load does not look at the checksums."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} does not fit")


def _sync_directory(directory: Path) -> None:
    """Make the rename itself survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
