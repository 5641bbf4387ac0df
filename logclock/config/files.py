"""How is a file read and written so that whatever goes wrong names it, and a reader finds it whole or not at all?"""

import collections
import contextlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = ["MAX_DEPTH", "dump_json", "parse_json", "read_json", "replacing", "write_whole"]

MAX_DEPTH = 64
"""Levels of lists and objects in one another. Our own files have fewer than ten; the stack ends near a thousand."""

MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32", b"PK": "a zip archive"}
MARKS |= {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"%PDF": "a PDF"}

BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
OVERFLOWING = re.compile(r"(?:^|[\s:,\[])-?\d+(?:\.\d*)?[eE]\+?0*[1-9]\d\d|\d{200}")
"""Numbers that may exceed the largest double, which Python's JSON reader turns into infinity: those with an exponent of
three digits, or with 200 digits. Hashes, in quotation marks, look like the former."""


def read_json(path: str | os.PathLike[str], *, advice: str) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: The file, in UTF-8.
        advice: What to do about a file that is something else, as a sentence.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no JSON object, or one that no program should take; the message names the file.
    """
    content = Path(path).read_bytes()
    try:
        data = parse_json(content)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} is not JSON ({error}). {advice}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{os.fspath(path)} must hold a JSON object, got {_kind(data)}. {advice}")
    return data


def parse_json(content: bytes | str) -> Any:
    """Return what JSON stands for; stricter than the standard library's reader.

    Infinities and NaN, a key that stands twice in an object, and nesting beyond `MAX_DEPTH` are refused: they would be
    accepted here and lost, or break something, later.

    Raises:
        ValueError: What is wrong, without a period, for the caller to say where.
    """
    text = _decoded(content) if isinstance(content, bytes) else content
    _check_depth(text)
    constants: list[str] = []
    try:
        data = json.loads(text, parse_constant=constants.append, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(f"nested more than {MAX_DEPTH} deep") from None
    if constants or OVERFLOWING.search(text):
        _check_finite(json.loads(text))
    return data


def dump_json(data: Any, *, purpose: str, **options: Any) -> str:
    """Return plain data as JSON.

    Args:
        data: Dicts, lists, numbers, strings and None.
        purpose: What the text is for, as the subject of an error.
        **options: Of `json.dumps`.

    Raises:
        ValueError: A number is infinite or NaN, which JSON does not have; the message says where.
    """
    try:
        return json.dumps(data, allow_nan=False, **options)
    except ValueError:
        path, value = _first_non_finite(data) or ("a value", math.nan)
        raise ValueError(
            f"{path or 'the value'} is {value}, and {purpose} takes finite numbers. Write None for what has no value."
        ) from None


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Yield a file that becomes `path` when the block ends, and of which nothing stays if it does not.

    Args:
        path: The file to write or to replace; its directory exists.
        durable: Whether it must survive a power failure, which costs the time that the disk takes.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666), "w+b") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(partial)):
            raise OSError(error.errno, error.strerror, str(path)) from error  # an error of writing names no file
        raise


def write_whole(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file whole or not at all; one that can be made again does not wait for the disk."""
    with replacing(path, durable=durable) as file:
        file.write(content)


def _decoded(content: bytes) -> str:
    for mark, name in MARKS.items():
        if content.startswith(mark):
            raise ValueError(f"it looks like {name}, not UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is {content[error.start]:#04x}, not UTF-8: {error.reason}") from None


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return data


def _first_non_finite(data: Any) -> tuple[str, float] | None:
    """Return the path and the value of the first number in plain data that JSON cannot write, or None."""
    waiting = collections.deque([("", data)])
    while waiting:
        path, value = waiting.popleft()
        if isinstance(value, dict):
            waiting += [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{path}[{place}]", item) for place, item in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            return path, value
    return None


def _check_finite(data: Any) -> None:
    found = _first_non_finite(data)
    if found is not None:
        path, value = found
        raise ValueError(
            f"{path or 'the number'} is {value}, and JSON has finite numbers only (null stands for others)"
        )


def _kind(data: Any) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(data), "null")
