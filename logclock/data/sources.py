"""Where do the documents of a dataset come from, and on which side of the split does each one fall?

`open_source` turns what the user names (a corpus, a directory, a file, a Hugging Face dataset) into a `TextSource`,
which can be read from the start any number of times. Reading holds one document in memory, not the source.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logclock.config import closest
from logclock.data.corpora import CORPORA, get_corpus, read_manifest
from logclock.data.extract import text_digest, validation_share
from logclock.data.file_kinds import (
    READ_SUFFIXES,
    TOKEN_SUFFIXES,
    format_suffix,
)
from logclock.data.readers import DEFAULT_COLUMN, has_column, read_documents, read_json_lines, reader_of
from logclock.data.token_files import find_token_files, open_tokens

__all__ = ["TextSource", "open_source"]

DOCUMENT_CHARS = 8_000
MIN_DOCUMENT_CHARS = 500
DOCUMENTS_AT_LEAST = 100
LOCAL_ALTERNATIVES = (
    "Local alternatives: a corpus by name ('essentials', 'stdlib', 'synthetic'), a text file, a folder of text files, "
    "or a JSON, Parquet or Arrow file downloaded before."
)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TextSource:
    """Documents with their side of the split.

    Args:
        description: Plain data that says what this is; equal descriptions mean equal documents.
        read: Reads from the start, yielding (belongs to validation, text) and counting what it leaves out.
        place: How errors call it.
    """

    description: dict[str, Any]
    read: Callable[[Counter[str]], Iterator[tuple[bool, str]]]
    place: str

    def documents(self, left_out: Counter[str] | None = None) -> Iterator[tuple[bool, str]]:
        """Read from the start, yielding (belongs to validation, text).

        Args:
            left_out: Counts the records without text (`null`) and the blank ones (`blank`).
        """
        return self.read(Counter() if left_out is None else left_out)


def open_source(
    source: str | Path,
    *,
    column: str | None = None,
    subset: str | None = None,
    split: str | None = None,
    limit_bytes: int | None = None,
    validation_fraction: float | None = None,
    root: str | Path | None = None,
    progress: Progress = print,
) -> TextSource:
    """Find out what `source` names; see `prepare` for the arguments.

    Raises:
        FileNotFoundError: It names nothing that exists.
        ValueError: An option has no effect on this kind of source, or is out of range.
    """
    _check_ranges(limit_bytes, validation_fraction)
    name, path = str(source), Path(source).expanduser()
    options = {"column": column, "subset": subset, "split": split, "validation_fraction": validation_fraction}
    if isinstance(source, str) and name in CORPORA:
        _reject(name, "a corpus has its own columns and split", options)
        return _corpus_source(get_corpus(name, root=root, progress=progress), limit_bytes)
    if (path / "MANIFEST.json").is_file():
        _reject(name, "a corpus has its own columns and split", options)
        return _corpus_source(path, limit_bytes)
    if path.is_dir() or path.is_file():
        _refuse_tokens(path)
        _reject(name, "it is a local file or folder", {"subset": subset, "split": split})
        return _local_source(path, column, limit_bytes, validation_fraction, progress)
    if path.exists():
        raise ValueError(f"{name} is neither a file nor a folder; text is read more than once. Write it into a file.")
    if isinstance(source, str) and _looks_like_hub(name):
        return _hub_source(name, column or DEFAULT_COLUMN, subset, split or "train", limit_bytes, validation_fraction)
    matches = closest(name, CORPORA)
    hint = f" Did you mean the corpus {matches[0]!r}?" if matches else ""
    raise FileNotFoundError(
        f"{name!r} is neither a corpus ({', '.join(CORPORA)}), an existing file or folder, nor a Hugging Face id such "
        f"as HuggingFaceFW/fineweb.{hint} Check the path."
    )


def _check_ranges(limit_bytes: int | None, validation_fraction: float | None) -> None:
    if limit_bytes is not None and limit_bytes < 1:
        raise ValueError(f"limit_bytes must be at least 1, got {limit_bytes}. None reads everything.")
    if validation_fraction is not None and not 0 < validation_fraction < 1:
        raise ValueError(
            f"validation_fraction must lie strictly between 0 and 1, got {validation_fraction}. None chooses."
        )


def _reject(name: str, reason: str, options: dict[str, Any]) -> None:
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise ValueError(f"{', '.join(given)} has no effect on {name!r}: {reason}. Leave it out.")


def _looks_like_hub(name: str) -> bool:
    is_file_name = format_suffix(name) in (*READ_SUFFIXES, *TOKEN_SUFFIXES)
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name)) and not is_file_name


def _refuse_tokens(path: Path) -> None:
    if files := find_token_files(path, is_declared=False):
        open_tokens(files, path, tokenizer=None)  # raises, saying what the files are


def _limited(
    texts: Iterator[tuple[bool, str]], limit_bytes: int | None, left_out: Counter[str]
) -> Iterator[tuple[bool, str]]:
    """Make every text encodable, leave out blank ones, and stop before training exceeds the limit."""
    left = limit_bytes
    for is_validation, raw in texts:
        if not raw.strip():
            left_out["blank"] += 1
            continue
        # JSON can hold half a surrogate pair, which has no UTF-8 form; it becomes "?".
        text = raw.encode("utf-8", "replace").decode("utf-8")
        if left is not None and not is_validation:
            left -= len(text.encode())
            if left < 0:
                return
        yield is_validation, text


def _without_null(texts: Iterator[str | None], left_out: Counter[str]) -> Iterator[str]:
    for text in texts:
        if text is None:
            left_out["null"] += 1
        else:
            yield text


def _corpus_source(directory: Path, limit_bytes: int | None) -> TextSource:
    """Keep the corpus's own split."""
    read_manifest(directory)

    def read(left_out: Counter[str]) -> Iterator[tuple[bool, str]]:
        for part, is_validation in (("val.jsonl", True), ("train.jsonl", False)):
            if not (directory / part).is_file():
                raise FileNotFoundError(f"{directory / part} is missing. Build the corpus again with force.")
            for text in _without_null(read_json_lines(directory / part, DEFAULT_COLUMN), left_out):
                yield is_validation, text

    manifest_sha256 = hashlib.sha256((directory / "MANIFEST.json").read_bytes()).hexdigest()
    description = {"kind": "corpus", "manifest_sha256": manifest_sha256, "limit_bytes": limit_bytes}
    return TextSource(
        description, lambda left_out: _limited(read(left_out), limit_bytes, left_out), f"the corpus {directory}"
    )


def _hash_split(texts: Iterator[str], fraction: float) -> Iterator[tuple[bool, str]]:
    """Hold out a document when its sha256, read as a number in [0, 1), is below `fraction`.

    Equal texts fall on the same side, whatever their order and number.
    """
    for text in texts:
        digest = text_digest(text.encode("utf-8", "replace").decode("utf-8"))
        yield int.from_bytes(digest[:8], "big") < fraction * 2.0**64, text


def _local_source(
    path: Path, column: str | None, limit_bytes: int | None, fraction: float | None, progress: Progress
) -> TextSource:
    files = _list_files(path, column or DEFAULT_COLUMN, progress)
    tables = [file for file in files if reader_of(file) is not None]
    if column is not None and not tables:
        raise ValueError(
            f"column={column!r} has no effect on {path}: it holds no JSON, CSV, Parquet or Arrow file. Leave it out."
        )
    num_bytes = min(sum(file.stat().st_size for file in files), limit_bytes or 2**63)
    share = validation_share(num_bytes) if fraction is None else fraction
    # Little text is cut finer, so that a random share of its documents is not by chance none.
    document_chars = max(MIN_DOCUMENT_CHARS, min(DOCUMENT_CHARS, num_bytes // DOCUMENTS_AT_LEAST))
    description = {
        "kind": "local",
        "num_files": len(files),
        "files_sha256": _files_digest(path, files),
        "column": (column or DEFAULT_COLUMN) if tables else None,
        "limit_bytes": limit_bytes,
        "validation_fraction": share,
    }

    def read(left_out: Counter[str]) -> Iterator[tuple[bool, str]]:
        texts = (
            text
            for file in files
            for text in _without_null(read_documents(file, column or DEFAULT_COLUMN, document_chars), left_out)
        )
        try:
            yield from _limited(_hash_split(texts, share), limit_bytes, left_out)
            is_same = _files_digest(path, files) == description["files_sha256"]
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error.filename} is gone since {path} was listed. Start again.") from None
        if not is_same:
            raise ValueError(f"{path} changed while it was read. Start again when nothing writes there any more.")

    return TextSource(description, read, str(path))


def _files_digest(path: Path, files: list[Path]) -> str:
    """Hash names, sizes and times of change: enough to notice another source without reading it."""
    stats = [(file, file.stat()) for file in files]
    facts = [[file.relative_to(path.parent).as_posix(), stat.st_size, stat.st_mtime_ns] for file, stat in stats]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _list_files(path: Path, column: str, progress: Progress) -> list[Path]:
    """Return the file itself, or the readable files below a folder in the order of their names."""
    if path.is_file():
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty. Give a file with text in it.")
        return [path]
    found = sorted(
        file for file in path.rglob("*") if not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    left_out = {file: reason for file in found if (reason := _why_left_out(file, column))}
    files = [file for file in found if file not in left_out and file.is_file() and file.stat().st_size]
    if not files:
        others = sum(file.is_file() for file in found)
        raise ValueError(
            f"{path} holds no text: looked for files ending in {', '.join(READ_SUFFIXES)} (also with .gz or .zst), "
            f"found {others} others."
        )
    if left_out:
        kinds = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(left_out.values()).items()))
        progress(f"reading {len(files)} files of {path}, leaving out {kinds}")
    return files


def _why_left_out(file: Path, column: str) -> str:
    """Return why a file of a folder is not read, in a word or two; "" if it is, or is a folder or empty."""
    if file.is_symlink() and (file.is_dir() or not file.exists()):
        return "linked folders" if file.is_dir() else "broken links"
    if not file.is_file() or not file.stat().st_size:
        return ""
    suffix = format_suffix(file)
    if suffix not in READ_SUFFIXES:
        return file.suffix.lower() or "no suffix"
    if suffix == ".json" and not has_column(file, column):
        return f".json without {column!r}"
    return ""


def _hub_source(
    name: str, column: str, subset: str | None, split: str, limit_bytes: int | None, fraction: float | None
) -> TextSource:
    """Stream from the hub; nothing is downloaded before the first document is asked for."""
    share = validation_share(limit_bytes or 2**63) if fraction is None else fraction
    description = {
        "kind": "hub",
        "dataset": name,
        "subset": subset,
        "split": split,
        "column": column,
        "limit_bytes": limit_bytes,
        "validation_fraction": share,
    }

    def texts() -> Iterator[str | None]:
        for row in _stream_rows(name, subset, split):
            if column not in row or not isinstance(row[column], str | None):
                raise ValueError(f"{name} has no text under {column!r}, only: {', '.join(row)}. Choose the column.")
            yield row[column]

    return TextSource(
        description,
        lambda left_out: _limited(_hash_split(_without_null(texts(), left_out), share), limit_bytes, left_out),
        f"the Hugging Face dataset {name}",
    )


def _stream_rows(name: str, subset: str | None, split: str) -> Iterator[dict[str, Any]]:
    load_dataset = _import_load_dataset(name)
    try:
        yield from load_dataset(name, name=subset, split=split, streaming=True)
    except Exception as error:  # the hub client raises dozens of kinds, most of them not its own
        said = " ".join(str(error).split())[:300]
        raise RuntimeError(
            f"cannot stream {name!r} (subset {subset!r}, split {split!r}) from Hugging Face: "
            f"{type(error).__name__}: {said}. Check the name and the network. {LOCAL_ALTERNATIVES}"
        ) from error


def _import_load_dataset(name: str) -> Callable[..., Any]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError(
            f"streaming {name!r} needs the package datasets: pip install 'logclock[hub]'. {LOCAL_ALTERNATIVES}"
        ) from error
    loader: Callable[..., Any] = load_dataset
    return loader
