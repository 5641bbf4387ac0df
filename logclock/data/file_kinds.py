"""What is in a file: what its name says, what its first bytes say, and what to do with those that are not read?

Names are judged without case, and without `.gz` or `.zst`, which are read through. First bytes win over names.
"""

import codecs
import contextlib
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = [
    "JSON_SUFFIXES",
    "READ_SUFFIXES",
    "TABLE_SUFFIXES",
    "TOKEN_SUFFIXES",
    "check_no_other_format",
    "check_readable",
    "first_bytes",
    "format_suffix",
    "is_compressed",
    "open_binary",
    "open_text",
]

TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
TABLE_SUFFIXES = (*JSON_SUFFIXES, ".parquet", ".arrow", ".feather", ".ipc", ".csv", ".tsv")
READ_SUFFIXES = (*TEXT_SUFFIXES, *TABLE_SUFFIXES)
TOKEN_SUFFIXES = (".bin", ".npy")
COMPRESSED_SUFFIXES = (".gz", ".zst", ".zstd")

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SNIFFED_BYTES = 4096
CHUNK_BYTES = 1 << 16

UNPACK = "Unpack it and give the folder"
UNCOMPRESS = "Uncompress it, or compress it with gzip or zstd, which are read"
EXTRACT = "Extract its text into .txt or .jsonl files"
EXPORT = "Export the text as JSON lines or Parquet"
NO_TEXT = "Give the text that you want to train on"

FOREIGN = tuple(
    (re.compile(pattern, re.DOTALL), kind, remedy)
    for pattern, kind, remedy in (
        (rb"PK(\x03\x04|\x05\x06)", "a zip archive, or a document or checkpoint that is one inside", UNPACK),
        (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", "compressed with bzip2", UNCOMPRESS),
        (rb"\xfd7zXZ\x00", "compressed with xz", UNCOMPRESS),
        (rb"\x04\x22\x4d\x18", "compressed with lz4", UNCOMPRESS),
        (rb"\xff\x06\x00\x00sNaPpY", "compressed with snappy", UNCOMPRESS),
        (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
        (rb"Rar!\x1a\x07", "a RAR archive", UNPACK),
        (rb".{257}ustar", "a tar archive", UNPACK),
        (rb"%PDF-", "a PDF document", EXTRACT),
        (rb"\{\\rtf1", "an RTF document", EXTRACT),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", EXTRACT),
        (rb"SQLite format 3\x00", "an SQLite database", EXPORT),
        (rb"\x89HDF\r\n", "an HDF5 file", EXPORT),
        (rb"ORC[\x00-\x1f]", "an ORC table", EXPORT),
        (rb"Obj\x01", "an Avro file", EXPORT),
        (rb"GGUF[\x00-\x1f]", "a GGUF model", NO_TEXT),
        (rb".{5}[\x00\x01]\x00\x00\{\s*\"", "a safetensors file", NO_TEXT),
        (rb"\x80[\x02-\x05]", "a Python pickle, which is never opened because that can run code", EXTRACT),
        (rb"\x7fELF", "a program", NO_TEXT),
        (rb"\x89PNG|\xff\xd8\xff|GIF8[79]a", "a picture", NO_TEXT),
    )
)

MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def format_suffix(name: str | Path) -> str:
    """Return the suffix that says how a file is read: lower case, without that of a compression."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    while suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def first_bytes(path: Path) -> bytes:
    """Return the beginning of a file's content, uncompressed."""
    with open_binary(path) as file:
        return file.read(SNIFFED_BYTES)


def check_readable(path: Path, head: bytes) -> None:
    """Raise, naming what the file is and the way out, if it is neither text nor a table that is read.

    Args:
        path: The file.
        head: Its first bytes.

    Raises:
        ValueError: It is something else.
    """
    kind, remedy = _known_kind(path, head) or _likely_kind(path, head) or ("", "")
    if kind:
        raise ValueError(f"{path} is {kind}, not text. {remedy}.")


def check_no_other_format(path: Path, head: bytes) -> None:
    """Raise, like `check_readable`, if the first bytes name a format; bytes of no known format pass."""
    if found := _known_kind(path, head):
        raise ValueError(f"{path} is {found[0]}. {found[1]}.")


def _known_kind(path: Path, head: bytes) -> tuple[str, str] | None:
    for pattern, kind, remedy in FOREIGN:
        if pattern.match(head):
            return kind, remedy
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return f"text in {encoding}", _convert(path, encoding)
    return None


def _likely_kind(path: Path, head: bytes) -> tuple[str, str] | None:
    for offset, encoding in ((1, "UTF-16LE"), (0, "UTF-16BE")):  # without a mark: every second byte of Latin is zero
        zeros, others = head[offset::2], head[1 - offset :: 2]
        if len(zeros) > 3 and zeros.count(0) > 0.7 * len(zeros) and not _num_controls(others):
            return f"text in {encoding}", _convert(path, encoding)
    num_controls = _num_controls(head)
    if num_controls > 0.05 * len(head) or (num_controls > 0.01 * len(head) and not _is_utf8(head)):
        return "a binary file", (
            "Give text, JSON lines or Parquet; token ids that another program wrote need --tokenizer and --dtype"
        )
    return None


def _convert(path: Path, encoding: str) -> str:
    return f"Convert it: `iconv -f {encoding} -t UTF-8 {path.name} > NEW.txt`"


def _num_controls(raw: bytes) -> int:
    """Count bytes that text hardly holds: controls other than tab, line ends, form feed and escape."""
    return sum(byte < 32 and byte not in b"\t\n\v\f\r\x1b" for byte in raw)


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def is_compressed(path: Path) -> bool:
    """Tell whether a file is compressed with gzip or zstd."""
    with path.open("rb") as file:
        magic = file.read(4)
    return magic.startswith(GZIP) or magic == ZSTD


def open_binary(path: Path) -> IO[bytes]:
    """Open a file, reading through gzip and zstd, which are recognised by content.

    Raises:
        ImportError: zstandard is missing.
    """
    if not is_compressed(path):
        return path.open("rb")
    file = path.open("rb")
    magic = file.read(2)
    file.seek(0)
    chunks = _gunzip(file, path) if magic == GZIP else _unzstd(file, path)
    return io.BufferedReader(_Chunks(chunks, file), CHUNK_BYTES)


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """Open UTF-8 text, compressed or not, without its byte-order mark and with line ends as they are.

    Raises:
        ValueError: While reading: it is not UTF-8, or a compressed file is cut off.
    """
    with open_binary(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        try:
            yield text
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not UTF-8 text: {error.reason} at byte {error.start} of a block. Convert it, for example "
                f"with `iconv -f LATIN1 -t UTF-8`, or leave it out."
            ) from None


class _Chunks(io.RawIOBase):
    """A file made of an iterator of bytes."""

    def __init__(self, chunks: Iterator[bytes], file: IO[bytes]) -> None:
        self._chunks, self._file, self._rest = chunks, file, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _gunzip(file: IO[bytes], path: Path) -> Iterator[bytes]:
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:
            while chunk := unzipped.read(CHUNK_BYTES):
                yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}. Get it again.") from None


def _unzstd(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """Read all frames; the library's own reader takes a file that is cut off for one that ends."""
    try:
        import zstandard
    except ImportError as error:
        raise ImportError(f"reading {path} needs zstandard: pip install 'logclock[hub]'.") from error
    decompressor, frame = zstandard.ZstdDecompressor(max_window_size=1 << 31), None
    try:
        while data := file.read(CHUNK_BYTES):
            while data:
                frame = frame or decompressor.decompressobj()
                yield frame.decompress(data)
                data = frame.unused_data if frame.eof else b""
                frame = None if frame.eof else frame
    except zstandard.ZstdError as error:
        raise ValueError(f"{path} is a damaged zstd file: {error}. Get it again.") from None
    if frame is not None:
        raise ValueError(f"{path} is a damaged zstd file: it is cut off. Get it again.")
