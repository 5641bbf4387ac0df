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

__all__ = ["TextSource", "open_source"]

TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst")
TABLE_SUFFIXES = (".jsonl", ".parquet")
DOCUMENT_CHARS = 8_000
MIN_DOCUMENT_CHARS = 500
DOCUMENTS_AT_LEAST = 100
LINE_CHARS = 1 << 16
LOCAL_ALTERNATIVES = (
    "Local alternatives: a corpus by name ('essentials', 'stdlib', 'synthetic'), a text file, a folder of text files, "
    "or a JSONL or Parquet file downloaded before."
)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TextSource:
    """Documents with their side of the split.

    Args:
        description: Plain data that says what this is; equal descriptions mean equal documents.
        documents: Reads from the start, yielding (belongs to validation, text).
        place: How errors call it.
    """

    description: dict[str, Any]
    documents: Callable[[], Iterator[tuple[bool, str]]]
    place: str


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
        _reject(name, "it is a local file or folder", {"subset": subset, "split": split})
        return _local_source(path, column, limit_bytes, validation_fraction, progress)
    if isinstance(source, str) and _looks_like_hub(name):
        return _hub_source(name, column or "text", subset, split or "train", limit_bytes, validation_fraction)
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
    suffixes = (*TEXT_SUFFIXES, *TABLE_SUFFIXES)
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name)) and not name.endswith(suffixes)


def _limited(texts: Iterator[tuple[bool, str]], limit_bytes: int | None) -> Iterator[tuple[bool, str]]:
    """Make every text encodable, leave out blank ones, and stop before training exceeds the limit."""
    left = limit_bytes
    for is_validation, raw in texts:
        if not raw.strip():
            continue
        # JSON can hold half a surrogate pair, which has no UTF-8 form; it becomes "?".
        text = raw.encode("utf-8", "replace").decode("utf-8")
        if left is not None and not is_validation:
            left -= len(text.encode())
            if left < 0:
                return
        yield is_validation, text


def _corpus_source(directory: Path, limit_bytes: int | None) -> TextSource:
    """Keep the corpus's own split."""
    read_manifest(directory)

    def documents() -> Iterator[tuple[bool, str]]:
        for part, is_validation in (("val.jsonl", True), ("train.jsonl", False)):
            for text in _read_jsonl(directory / part, "text"):
                yield is_validation, text

    manifest_sha256 = hashlib.sha256((directory / "MANIFEST.json").read_bytes()).hexdigest()
    description = {"kind": "corpus", "manifest_sha256": manifest_sha256, "limit_bytes": limit_bytes}
    return TextSource(description, lambda: _limited(documents(), limit_bytes), f"the corpus {directory}")


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
    files = _list_files(path, progress)
    tables = [file for file in files if file.suffix in TABLE_SUFFIXES]
    if column is not None and not tables:
        raise ValueError(f"column={column!r} has no effect on {path}: it holds no JSONL or Parquet file. Leave it out.")
    num_bytes = min(sum(file.stat().st_size for file in files), limit_bytes or 2**63)
    share = validation_share(num_bytes) if fraction is None else fraction
    # Little text is cut finer, so that a random share of its documents is not by chance none.
    document_chars = max(MIN_DOCUMENT_CHARS, min(DOCUMENT_CHARS, num_bytes // DOCUMENTS_AT_LEAST))
    description = {
        "kind": "local",
        "num_files": len(files),
        "files_sha256": _files_digest(path, files),
        "column": (column or "text") if tables else None,
        "limit_bytes": limit_bytes,
        "validation_fraction": share,
    }

    def texts() -> Iterator[str]:
        for file in files:
            yield from _read_file(file, column or "text", document_chars)

    return TextSource(description, lambda: _limited(_hash_split(texts(), share), limit_bytes), str(path))


def _files_digest(path: Path, files: list[Path]) -> str:
    """Hash names, sizes and times of change: enough to notice another source without reading it."""
    stats = [(file, file.stat()) for file in files]
    facts = [[file.relative_to(path.parent).as_posix(), stat.st_size, stat.st_mtime_ns] for file, stat in stats]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _list_files(path: Path, progress: Progress) -> list[Path]:
    """Return the file itself, or the readable files below a folder in the order of their names."""
    if path.is_file():
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty. Give a file with text in it.")
        return [path]
    known = (*TEXT_SUFFIXES, *TABLE_SUFFIXES)
    found = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    files = [file for file in found if file.suffix in known and file.stat().st_size]
    if not files:
        raise ValueError(
            f"{path} holds no text: looked for files ending in {', '.join(known)}, found {len(found)} others."
        )
    skipped = Counter(file.suffix or "no suffix" for file in found if file.suffix not in known)
    if skipped:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(skipped.items()))
        progress(f"reading {len(files)} files of {path}, leaving out {kinds}")
    return files


def _read_file(path: Path, column: str, document_chars: int) -> Iterator[str]:
    if path.suffix == ".jsonl":
        return _read_jsonl(path, column)
    if path.suffix == ".parquet":
        return _read_parquet(path, column)
    return _read_text(path, document_chars)


def _read_text(path: Path, document_chars: int) -> Iterator[str]:
    """Cut a text file into documents of about `document_chars`, at blank lines where there are any.

    A document ends at the first blank line after that many characters, or at the first line end after twice as many.
    Joined again, the documents are the file.
    """
    lines: list[str] = []
    size = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            while line := file.readline(LINE_CHARS):  # a file without line ends comes in pieces
                lines.append(line)
                size += len(line)
                if size >= 2 * document_chars or (size >= document_chars and not line.strip()):
                    yield "".join(lines)
                    lines, size = [], 0
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text: {error.reason} at byte {error.start} of a block. Convert it, for example with "
            f"`iconv -t UTF-8`, or leave it out."
        ) from None
    if lines:
        yield "".join(lines)


def _read_jsonl(path: Path, column: str) -> Iterator[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Build the corpus again with force.")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number} is not JSON: {error}. Mend or remove the line.") from None
            if not isinstance(record, dict) or not isinstance(record.get(column), str):
                has = ", ".join(record) if isinstance(record, dict) else type(record).__name__
                raise ValueError(f"{path}, line {number} has no text under {column!r}, only: {has}. Choose the column.")
            yield record[column]


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"reading {path} needs pyarrow: pip install 'logclock[hub]'.") from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from None
    with file:
        names = file.schema_arrow.names
        if column not in names:
            raise ValueError(f"{path} has no column {column!r}, only: {', '.join(names)}. Choose the column.")
        for batch in file.iter_batches(batch_size=256, columns=[column]):
            for value in batch.column(0).to_pylist():
                if value is not None and not isinstance(value, str):
                    raise ValueError(f"{path}: column {column!r} holds {type(value).__name__}, not text.")
                yield value or ""


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

    def texts() -> Iterator[str]:
        for row in _stream_rows(name, subset, split):
            if not isinstance(row.get(column), str):
                raise ValueError(f"{name} has no text under {column!r}, only: {', '.join(row)}. Choose the column.")
            yield row[column]

    return TextSource(
        description,
        lambda: _limited(_hash_split(texts(), share), limit_bytes),
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
