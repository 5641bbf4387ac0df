"""How does the running Python's standard library become a corpus that needs no download?"""

import sys
import sysconfig
import tokenize
from pathlib import Path

from logclock.data.extract import MIN_DOCUMENT_CHARS, Document, text_digest

__all__ = ["read_stdlib"]

SKIPPED_DIRECTORIES = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})


def read_stdlib(*, limit_bytes: int | None = None, directory: Path | None = None) -> list[Document]:
    """Return one document per source file: its code with all docstrings and comments; tests are left out.

    Args:
        limit_bytes: Take files in the order of the sha256 of their text, leaving out those that do not fit any more.
        directory: Where the library lies; None means that of the running Python.

    Raises:
        ValueError: There are no sources, as in a Python that is packed into one archive.
    """
    root = directory if directory is not None else Path(sysconfig.get_path("stdlib"))
    documents = {}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if SKIPPED_DIRECTORIES.isdisjoint(name.parts) and (text := _source_text(path)) is not None:
            documents[text_digest(text)] = Document(f"stdlib/{name.as_posix()}", "stdlib", "PSF-2.0", (text,))
    if not documents:
        raise ValueError(
            f"no Python sources below {root} (Python {sys.version.split()[0]}). Use a Python installed with its "
            f"standard library as files, or the corpus 'synthetic'."
        )
    ordered = [documents[digest] for digest in sorted(documents)]
    return ordered if limit_bytes is None else _fitting(ordered, limit_bytes)


def _source_text(path: Path) -> str | None:
    """Return a file's text by its declared encoding, or None for a near-empty file or one that cannot be decoded."""
    try:
        with tokenize.open(path) as file:
            text = file.read()
    except (SyntaxError, UnicodeDecodeError):
        return None
    return text if len(text) >= MIN_DOCUMENT_CHARS else None


def _fitting(documents: list[Document], limit_bytes: int) -> list[Document]:
    chosen, left = [], limit_bytes
    for document in documents:
        num_bytes = len(document.text.encode())
        if num_bytes <= left:
            chosen.append(document)
            left -= num_bytes
    return chosen
