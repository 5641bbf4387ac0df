"""Where do records live, so that several processes may write and a crash loses nothing?"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from logclock.config.files import dump_json, parse_json
from logclock.records.record import SCHEMA_VERSION, RunRecord

__all__ = ["Ledger"]

TORN = b" # cut off by a crash"
"""What a writer puts behind a line that it finds unfinished; no JSON object ends like this."""


class Ledger:
    """An append-only file of run records, one JSON object a line.

    Appending takes a lock, writes one line and syncs it, so several processes may share a ledger. A line that a crash
    cut off is skipped by readers, who can name it (`cut_off_lines`); the next writer marks it as such and starts a new
    line. A broken line elsewhere raises. A later record of the same run supersedes an earlier one.

    Args:
        path: The file; it and its directory are created by the first `append`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def append(self, record: RunRecord) -> None:
        """Add a record; it is on the disk when this returns, and nothing of it is there when this raises.

        Raises:
            ValueError: A number of the record is infinite or NaN.
            OSError: The file cannot be written.
        """
        line = dump_json(record.to_dict(), purpose="a ledger", sort_keys=True).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            try:
                _write_all(file, _ending_of_last_line(file) + line)
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(size)  # a full disk took a part of the line
                raise OSError(error.errno, error.strerror, str(self.path)) from error  # which named no file

    def history(self) -> Iterator[RunRecord]:
        """Yield every record in the order of writing, superseded ones included.

        Raises:
            ValueError: A complete line is not a record; the message names the file and the line.
            TypeError: A line has a key too many or too few, or a value of the wrong type; named likewise.
        """
        for number, line, is_cut_off in self._lines():
            if not is_cut_off:
                yield self._record(line, number)

    def cut_off_lines(self) -> list[int]:
        """Return the numbers of the lines that a crash cut off and that readers skip; the first line is 1."""
        return [number for number, _, is_cut_off in self._lines() if is_cut_off]

    def _lines(self) -> Iterator[tuple[int, bytes, bool]]:
        """Yield number, text and whether a crash cut it off, of every line that is not blank."""
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # a line that is being written is not one that was cut off
            *complete, last = file.read().split(b"\n")
        for number, line in enumerate(complete, start=1):
            if line.strip():
                yield number, line, line.endswith(TORN)
        if last.strip():
            yield len(complete) + 1, last, not _is_json(last)  # if it is JSON, a crash took the line break alone

    def _record(self, line: bytes, number: int) -> RunRecord:
        where = f"{self.path}, line {number}"
        try:
            data = parse_json(line)
            if not isinstance(data, dict):
                raise ValueError(f"expected a JSON object, got {line[:80].decode(errors='replace')}")
        except ValueError as error:
            raise ValueError(f"{where}: not a JSON record ({error}). Remove the line or restore it.") from error
        try:
            return RunRecord.from_dict(data)
        except (TypeError, ValueError) as error:
            advice = "" if data.get("schema_version") != SCHEMA_VERSION else " Correct the line, or remove it."
            raise type(error)(f"{where}: {error}{advice}") from error

    def records(self) -> list[RunRecord]:
        """Return the latest record of each run, in the order in which the runs first appeared."""
        latest: dict[str, RunRecord] = {}
        for record in self.history():
            latest[record.run_id] = record
        return list(latest.values())

    def record(self, config: Mapping[str, Any]) -> RunRecord | None:
        """Return the latest record of the run of a configuration, None if there is none.

        Lines of other runs are not read further than that: a study asks this for every run that it makes.

        Args:
            config: As `to_dict` writes it; a run is known by the hash of it.

        Raises:
            ValueError: A line of the run, or one without a configuration, is not a record; named as in `history`.
            TypeError: Likewise.
        """
        latest = None
        for number, line, is_cut_off in self._lines():
            if not is_cut_off and _config(line) in (config, None):
                record = self._record(line, number)
                latest = record if record.config == config else latest
        return latest


def _write_all(file: FileIO, content: bytes) -> None:
    while content:
        content = content[file.write(content) or 0 :]


def _ending_of_last_line(file: FileIO) -> bytes:
    """Return what must come before the next line: nothing, unless a crash left the last one without its end."""
    position = file.seek(0, os.SEEK_END)
    last = b""
    while position and b"\n" not in last:
        start = max(position - 65536, 0)
        last = os.pread(file.fileno(), position - start, start) + last
        position = start
    last = last[last.rfind(b"\n") + 1 :]
    if not last:
        return b""
    return b"\n" if _is_json(last) else TORN + b"\n"


def _config(line: bytes) -> Any:
    """Return the configuration in a line; None if it is no record, which its reader explains."""
    try:
        return json.loads(line)["config"]
    except (LookupError, TypeError, ValueError, RecursionError):
        return None


def _is_json(line: bytes) -> bool:
    """Return whether a line can be read; no proper beginning of a JSON object can."""
    try:
        json.loads(line.decode())
    except RecursionError:
        return True  # nothing of ours is so deep: the reader of the line says so
    except ValueError:
        return False
    return True
