"""Where do records live, so that several processes may write and a crash loses nothing?"""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from logclock.records.record import RunRecord

__all__ = ["Ledger"]


class Ledger:
    """An append-only file of run records, one JSON object a line.

    Appending takes a lock, writes one line and syncs it, so several processes may share a ledger. A line that a crash
    cut off is left behind by the next writer (which starts a new line) and skipped by readers; a broken line elsewhere
    raises. A later record of the same run supersedes an earlier one.

    Args:
        path: The file; it and its directory are created by the first `append`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def append(self, record: RunRecord) -> None:
        """Add a record; it is on the disk when this returns."""
        line = json.dumps(record.to_dict(), sort_keys=True, allow_nan=False).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def history(self) -> Iterator[RunRecord]:
        """Yield every record in the order of writing, superseded ones included.

        Raises:
            ValueError: A complete line is not a record.
        """
        if not self.path.exists():
            return
        lines = self.path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                data = json.loads(line)
            except json.JSONDecodeError as error:
                # Only a line that a crash cut off is unfinished JSON: it ends in the middle of an object.
                if not line.rstrip().endswith(b"}"):
                    continue
                raise ValueError(
                    f"{self.path}, line {number}: not a JSON record ({error}). Remove the line."
                ) from error
            yield RunRecord.from_dict(data)

    def records(self) -> list[RunRecord]:
        """Return the latest record of each run, in the order in which the runs first appeared."""
        latest: dict[str, RunRecord] = {}
        for record in self.history():
            latest[record.run_id] = record
        return list(latest.values())
