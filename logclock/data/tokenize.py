"""How does text become token ids and back, and how many bytes does each id stand for?

Two tokenizers with one small interface. Ids of both are contiguous, cover every byte, and leave no text out.

| | ids | end-of-text |
|---|---|---|
| `ByteTokenizer` | 0 to 255 are the bytes themselves | 256, the last |
| `BpeTokenizer` from `train_bpe` | 1 to 256 are single bytes, then merges | 0, the first |

Text that spells out the end-of-text marker is encoded as ordinary characters: only `prepare` puts the marker in.
"""

import functools
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from logclock.data.atomic import write_atomically

__all__ = ["END_OF_TEXT", "BpeTokenizer", "ByteTokenizer", "Tokenizer", "load_tokenizer", "train_bpe"]

END_OF_TEXT = "<|endoftext|>"
MIN_BPE_VOCABULARY = 257


class Tokenizer(ABC):
    """What the rest of the package asks of a tokenizer.

    Attributes:
        vocab_size: Number of ids; every id is below it.
        end_of_text: The id that follows every document in a dataset.
    """

    vocab_size: int
    end_of_text: int

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest of uint16 and uint32 that holds every id."""
        return np.uint16 if self.vocab_size <= 1 << 16 else np.uint32

    @abstractmethod
    def encode_documents(self, documents: Sequence[str]) -> list[np.ndarray]:
        """Return one array of ids per document, without end-of-text."""

    @abstractmethod
    def token_spellings(self) -> list[bytes]:
        """Return the bytes that each id stands for; none for special ids such as end-of-text."""

    @abstractmethod
    def to_json(self) -> str:
        """Return the whole tokenizer as the text of its `tokenizer.json`."""

    def token_bytes(self) -> np.ndarray:
        """Return, for each id, the number of UTF-8 bytes it stands for: what bits per byte divide by."""
        return np.array([len(spelling) for spelling in self.token_spellings()], dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of some ids; bytes that are no whole character, as at a cut, become U+FFFD."""
        spellings = self._spellings
        return b"".join(spellings[int(id_)] for id_ in ids).decode("utf-8", errors="replace")

    def save(self, path: Path) -> None:
        """Write `tokenizer.json`, atomically."""
        write_atomically(path, self.to_json().encode())

    @property
    def sha256(self) -> str:
        """Hash of `to_json()`, in hex."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @functools.cached_property
    def _spellings(self) -> list[bytes]:
        return self.token_spellings()


class ByteTokenizer(Tokenizer):
    """Each UTF-8 byte is a token; 257 ids with end-of-text."""

    vocab_size = 257
    end_of_text = 256

    def encode_documents(self, documents: Sequence[str]) -> list[np.ndarray]:
        """Return the UTF-8 bytes of each document."""
        return [np.frombuffer(document.encode(), dtype=np.uint8).astype(np.uint16) for document in documents]

    def token_spellings(self) -> list[bytes]:
        """Return the 256 bytes, and nothing for end-of-text."""
        return [bytes([value]) for value in range(256)] + [b""]

    def to_json(self) -> str:
        """Return the two words that say it all."""
        return json.dumps({"kind": "byte"}) + "\n"


class BpeTokenizer(Tokenizer):
    """A byte-level byte-pair encoding, as Hugging Face `tokenizers` trains and stores it.

    Args:
        text: The content of a `tokenizer.json` with a byte-level BPE model and an end-of-text token, for example
            from `train_bpe`.

    Raises:
        ValueError: The text describes another kind of tokenizer, or has no end-of-text token.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        data = json.loads(text)
        model = data.get("model") or {}
        if model.get("type") != "BPE" or not _is_byte_level(data):
            raise ValueError(
                "the tokenizer must be a byte-level BPE (model BPE, ByteLevel decoder, no normalizer, no prefix "
                f"space), got model {model.get('type')!r}. Others change the text, so bits per byte "
                f"could not be counted."
            )
        self.special = {token["content"]: token["id"] for token in data.get("added_tokens", [])}
        if END_OF_TEXT not in self.special:
            raise ValueError(f"the tokenizer has no token {END_OF_TEXT!r}; it must separate documents. Add it.")
        self.vocabulary: dict[str, int] = model["vocab"] | self.special
        self.vocab_size = max(self.vocabulary.values()) + 1
        self.end_of_text = self.special[END_OF_TEXT]

    def encode_documents(self, documents: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each document; documents are encoded in parallel."""
        encodings = self._engine.encode_batch_fast(list(documents), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=self.dtype) for encoding in encodings]

    def token_spellings(self) -> list[bytes]:
        """Return the bytes behind each token's printable spelling."""
        byte_of = {character: byte for byte, character in enumerate(_byte_characters())}
        spellings = [b""] * self.vocab_size
        for token, id_ in self.vocabulary.items():
            if token not in self.special:
                spellings[id_] = bytes(byte_of[character] for character in token)
        return spellings

    def to_json(self) -> str:
        """Return the text it was made from, unchanged."""
        return self.text

    @functools.cached_property
    def _engine(self) -> Any:
        engine = _import_tokenizers().Tokenizer.from_str(self.text)
        engine.encode_special_tokens = True  # a document that spells out the marker does not end there
        return engine


def train_bpe(texts: Iterable[str], *, vocab_size: int) -> BpeTokenizer:
    """Train a byte-level BPE with the GPT-2 word pattern; end-of-text is id 0, the 256 bytes follow.

    The same texts in the same order give the same tokenizer.

    Args:
        texts: Documents, read once.
        vocab_size: Number of ids with end-of-text, at least 257.

    Raises:
        ValueError: `vocab_size` is too small, or larger than the text can fill.
    """
    if vocab_size < MIN_BPE_VOCABULARY:
        raise ValueError(
            f"vocab_size must be at least {MIN_BPE_VOCABULARY} (256 bytes and end-of-text), got {vocab_size}."
        )
    library = _import_tokenizers()
    engine = library.Tokenizer(library.models.BPE())
    engine.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator(_batches(texts), trainer=trainer)
    if engine.get_vocab_size() != vocab_size:
        raise ValueError(
            f"the text fills a vocabulary of {engine.get_vocab_size()} tokens only, asked for was "
            f"vocab_size={vocab_size}. Give more text or ask for fewer."
        )
    return BpeTokenizer(engine.to_str(pretty=False))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a `tokenizer.json` written by `save`, or any byte-level BPE in Hugging Face's format.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no tokenizer at {path}. Give 'byte', 'bpe' or the path of a tokenizer.json.")
    text = path.read_text(encoding="utf-8")
    try:
        data = json.loads(text)
        return ByteTokenizer() if data == {"kind": "byte"} else BpeTokenizer(text)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a tokenizer this package can use: {error}") from None


def _is_byte_level(data: dict[str, Any]) -> bool:
    decoder = data.get("decoder") or {}
    adds_space = '"add_prefix_space": true' in json.dumps(data.get("pre_tokenizer"))
    return decoder.get("type") == "ByteLevel" and not data.get("normalizer") and not adds_space


def _byte_characters() -> list[str]:
    """Return the printable character that stands for each byte in byte-level BPE files.

    Printable Latin-1 bytes stand for themselves; the others, in order, are the characters from U+0100 on.
    """
    itself = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    shifted = (byte for byte in range(256) if byte not in itself)
    characters = {byte: chr(byte) for byte in itself}
    characters |= {byte: chr(0x100 + number) for number, byte in enumerate(shifted)}
    return [characters[byte] for byte in range(256)]


def _batches(texts: Iterable[str], *, size: int = 256) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _import_tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            "byte-pair encoding needs the package tokenizers: pip install 'logclock[bench]'. "
            "tokenizer='byte' needs nothing."
        ) from error
    return tokenizers
