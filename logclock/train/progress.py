"""How far are the runs? The same readings as a live table, as plain lines, as a file, or not at all."""

import dataclasses
import json
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

from logclock.config import from_dict
from logclock.config.files import read_json, write_whole

__all__ = [
    "Display",
    "DisplayMode",
    "FileDisplay",
    "LiveDisplay",
    "PlainDisplay",
    "QuietDisplay",
    "Reading",
    "open_display",
    "read_progress",
]

DisplayMode = Literal["auto", "live", "plain", "quiet"]

PLAIN_SECONDS = 10.0
FILE_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """Where a run stands.

    Args:
        step: Updates made.
        total_steps: Updates planned.
        loss: Latest training loss, nats per token.
        validation_loss: Latest validation loss, nats per token.
        tokens_per_second: Throughput by the median step.
        seconds_left: Expected time to the end, evaluations not counted.
    """

    step: int
    total_steps: int
    loss: float | None = None
    validation_loss: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None

    def text(self) -> str:
        """Return the reading as one line, without what is not known yet."""
        parts = [f"step {self.step}/{self.total_steps}"]
        for name, value in (("loss", self.loss), ("val", self.validation_loss)):
            parts += [f"{name} {value:.4f}"] if value is not None else []
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:,.0f} tok/s")
        if self.seconds_left is not None and self.step < self.total_steps:
            parts.append(f"{_clock(self.seconds_left)} left")
        return "  ".join(parts)


class Display(ABC):
    """Shows the readings of one or several runs; a context manager."""

    is_cut_off = False
    """Whether nobody reads any more: a pipe was closed. Runs then stop with checkpoints, see `StopRequest`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def show(self, name: str, reading: Reading) -> None:
        """Show the latest reading of a run; cheap enough for every logging interval."""

    @abstractmethod
    def message(self, text: str) -> None:
        """Print something that must not be missed."""

    def _print(self, text: str, stream: TextIO) -> None:
        try:
            print(text, file=stream, flush=True)
        except BrokenPipeError:
            self.is_cut_off = True


class QuietDisplay(Display):
    """Messages on the standard error stream and nothing else."""

    def show(self, name: str, reading: Reading) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Print to the standard error stream."""
        self._print(text, sys.stderr)


class PlainDisplay(Display):
    """Lines for logs and pipes: one per run every ten seconds, and at its first and last reading."""

    def __init__(self) -> None:
        self._printed: dict[str, tuple[float, Reading]] = {}

    def show(self, name: str, reading: Reading) -> None:
        """Print a line if one is due."""
        now = time.monotonic()
        before, printed = self._printed.get(name, (-PLAIN_SECONDS, None))
        is_due = now - before >= PLAIN_SECONDS or reading.step == reading.total_steps
        if is_due and reading != printed:
            self._printed[name] = now, reading
            self.message(f"{name}: {reading.text()}")

    def message(self, text: str) -> None:
        """Print a line."""
        self._print(text, sys.stdout)


class LiveDisplay(Display):
    """A table with one moving line per run."""

    def __init__(self) -> None:
        self._progress = _rich_progress()
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, name: str, reading: Reading) -> None:
        """Move the run's line."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=reading.total_steps, reading="")
        self._progress.update(
            self._tasks[name],
            completed=reading.step,
            total=reading.total_steps,
            reading=reading.text(),
        )

    def message(self, text: str) -> None:
        """Print above the table."""
        self._progress.console.print(text, markup=False, highlight=False)


class FileDisplay(Display):
    """The latest reading in a small file, by which another process follows this one.

    Args:
        path: Replaced in one step, at most twice a second and at the last reading.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = -FILE_SECONDS

    def show(self, name: str, reading: Reading) -> None:
        """Write the reading if a write is due."""
        now = time.monotonic()
        if now - self._written >= FILE_SECONDS or reading.step == reading.total_steps:
            self._written = now
            write_whole(self.path, json.dumps(dataclasses.asdict(reading)).encode())

    def message(self, text: str) -> None:
        """Print to the standard error stream, which the executor keeps as the run's log."""
        self._print(text, sys.stderr)


def read_progress(path: Path) -> Reading | None:
    """Return what a `FileDisplay` wrote last, or None before its first reading and if the file is damaged."""
    try:
        reading: Reading = from_dict(Reading, read_json(path, advice=""))
    except (
        FileNotFoundError,
        ValueError,
        TypeError,
    ):  # it says how far a run is, nothing more: the next one comes soon
        return None
    return reading


def open_display(mode: DisplayMode = "auto") -> Display:
    """Return a display; `auto` is live on a terminal and plain elsewhere.

    Raises:
        ModuleNotFoundError: The live display needs the extra `bench`.
    """
    if mode == "live" or (mode == "auto" and sys.stdout.isatty()):
        return LiveDisplay()
    return QuietDisplay() if mode == "quiet" else PlainDisplay()


def _rich_progress() -> Any:
    try:
        from rich.progress import BarColumn, Progress, TextColumn
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the live display needs rich. Run: pip install 'logclock[bench]'.") from error
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=8),
        TextColumn("{task.fields[reading]}", markup=False),
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
