"""Are these still the bytes that were written?

Opening a dataset must not read terabytes, and a changed token must not pass. So a file is known by its size, its time
of change, the hashes of a few blocks and the hash of the whole. Size, time and blocks are looked at every time; a file
with another time, a copy perhaps, is read as a whole.
"""

import hashlib
from pathlib import Path
from typing import Any

from logclock.data.packages import file_sha256

__all__ = ["describe_file", "why_changed", "why_suspect"]

BLOCK_BYTES = 1 << 16
NUM_BLOCKS = 16
HASH_DIGITS = 16


def describe_file(path: Path, *, sha256: str) -> dict[str, Any]:
    """Return what is remembered of a file, as plain data.

    Args:
        path: The file.
        sha256: Of the whole file, in hex.
    """
    stat = path.stat()
    blocks = [[offset, _block_hash(path, offset)] for offset in _sampled_offsets(stat.st_size)]
    return {
        "file": path.name,
        "sha256": sha256,
        "bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "blocks": blocks,
    }


def why_suspect(path: Path, known: dict[str, Any]) -> str | None:
    """Return why a file must be read as a whole; None if size, time and sampled blocks are as they were."""
    if "blocks" not in known:
        return "its blocks were not recorded"  # by the versions that did not check
    stat = path.stat()
    if stat.st_size != known["bytes"]:
        return f"it has {stat.st_size} bytes, recorded are {known['bytes']}"
    if stat.st_mtime_ns != known["mtime_ns"]:
        return "its time of change is another"
    for offset, recorded in known["blocks"]:
        if _block_hash(path, offset) != recorded:
            return f"the block at byte {offset} is another"
    return None


def why_changed(path: Path, known: dict[str, Any]) -> str | None:
    """Read a whole file and return what is wrong with it, None if it has the recorded content."""
    found = file_sha256(path)
    return None if found == known["sha256"] else f"its sha256 is {found}, recorded is {known['sha256']}"


def _sampled_offsets(num_bytes: int) -> list[int]:
    """Return where the sampled blocks begin: evenly spaced, the first at the beginning, the last at the end."""
    last = max(num_bytes - BLOCK_BYTES, 0)
    return sorted({last * number // (NUM_BLOCKS - 1) for number in range(NUM_BLOCKS)})


def _block_hash(path: Path, offset: int) -> str:
    with path.open("rb") as file:
        file.seek(offset)
        return hashlib.sha256(file.read(BLOCK_BYTES)).hexdigest()[:HASH_DIGITS]
