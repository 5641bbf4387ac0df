"""Which documents are in files of token ids that another program wrote?

Read are the shards of llm.c (a header, then 16-bit or 32-bit ids), numpy arrays, and bare ids as nanoGPT writes them,
whose type only the user knows. A folder in which names hold `train` and `val` has its own split, which is kept, token
for token. Elsewhere the stream is cut after every end-of-text, and the hash of a document's ids decides its side.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from logclock.data.extract import validation_share
from logclock.data.file_kinds import (
    READ_SUFFIXES,
    TOKEN_SUFFIXES,
    check_no_other_format,
    first_bytes,
    format_suffix,
    is_compressed,
)
from logclock.data.tokenize import Tokenizer

__all__ = ["HOW", "TokenFile", "TokenSource", "find_token_files", "open_tokens"]

HEADER_BYTES = 1024
LLM_C = {(20240520, 1): "<u2", (20240801, 7): "<u4"}  # (magic, version) of the header
DTYPES = {"uint16": "<u2", "uint32": "<u4"}
BLOCK_TOKENS = 1 << 20
BYTES_PER_TOKEN = 4  # about, where the share to hold out depends on the amount of text
DOCUMENTS_AT_LEAST = 100
DOCUMENT_TOKENS, MIN_DOCUMENT_TOKENS = 2048, 16
SIDES = {"train": False, "val": True}

HOW = (
    "Say which tokenizer made them: --tokenizer PATH of its tokenizer.json, --tokenizer gpt2-like for the ids of "
    "GPT-2, or --tokenizer ids with --vocab-size and --end-of-text"
)


@dataclass(frozen=True, slots=True)
class TokenFile:
    """Where the ids lie in one file.

    Args:
        path: The file.
        offset: Bytes before the first id.
        dtype: How an id is stored, as numpy writes it.
        num_tokens: How many there are.
        is_validation: Side that the name says; None if it says none.
    """

    path: Path
    offset: int
    dtype: str
    num_tokens: int
    is_validation: bool | None

    def blocks(self, vocab_size: int) -> Iterator[np.ndarray]:
        """Yield the ids in order.

        Raises:
            ValueError: One is outside the vocabulary, or the file has changed.
        """
        for start in range(0, self.num_tokens, BLOCK_TOKENS):
            count = min(BLOCK_TOKENS, self.num_tokens - start)
            place = self.offset + start * np.dtype(self.dtype).itemsize
            tokens = np.fromfile(self.path, dtype=self.dtype, count=count, offset=place)
            if len(tokens) < count:
                raise ValueError(f"{self.path} became shorter while it was read. Start again.")
            outside = np.flatnonzero((tokens >= vocab_size) | (tokens < 0))
            if len(outside):
                raise ValueError(
                    f"{self.path}: token {start + outside[0]} (the first is 0) is the id {tokens[outside[0]]}, outside "
                    f"the vocabulary of {vocab_size} (ids 0 to {vocab_size - 1}). The file has another type or begins "
                    f"with a header of its own, or another tokenizer made it. {HOW}."
                )
            yield tokens


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Documents of ids with their side of the split.

    Args:
        description: Plain data that says what this is.
        files: Where the ids are.
        tokenizer: What made them.
        place: How errors call it.
    """

    description: dict[str, Any]
    files: Sequence[TokenFile]
    tokenizer: Tokenizer
    place: str

    def documents(self) -> Iterator[tuple[bool, np.ndarray]]:
        """Yield (belongs to validation, ids with their end-of-text).

        Raises:
            ValueError: An id is outside the vocabulary.
        """
        if self.description["validation_fraction"] is None:
            yield from self._as_split()
            return
        threshold = self.description["validation_fraction"] * 2.0**64
        left = self.description["limit_bytes"]
        num_bytes = None if left is None else self.tokenizer.token_bytes()
        for ids in self._cut():
            digest = hashlib.sha256(ids.astype("<u4").tobytes()).digest()
            is_validation = int.from_bytes(digest[:8], "big") < threshold
            if num_bytes is not None and not is_validation:
                left -= int(num_bytes[ids].sum())
                if left < 0:
                    return
            if self.tokenizer.end_of_text is not None:
                ids = np.append(ids, ids.dtype.type(self.tokenizer.end_of_text))
            yield is_validation, ids

    def _as_split(self) -> Iterator[tuple[bool, np.ndarray]]:
        for file in self.files:
            for tokens in file.blocks(self.tokenizer.vocab_size):
                yield bool(file.is_validation), tokens

    def _cut(self) -> Iterator[np.ndarray]:
        """Yield documents without their end-of-text, and without empty ones.

        A stream with less than a hundred ends of text is also cut at a hundredth of its length.
        """
        end, longest = self.tokenizer.end_of_text, self._longest_document()
        waiting = np.empty(0, dtype=self.files[0].dtype)
        for file in self.files:
            for block in file.blocks(self.tokenizer.vocab_size):
                tokens = np.concatenate([waiting, block])
                ends = np.flatnonzero(tokens == end) if end is not None else np.empty(0, dtype=np.int64)
                starts = [0, *(ends + 1)]
                for start, stop in zip(starts, ends, strict=False):
                    yield from _pieces(tokens[start:stop], longest)
                waiting = tokens[starts[-1] :]
                while len(waiting) > longest:
                    yield waiting[:longest]
                    waiting = waiting[longest:]
        yield from _pieces(waiting, longest)

    def _longest_document(self) -> int:
        num_ends = 0
        for block in (block for file in self.files for block in file.blocks(self.tokenizer.vocab_size)):
            if self.tokenizer.end_of_text is None:
                break
            num_ends += int(np.count_nonzero(block == self.tokenizer.end_of_text))
            if num_ends >= DOCUMENTS_AT_LEAST:
                return BLOCK_TOKENS
        num_tokens = sum(file.num_tokens for file in self.files)
        return max(MIN_DOCUMENT_TOKENS, min(DOCUMENT_TOKENS, num_tokens // DOCUMENTS_AT_LEAST))


def _pieces(document: np.ndarray, longest: int) -> Iterator[np.ndarray]:
    for start in range(0, len(document), longest):
        yield document[start : start + longest]


def find_token_files(source: str | Path, *, is_declared: bool) -> list[Path]:
    """Return the token files that `source` names: itself, or those in a folder; none if it is something else.

    Args:
        source: What the user named.
        is_declared: Whether another argument (a type, a tokenizer of ids alone) says that it holds tokens.

    Raises:
        ValueError: A folder could be either.
    """
    path = Path(source).expanduser()
    if path.is_file():
        if format_suffix(path) in READ_SUFFIXES:
            return []
        head = first_bytes(path)
        says_so = format_suffix(path) in TOKEN_SUFFIXES or _header(head) or head.startswith(b"\x93NUMPY")
        return [path] if says_so or is_declared else []
    if not path.is_dir() or (path / "MANIFEST.json").is_file():
        return []
    inside = [file for file in path.rglob("*") if file.is_file() and not _is_hidden(file.relative_to(path))]
    files = sorted(file for file in inside if file.suffix.lower() in TOKEN_SUFFIXES)
    texts = [file for file in inside if format_suffix(file) in READ_SUFFIXES]
    if is_declared or not texts:
        return files
    tokens = [file for file in files if _side(file) is not None or _header(first_bytes(file))]
    if tokens:
        raise ValueError(
            f"{path} holds token files ({tokens[0].name}) and text ({texts[0].name}). To take the tokens, say which "
            f"tokenizer made them: --tokenizer gpt2-like, or --dtype with --tokenizer PATH. To take the text, give its "
            "file, or a folder without the other."
        )
    return []


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def open_tokens(
    paths: Sequence[Path],
    source: str | Path,
    *,
    tokenizer: Tokenizer | None,
    dtype: str | None = None,
    limit_bytes: int | None = None,
    validation_fraction: float | None = None,
) -> TokenSource:
    """Check what the files are and how they are split; see `prepare` for the arguments.

    Raises:
        ValueError: A file is something else or damaged, no tokenizer is known, or an option has no effect.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    files = [_token_file(path, dtype) for path in paths]
    if tokenizer is None:
        raise ValueError(f"{source} holds token ids, no text. {HOW}.")
    sides = {file.is_validation for file in files}
    has_split = len(files) > 1 and sides >= {True, False}
    if has_split and None in sides:
        odd = next(file.path for file in files if file.is_validation is None)
        raise ValueError(
            f"{odd} is neither train nor val by its name, unlike the other token files of {source}. Rename it, or move "
            "it away."
        )
    if has_split and validation_fraction is not None:
        raise ValueError(
            f"validation_fraction has no effect on {source}: its files are named train and val. Leave it out."
        )
    if limit_bytes is not None and (has_split or tokenizer.token_bytes() is None):
        why = "its own split is taken whole" if has_split else "the bytes of its ids are not known"
        raise ValueError(f"limit_bytes has no effect on {source}: {why}. Leave it out.")
    num_bytes = BYTES_PER_TOKEN * sum(file.num_tokens for file in files)
    share = validation_share(num_bytes) if validation_fraction is None else validation_fraction
    facts = [(file.path.name, file.path.stat().st_size, file.path.stat().st_mtime_ns) for file in files]
    description = {
        "kind": "tokens",
        "num_files": len(files),
        "files_sha256": hashlib.sha256(repr(facts).encode()).hexdigest(),
        "stored_as": sorted({file.dtype for file in files}),
        "limit_bytes": limit_bytes,
        "validation_fraction": None if has_split else share,
    }
    return TokenSource(description, files, tokenizer, str(source))


def _side(path: Path) -> bool | None:
    """Return the side that a file's name says; None if it says none, or both."""
    said = [is_validation for word, is_validation in SIDES.items() if word in path.name.lower()]
    return said[0] if len(said) == 1 else None


def _header(head: bytes) -> tuple[int, int, int] | None:
    """Return (magic, version, number of tokens) of an llm.c shard, or None."""
    magic, version, count = np.frombuffer(head[:12], dtype="<i4").tolist() if len(head) >= 12 else (0, 0, 0)
    return (magic, version, count) if magic in {known for known, _ in LLM_C} else None


def _token_file(path: Path, dtype: str | None) -> TokenFile:
    if is_compressed(path):
        raise ValueError(f"{path} is compressed; token files are read in place. Uncompress it first.")
    head, num_bytes = first_bytes(path), path.stat().st_size
    if head.startswith(b"\x93NUMPY"):
        offset, stored, num_tokens = _numpy_layout(path)
    elif header := _header(head):
        magic, version, num_tokens = header
        if (magic, version) not in LLM_C:
            known = " or ".join(f"{known} version {of}" for known, of in LLM_C)
            raise ValueError(f"{path} is a shard of llm.c, magic {magic} version {version}; read are {known}.")
        offset, stored = HEADER_BYTES, LLM_C[magic, version]
        promised = offset + np.dtype(stored).itemsize * num_tokens
        if num_bytes != promised:
            raise ValueError(
                f"{path} is a damaged shard of llm.c: its header promises {num_tokens} tokens, so {promised} bytes, "
                f"but it has {num_bytes}. Get it again."
            )
    else:
        offset, stored, num_tokens = _bare_layout(path, head, dtype)
    if dtype is not None and DTYPES[dtype] != stored:
        name = np.dtype(stored).name
        raise ValueError(f"{path} says itself that its ids are {name}, not {dtype}. Leave the dtype out.")
    if num_tokens < 1:
        raise ValueError(f"{path} holds no tokens. Give a file with some.")
    return TokenFile(path, offset, stored, num_tokens, _side(path))


def _bare_layout(path: Path, head: bytes, dtype: str | None) -> tuple[int, str, int]:
    num_bytes = path.stat().st_size
    if num_bytes == 0:
        raise ValueError(f"{path} is empty. Give a file with tokens.")
    if dtype is None:
        check_no_other_format(path, head)
        raise ValueError(
            f"{path} has neither the header of llm.c nor that of numpy. If it holds bare token ids, as nanoGPT writes "
            f"them, say how they are stored: --dtype uint16 (or uint32). {HOW}. If it holds text, call it .txt."
        )
    size = np.dtype(DTYPES[dtype]).itemsize
    if num_bytes % size:
        raise ValueError(f"{path} has {num_bytes} bytes, no multiple of {size}, so it does not hold {dtype} ids alone.")
    return 0, DTYPES[dtype], num_bytes // size


def _numpy_layout(path: Path) -> tuple[int, str, int]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is a damaged numpy file: {error}. Get it again.") from None
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{path} holds {array.dtype} of shape {array.shape}; token ids are whole numbers in one dimension."
        )
    return int(array.offset), array.dtype.str, len(array)
