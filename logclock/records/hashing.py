"""Which short name identifies a configuration, and is the same on every machine?"""

import hashlib
from typing import Any

from logclock.config.files import dump_json

__all__ = ["content_hash"]


def content_hash(data: Any, *, length: int = 16) -> str:
    """Return the first `length` hex digits of the sha256 of canonical JSON (sorted keys, shortest floats).

    Raises:
        ValueError: A number is infinite or NaN, which JSON does not have.
    """
    text = dump_json(_canonical(data), purpose="a hash", sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _canonical(data: Any) -> Any:
    """Write 1.0 as 1: whether a number passed through a float field must not change a hash."""
    if isinstance(data, dict):
        return {key: _canonical(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_canonical(value) for value in data]
    return int(data) if isinstance(data, float) and data.is_integer() else data
