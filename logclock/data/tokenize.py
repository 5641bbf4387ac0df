"""How does text become token ids and back, and how many bytes does each id stand for?

Two tokenizers with one small interface, and one of which only the ids are known. Both cover every byte and leave no
text out.

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
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from logclock.config.files import write_whole
from logclock.data.lossless import byte_characters, failed_probes, lossy_settings, missing_bytes, probe_texts

__all__ = ["END_OF_TEXT", "BpeTokenizer", "ByteTokenizer", "IdTokenizer", "Tokenizer", "load_tokenizer", "train_bpe"]

END_OF_TEXT = "<|endoftext|>"
MIN_BPE_VOCABULARY = 257
CONVERT = (
    "Wanted is a tokenizer.json as Hugging Face `tokenizers` writes it: `AutoTokenizer.from_pretrained(NAME)"
    ".save_pretrained(FOLDER)` makes one of most models."
)
NO_TEXT = (
    "only the number of ids is known of this tokenizer, not what text they stand for. Give the tokenizer.json with "
    "which the tokens were made."
)


class Tokenizer(ABC):
    """What the rest of the package asks of a tokenizer.

    Attributes:
        vocab_size: Number of ids; every id is below it.
        end_of_text: The id that follows every document in a dataset; None if the vocabulary has none.
    """

    vocab_size: int
    end_of_text: int | None

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

    def token_bytes(self) -> np.ndarray | None:
        """Return, for each id, the number of UTF-8 bytes it stands for: what bits per byte divide by.

        None if nothing is known of the text.
        """
        return np.array([len(spelling) for spelling in self.token_spellings()], dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of some ids; bytes that are no whole character, as at a cut, become U+FFFD."""
        spellings = self._spellings
        return b"".join(spellings[int(id_)] for id_ in ids).decode("utf-8", errors="replace")

    def save(self, path: Path) -> None:
        """Write `tokenizer.json`, atomically."""
        write_whole(path, self.to_json().encode(), durable=True)

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

    Accepted is what gives every text back, the same way every time; see `lossless`. Truncation, padding and dropout do
    not belong to a dataset and are switched off, as `switched_off` tells.

    Args:
        text: The content of a `tokenizer.json` with a byte-level BPE model and an end-of-text token, for example
            from `train_bpe`.

    Attributes:
        switched_off: What was changed in the text, a sentence each; empty for most files.

    Raises:
        ValueError: The text describes another kind of tokenizer, one that loses text, or has no end-of-text token.
    """

    def __init__(self, text: str) -> None:
        data = _parse(text)
        try:
            self.switched_off = _switch_off(data)
            problems = lossy_settings(data)
        except (AttributeError, KeyError, TypeError) as error:
            _build_engine(text)  # its own message is likely to be better
            raise ValueError(f"its settings are not of the usual form ({error}). {CONVERT}") from None
        self.text = json.dumps(data, ensure_ascii=False) if self.switched_off else text
        if not problems:
            self._engine = _build_engine(self.text)
            problems = self._read_vocabulary(data)
        if not problems:
            self._spellings = self._spell()
            problems = failed_probes(probe_texts(self.added), self._encode, self._spellings)
        if problems:
            raise ValueError(
                "the tokenizer must be a byte-level BPE that gives every text back unchanged and the same ids every "
                f"time; here {'; '.join(problems)}. Otherwise bits per byte could not be counted. Change a copy of "
                "the file, or let 'bpe' train a tokenizer on your text."
            )
        if END_OF_TEXT not in self.special:
            raise ValueError(
                f"the tokenizer has no token {END_OF_TEXT!r}; it must separate documents. Add it: "
                f"`add_special_tokens([{END_OF_TEXT!r}])` of the package tokenizers."
            )
        self.end_of_text = self.special[END_OF_TEXT]

    def encode_documents(self, documents: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each document; documents are encoded in parallel."""
        return [np.array(ids, dtype=self.dtype) for ids in self._encode(documents)]

    def token_spellings(self) -> list[bytes]:
        """Return the bytes behind each token's printable spelling; an added token stands for its text."""
        return list(self._spellings)

    def to_json(self) -> str:
        """Return the text it was made from, without what was switched off."""
        return self.text

    def _read_vocabulary(self, data: dict[str, Any]) -> list[str]:
        """Take ids from the engine, which assigns those of added tokens itself, and return what is wrong with them."""
        stated = {token["content"]: token["id"] for token in data.get("added_tokens") or ()}
        given = {token.content: (id_, token.special) for id_, token in self._engine.get_added_tokens_decoder().items()}
        self.special = {content: id_ for content, (id_, is_special) in given.items() if is_special}
        self.added = {content: id_ for content, (id_, _) in given.items()}
        self.vocabulary: dict[str, int] = data["model"]["vocab"] | self.added
        self.vocab_size = max(self.vocabulary.values(), default=0) + 1
        for content, id_ in stated.items():
            if self.added.get(content) != id_:
                return [
                    f"added token {content!r} has the id {id_} in the file, but the package tokenizers gives it "
                    f"{self.added.get(content)}. Save the file again with that package"
                ]
        if len(set(self.vocabulary.values())) < len(self.vocabulary):
            id_, count = Counter(self.vocabulary.values()).most_common(1)[0]
            names = [token for token, other in self.vocabulary.items() if other == id_]
            return [f"the id {id_} stands for {count} tokens ({', '.join(map(repr, names))}). Train one without"]
        if absent := missing_bytes(data["model"]["vocab"]):
            return [
                f"model.vocab has no token for {len(absent)} of the bytes of UTF-8 (the first is 0x{absent[0]:02x}), "
                "so text is dropped. Train one with initial_alphabet=pre_tokenizers.ByteLevel.alphabet()"
            ]
        return []

    def _spell(self) -> list[bytes]:
        byte_of = {character: byte for byte, character in enumerate(byte_characters())}
        spellings = [b""] * self.vocab_size
        for token, id_ in self.vocabulary.items():
            if token in self.special:
                continue  # documents that spell one out get other ids
            is_bytes = token not in self.added and all(character in byte_of for character in token)
            spellings[id_] = bytes(byte_of[character] for character in token) if is_bytes else token.encode()
        return spellings

    def _encode(self, documents: Sequence[str]) -> list[list[int]]:
        encodings = self._engine.encode_batch_fast(list(documents), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


class IdTokenizer(Tokenizer):
    """Ids whose text is not known: how many there are, and which one ends a document.

    For token files that other programs wrote, when their `tokenizer.json` is not at hand. Bits per byte cannot be
    counted, and no text can be encoded.

    Args:
        vocab_size: Number of ids.
        end_of_text: The id that ends a document; None if there is none.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(self, vocab_size: int, end_of_text: int | None) -> None:
        if not isinstance(vocab_size, int) or vocab_size < 1:
            raise ValueError(f"vocab_size must be a whole number of at least 1, got {vocab_size!r}.")
        if end_of_text is not None and not (isinstance(end_of_text, int) and 0 <= end_of_text < vocab_size):
            raise ValueError(
                f"end_of_text must lie in [0, {vocab_size - 1}], an id of the vocabulary, got {end_of_text}."
            )
        self.vocab_size, self.end_of_text = vocab_size, end_of_text

    def encode_documents(self, documents: Sequence[str]) -> list[np.ndarray]:
        """Raise: there is nothing to encode with."""
        raise ValueError(NO_TEXT)

    def token_spellings(self) -> list[bytes]:
        """Raise: nothing is known of the text."""
        raise ValueError(NO_TEXT)

    def token_bytes(self) -> None:
        """Return None: nothing is known of the text."""

    def to_json(self) -> str:
        """Return the two numbers."""
        return json.dumps({"kind": "ids", "vocab_size": self.vocab_size, "end_of_text": self.end_of_text}) + "\n"


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
    path = Path(path).expanduser()
    if not path.is_file():
        inside = f" The folder has one: {path / 'tokenizer.json'}." if (path / "tokenizer.json").is_file() else ""
        raise FileNotFoundError(f"no tokenizer at {path}. Give 'byte', 'bpe' or the path of a tokenizer.json.{inside}")
    try:
        return _from_text(_decode(path.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{path} is not a tokenizer this package can use: {error}") from None


def _from_text(text: str) -> Tokenizer:
    data = _parse(text)
    if data == {"kind": "byte"}:
        return ByteTokenizer()
    if data.get("kind") == "ids":
        return IdTokenizer(data.get("vocab_size"), data.get("end_of_text"))  # type: ignore[arg-type]  # it checks
    return BpeTokenizer(text)


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        kind = "looks like a SentencePiece model" if raw.startswith(b"\n") else "is a binary file"
        raise ValueError(f"it {kind}, not JSON. {CONVERT}") from None


def _parse(text: str) -> dict[str, Any]:
    """Return the content of a `tokenizer.json`, or raise with what the file is instead."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error}). {CONVERT}") from None
    if not isinstance(data, dict):
        raise ValueError(f"it is JSON, but a {type(data).__name__}. {CONVERT}")
    if data.get("kind") not in ("byte", "ids") and not isinstance(data.get("model"), dict):
        is_vocabulary = data and all(isinstance(value, int) for value in data.values())
        kind = "a vocabulary without merges" if is_vocabulary else f"JSON with {', '.join(list(data)[:5]) or 'nothing'}"
        raise ValueError(f"it is {kind}: a byte-level BPE has a model with vocab and merges. {CONVERT}")
    return data


def _switch_off(data: dict[str, Any]) -> tuple[str, ...]:
    """Take out of `data` what training or serving needs and a dataset must not have; return what was done."""
    done = []
    for name, effect in (("truncation", "documents are kept whole"), ("padding", "nothing is added to documents")):
        if data.get(name) is not None:
            data[name] = None
            done.append(f"{name} of the tokenizer is switched off: {effect}")
    if (data.get("model") or {}).get("dropout"):
        done.append(
            f"dropout ({data['model']['dropout']}) of the tokenizer is switched off: a text always gets the same ids"
        )
        data["model"]["dropout"] = None
    for token in data.get("added_tokens") or ():
        if isinstance(token, dict) and token.get("content") == END_OF_TEXT and not token.get("special"):
            token["special"] = True
            done.append(f"{END_OF_TEXT} is made a special token: documents that spell it out do not end there")
    return tuple(done)


def _build_engine(text: str) -> Any:
    library = _import_tokenizers()
    try:
        engine = library.Tokenizer.from_str(text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # bare exceptions, and panics that are not even those
        raise ValueError(f"the package tokenizers cannot read it: {error}. {CONVERT}") from None
    engine.encode_special_tokens = True  # a document that spells out the marker does not end there
    return engine


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
