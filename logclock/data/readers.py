"""Which documents are in one file?

A reader yields the texts of a file in order, and None for a record without text (null), which the caller counts.
"""

import codecs
import csv
import importlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from logclock.data.file_kinds import (
    JSON_SUFFIXES,
    check_readable,
    first_bytes,
    format_suffix,
    is_compressed,
    open_binary,
    open_text,
)

__all__ = ["DEFAULT_COLUMN", "has_column", "read_documents", "read_json_lines", "reader_of"]

DEFAULT_COLUMN = "text"
LINE_CHARS = 1 << 16
PIECE_CHARS = 1 << 20
FIELD_CHARS = 2**31 - 1
WHITE_SPACE = re.compile(r"[ \t\r\n]*")

Reader = Callable[[Path, str], Iterator[str | None]]


def read_documents(path: Path, column: str, document_chars: int) -> Iterator[str | None]:
    """Yield the documents of a file of any kind that is read.

    Args:
        path: The file.
        column: Where the text stands in tables.
        document_chars: About how long the documents are into which a text file is cut.
    """
    reader = reader_of(path)
    return _read_text(path, document_chars) if reader is None else reader(path, column)


def reader_of(path: Path) -> Reader | None:
    """Return what reads a table, or None for text.

    Raises:
        ValueError: The file is something that is not read.
    """
    head, suffix = first_bytes(path), format_suffix(path)
    reader: Reader | None = None
    if head.startswith(b"PAR1") or suffix == ".parquet":
        reader = _read_parquet
    elif head.startswith((b"ARROW1", b"FEA1")) or suffix in (".arrow", ".feather", ".ipc"):
        reader = _read_arrow
    if reader is not None:
        if is_compressed(path):
            raise ValueError(f"{path}: Parquet and Arrow are read in place. Uncompress it first.")
        return reader
    check_readable(path, head)
    if suffix in JSON_SUFFIXES:
        return _read_json
    return _read_separated if suffix in (".csv", ".tsv") else None


def has_column(path: Path, column: str) -> bool:
    """Tell whether a JSON file holds records, or is metadata: one object without text."""
    if _is_lines(path):
        with open_binary(path) as file:
            if sum(bool(line.strip()) for line in itertools.islice(file, 2)) > 1:
                return True
    try:
        value = next(_values(path), None)
    except ValueError:
        return True  # broken rather than something else: reading says so
    return not isinstance(value, dict) or _texts_in(value, column) is not None


def _read_text(path: Path, document_chars: int) -> Iterator[str]:
    """Cut a text file into documents of about `document_chars`, at blank lines where there are any.

    A document ends at the first blank line after that many characters, or at the first line end after twice as many.
    Joined again, the documents are the file.
    """
    lines: list[str] = []
    size = 0
    with open_text(path) as file:
        while line := file.readline(LINE_CHARS):  # a file without line ends comes in pieces
            lines.append(line)
            size += len(line)
            if size >= 2 * document_chars or (size >= document_chars and not line.strip()):
                yield "".join(lines)
                lines, size = [], 0
    if lines:
        yield "".join(lines)


def _read_json(path: Path, column: str) -> Iterator[str | None]:
    """Read JSON lines, one array of records, or one object, whichever it is."""
    if _is_lines(path):
        yield from read_json_lines(path, column)
        return
    for number, record in enumerate(_values(path), start=1):
        yield from _texts(record, column, f"{path}, record {number}")


def _is_lines(path: Path) -> bool:
    """Tell JSON lines by their first one: it is a whole value, and does not open an array of records."""
    with open_binary(path) as file:
        line = next((line for line in _lines(file) if line.strip()), b"")
    if line.lstrip().startswith(b"["):
        try:
            return not isinstance(next(_values(path), None), dict | str | None)
        except ValueError:
            return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(file):
        yield line if number else line.removeprefix(codecs.BOM_UTF8)


def read_json_lines(path: Path, column: str) -> Iterator[str | None]:
    """Yield the texts of JSON lines.

    Raises:
        ValueError: A line is no JSON, or has no text.
    """
    with open_binary(path) as file:
        for number, line in enumerate(_lines(file), start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number} is not JSON: {error}. Mend or remove the line.") from None
            yield from _texts(record, column, f"{path}, line {number}")


def _values(path: Path) -> Iterator[Any]:
    """Yield the records of an array, or the values that stand one after the other, holding one piece of the file.

    Raises:
        ValueError: It is not JSON.
    """
    with open_text(path) as file:
        source = _JsonText(path, file)
        is_array = source.skip("[")
        while not source.is_at_end():
            if is_array and source.skip("]"):
                if not source.is_at_end():
                    raise source.error("the array ends, but something follows")
                return
            yield source.value()
            if is_array and not source.skip(",") and not source.is_next("]"):
                raise source.error("a comma or the end of the array is missing")
        if is_array:
            raise source.error("the array does not end")


class _JsonText:
    """JSON text that is read a piece at a time."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path, self._file = path, file
        self._text, self._place, self._is_whole = "", 0, False
        self._decoder = json.JSONDecoder()

    def is_at_end(self) -> bool:
        """Skip white space and tell whether nothing is left."""
        while True:
            self._place = WHITE_SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]  # may be empty
            if self._place < len(self._text) or not self._read(PIECE_CHARS):
                return self._place == len(self._text)

    def is_next(self, character: str) -> bool:
        return not self.is_at_end() and self._text[self._place] == character

    def skip(self, character: str) -> bool:
        """Skip a character if it comes next, and tell whether it did."""
        is_there = self.is_next(character)
        self._place += is_there
        return is_there

    def value(self) -> Any:
        """Return the next value."""
        wanted = PIECE_CHARS
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except ValueError as error:
                if not self._read(wanted):
                    raise self.error(str(error)) from None
            except RecursionError:
                raise self.error("it is nested too deeply") from None
            else:
                if end < len(self._text) or not self._read(wanted):  # 12 may be the beginning of 123
                    self._place = end
                    return value
            wanted *= 2  # so that a value of any length is tried a few times only

    def error(self, reason: str) -> ValueError:
        return ValueError(
            f"{self._path} is neither JSON lines nor one JSON value: {reason} (at "
            f"{self._text[self._place : self._place + 30]!r}). Mend it, or call it .txt to train on its characters."
        )

    def _read(self, num_chars: int) -> bool:
        """Read on, forgetting what is done, and tell whether there was something."""
        if self._is_whole:
            return False
        piece = self._file.read(num_chars)
        self._is_whole = not piece
        self._text, self._place = self._text[self._place :] + piece, 0
        return bool(piece)


def _texts(record: Any, column: str, place: str) -> Iterator[str | None]:
    """Yield the texts of one record."""
    if record is None or isinstance(record, str):
        yield record
        return
    texts = _texts_in(record, column) if isinstance(record, dict) else None
    if texts is None:
        has = ", ".join(record) if isinstance(record, dict) else type(record).__name__
        raise ValueError(f"{place} has no text under {column!r}, only: {has}. Choose the column.")
    yield from texts


def _texts_in(record: dict[str, Any], column: str) -> list[str | None] | None:
    """Return the texts under a column: one, a list, a list by row number, or those of the only list of records.

    None if there are none.
    """
    if column in record:
        value = record[column]
        listed = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
        return listed if all(text is None or isinstance(text, str) for text in listed) else None
    lists = [value for value in record.values() if isinstance(value, list) and value]
    if len(lists) == 1 and all(isinstance(row, dict) and column in row for row in lists[0]):
        texts = [row[column] for row in lists[0]]
        return texts if all(text is None or isinstance(text, str) for text in texts) else None
    return None


def _read_separated(path: Path, column: str) -> Iterator[str | None]:
    """Read a table whose columns are separated by commas, or by tabs in .tsv; the first line names them."""
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_CHARS))
    with open_text(path) as file:
        rows = csv.DictReader(file, delimiter="\t" if format_suffix(path) == ".tsv" else ",")
        try:
            names = rows.fieldnames or ()
            if column not in names:
                raise ValueError(
                    f"{path} has no column {column!r}, only: {', '.join(names)}. Choose the column, or call the file "
                    ".txt to train on its lines as they are."
                )
            for row in rows:
                yield row[column]
        except csv.Error as error:
            raise ValueError(f"{path}, line {rows.line_num} is no table: {error}. Mend the line.") from None


def _read_parquet(path: Path, column: str) -> Iterator[str | None]:
    pyarrow = _import_pyarrow(path, "parquet")
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_column(path, column, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=256, columns=[column]):
                yield from _column_texts(path, column, batch.column(0))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file that can be read: {error}. Get it again.") from None


def _read_arrow(path: Path, column: str) -> Iterator[str | None]:
    """Read an Arrow file, an Arrow stream, as Hugging Face datasets are stored on disk, or Feather."""
    pyarrow = _import_pyarrow(path, "feather", "ipc")
    try:
        with pyarrow.memory_map(str(path)) as file:
            for batch in _arrow_batches(pyarrow, path, file):
                _check_column(path, column, batch.schema.names)
                yield from _column_texts(path, column, batch.column(batch.schema.names.index(column)))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not an Arrow file that can be read: {error}. Get it again.") from None


def _arrow_batches(pyarrow: Any, path: Path, file: IO[bytes]) -> Iterator[Any]:
    head = first_bytes(path)
    if head.startswith(b"FEA1"):
        yield from pyarrow.feather.read_table(path).to_batches()
    elif head.startswith(b"ARROW1"):
        reader = pyarrow.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
    else:
        yield from pyarrow.ipc.open_stream(file)


def _check_column(path: Path, column: str, names: list[str]) -> None:
    if column not in names:
        raise ValueError(f"{path} has no column {column!r}, only: {', '.join(names)}. Choose the column.")


def _column_texts(path: Path, column: str, values: Any) -> Iterator[str | None]:
    for value in values.to_pylist():
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{path}: column {column!r} holds {type(value).__name__}, not text. Choose another.")
        yield value


def _import_pyarrow(path: Path, *modules: str) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"reading {path} needs pyarrow: pip install 'logclock[hub]'.") from error
    for module in modules:
        importlib.import_module(f"pyarrow.{module}")
    return pyarrow
