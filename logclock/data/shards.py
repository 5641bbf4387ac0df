"""How do tokens lie on disk, and is a file that claims to be a shard really one?

A shard is what llm.c reads: 256 little-endian int32 (magic 20240520, version 1, number of tokens, zeros), 1024 bytes in
all, then the tokens as little-endian uint16. Vocabularies above 65536 do not fit and are an error. Several shards in a
row are one stream; a document may run over from one into the next.

Ids outside the vocabulary: writing checks every token, and `TokenShards` checks every token it hands out, so none can
reach an embedding. Checking what is read costs microseconds per batch and needs no pass over terabytes on opening.
"""

import bisect
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from logclock.config.files import write_whole

__all__ = ["MAX_VOCABULARY", "ShardWriter", "TokenShards", "write_shard"]

MAGIC = 20240520
VERSION = 1
HEADER_INTS = 256
HEADER_BYTES = 4 * HEADER_INTS
HEADER_TYPE = np.dtype("<i4")
TOKEN_TYPE = np.dtype("<u2")
MAX_VOCABULARY = 1 << 16
MAX_SHARD_TOKENS = 2**31 - 1  # the count in the header is an int32

REMEDY = "Make the dataset again: `logclock data prepare SOURCE OUT --force`."


def write_shard(path: str | Path, tokens: np.ndarray, *, vocab_size: int) -> str:
    """Write one shard, atomically, and return the sha256 of what was to be written, in hex.

    Raises:
        ValueError: There are no tokens or too many, one is outside the vocabulary, or the vocabulary needs more than
            16 bits.
    """
    path, tokens = Path(path), np.asarray(tokens)
    _check_vocabulary(vocab_size)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or not 1 <= len(tokens) <= MAX_SHARD_TOKENS:
        raise ValueError(
            f"a shard holds a 1-d integer array of 1 to {MAX_SHARD_TOKENS} tokens, got {tokens.dtype} of shape "
            f"{tokens.shape} for {path}."
        )
    _check_tokens(tokens, vocab_size, path)
    header = np.zeros(HEADER_INTS, dtype=HEADER_TYPE)
    header[:3] = MAGIC, VERSION, len(tokens)
    content = header.tobytes() + tokens.astype(TOKEN_TYPE).tobytes()
    write_whole(path, content, durable=True)
    return hashlib.sha256(content).hexdigest()


class ShardWriter:
    """Cuts a stream of tokens into shards `PREFIX_000000.bin`, `PREFIX_000001.bin`, ...

    Holds at most one shard in memory. Nothing is written for the last tokens until `close`.

    Args:
        directory: Where the shards go.
        prefix: Head of the file names.
        vocab_size: Every token must be below it.
        shard_tokens: Tokens per shard; the last may be shorter.

    Raises:
        ValueError: The vocabulary needs more than 16 bits, or `shard_tokens` is out of range.
    """

    def __init__(self, directory: Path, prefix: str, *, vocab_size: int, shard_tokens: int) -> None:
        _check_vocabulary(vocab_size)
        if not 1 <= shard_tokens <= MAX_SHARD_TOKENS:
            raise ValueError(f"shard_tokens must lie in [1, {MAX_SHARD_TOKENS}], got {shard_tokens}.")
        self.directory, self.prefix = directory, prefix
        self.vocab_size, self.shard_tokens = vocab_size, shard_tokens
        self.paths: list[Path] = []
        self.sha256s: list[str] = []
        self.num_tokens = 0
        self._waiting = np.empty(shard_tokens, dtype=TOKEN_TYPE)
        self._num_waiting = 0

    def append(self, tokens: np.ndarray) -> None:
        """Add tokens to the stream.

        Raises:
            ValueError: One is outside the vocabulary; then none is added.
        """
        _check_tokens(tokens, self.vocab_size, self.directory / self.prefix)
        self.num_tokens += len(tokens)
        while len(tokens):
            piece = tokens[: self.shard_tokens - self._num_waiting]
            self._waiting[self._num_waiting : self._num_waiting + len(piece)] = piece
            self._num_waiting += len(piece)
            tokens = tokens[len(piece) :]
            if self._num_waiting == self.shard_tokens:
                self._flush()

    def close(self) -> list[Path]:
        """Write what is left and return the paths of all shards.

        Raises:
            ValueError: No token was ever added.
        """
        if self._num_waiting:
            self._flush()
        if not self.paths:
            raise ValueError(f"no text for the shards {self.directory / self.prefix}_*.bin. Give more text.")
        return self.paths

    def _flush(self) -> None:
        path = self.directory / f"{self.prefix}_{len(self.paths):06d}.bin"
        self.sha256s.append(write_shard(path, self._waiting[: self._num_waiting], vocab_size=self.vocab_size))
        self.paths.append(path)
        self._num_waiting = 0


class TokenShards:
    """Several shards as one read-only stream of tokens, mapped from disk.

    `len(shards)` is the number of tokens; `shards[a:b]` is a uint16 array (a view of the file where one shard holds
    it all), `shards[i]` a Python int.

    Args:
        paths: The files, in order.
        vocab_size: Tokens at or above it are an error when they are read; None allows all of uint16.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: No files are given, or one is empty, truncated, too long or not a shard.
    """

    def __init__(self, paths: Sequence[str | Path], *, vocab_size: int | None = None) -> None:
        if not paths:
            raise ValueError(f"no shards were given. {REMEDY}")
        self.paths = tuple(Path(path) for path in paths)
        self.vocab_size = MAX_VOCABULARY if vocab_size is None else vocab_size
        self._files = [_open_shard(path) for path in self.paths]
        # Plain arrays: slicing np.memmap costs several times as much. The mapping stays alive as their base.
        self._starts = [0, *itertools.accumulate(len(file) for file in self._files)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __repr__(self) -> str:
        return f"TokenShards({len(self)} tokens in {len(self.paths)} files, first {self.paths[0]})"

    def __getitem__(self, index: int | slice) -> np.ndarray | int:
        if isinstance(index, slice):
            start, stop, stride = index.indices(len(self))
            if stride != 1:
                raise ValueError(f"token shards are read in order, got the stride {stride}. Slice the result.")
            return self.read(start, max(stop - start, 0))
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"token {index} is outside a stream of {len(self)} tokens.")
        return int(self.read(position, 1)[0])

    def read(self, start: int, count: int) -> np.ndarray:
        """Return `count` tokens from position `start`, which must all exist."""
        tokens = self._raw(start, count)
        _check_tokens(tokens, self.vocab_size, self._file_at(start))
        return tokens

    def read_windows(self, starts: Sequence[int] | np.ndarray, length: int) -> np.ndarray:
        """Return the windows of `length` tokens that begin at `starts`, one per row, as int64."""
        windows = np.empty((len(starts), length), dtype=np.int64)
        for row, start in enumerate(starts.tolist() if isinstance(starts, np.ndarray) else starts):
            windows[row] = self._raw(start, length)
        if windows.size and windows.max() >= self.vocab_size:
            for start in starts:
                self.read(int(start), length)  # raises, naming the file
        return windows

    def _raw(self, start: int, count: int) -> np.ndarray:
        if start < 0 or start + count > self._starts[-1]:
            raise IndexError(f"tokens {start} to {start + count} are outside a stream of {len(self)} tokens.")
        number = bisect.bisect_right(self._starts, start) - 1
        if count == 0:
            return np.empty(0, dtype=TOKEN_TYPE)
        begin = start - self._starts[number]
        piece = self._files[number][begin : begin + count]
        if len(piece) == count:
            return piece
        rest = self._raw(self._starts[number + 1], count - len(piece))
        return np.concatenate([piece, rest])

    def _file_at(self, position: int) -> Path:
        return self.paths[min(bisect.bisect_right(self._starts, position), len(self.paths)) - 1]


def _open_shard(path: Path) -> np.ndarray:
    """Check a shard's header and size and map its tokens."""
    if not path.is_file():
        raise FileNotFoundError(f"no shard at {path}. {REMEDY}")
    num_bytes = path.stat().st_size
    if num_bytes < HEADER_BYTES:
        state = "is empty" if num_bytes == 0 else f"has {num_bytes} bytes, less than a header of {HEADER_BYTES}"
        raise ValueError(f"{path} {state}: it is not a token shard. {REMEDY}")
    magic, version, num_tokens = np.fromfile(path, dtype=HEADER_TYPE, count=3).tolist()
    if magic != MAGIC:
        raise ValueError(
            f"{path} is not a token shard: it begins with {magic}, a shard with {MAGIC}. Convert text with "
            f"`logclock data prepare`."
        )
    if version != VERSION:
        raise ValueError(f"{path} is a shard of version {version}; only version {VERSION} (uint16) is read. {REMEDY}")
    expected = HEADER_BYTES + TOKEN_TYPE.itemsize * num_tokens
    if num_tokens < 1 or num_bytes != expected:
        raise ValueError(
            f"{path} is damaged: its header promises {num_tokens} tokens, so {expected} bytes, but it has {num_bytes}. "
            f"{REMEDY}"
        )
    return np.asarray(np.memmap(path, dtype=TOKEN_TYPE, mode="r", offset=HEADER_BYTES))


def _check_vocabulary(vocab_size: int) -> None:
    if not 1 <= vocab_size <= MAX_VOCABULARY:
        raise ValueError(
            f"vocab_size must lie in [1, {MAX_VOCABULARY}], got {vocab_size}: shards store 16 bits per token. Use a "
            f"tokenizer with a smaller vocabulary."
        )


def _check_tokens(tokens: np.ndarray, vocab_size: int, place: Path) -> None:
    if len(tokens) and (tokens.max() >= vocab_size or tokens.min() < 0):
        wrong = tokens[(tokens >= vocab_size) | (tokens < 0)][0]
        raise ValueError(
            f"{place}: token id {wrong} is outside the vocabulary of {vocab_size} (ids 0 to {vocab_size - 1}). The "
            f"tokens and the tokenizer do not belong together. {REMEDY}"
        )
