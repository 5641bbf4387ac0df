"""Which corpora can be built by name, where do they lie, and is the one on disk what its manifest says?

A corpus is a directory with `train.jsonl` and `val.jsonl` (one document a line: id, source, license, text) and
`MANIFEST.json`, which records where every byte came from. The repository ships no text; everything is built here, the
same bytes every time.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from logclock.config import closest
from logclock.data.atomic import building
from logclock.data.essentials import ESSENTIALS, extract_sources, fetch_essentials
from logclock.data.extract import SPLIT_RULE, Document, split_documents
from logclock.data.packages import file_sha256
from logclock.data.stdlib import read_stdlib
from logclock.data.synthetic import read_synthetic

__all__ = ["Corpus", "corpora", "data_root", "get_corpus", "list_corpora", "read_manifest"]

MANIFEST_FORMAT = 1
SYNTHETIC_BYTES = 16_000_000

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus that `get_corpus` can build.

    Args:
        name: What the user types.
        description: One line for listings.
        license: Of the text.
        recipe: Raised by one whenever the extraction changes, so that corpora built before are built again.
        gather: Returns the documents and the records of their origin, given (data root, limit in bytes, progress).
        takes_limit: Whether it can be built smaller.
        depends_on: Names outside things the text depends on, for the manifest.
    """

    name: str
    description: str
    license: str
    recipe: int
    gather: Callable[[Path, int | None, Progress], tuple[list[Document], list[dict[str, Any]]]]
    takes_limit: bool = False
    depends_on: Callable[[], dict[str, str]] = dict


def _gather_essentials(
    root: Path, limit_bytes: int | None, progress: Progress
) -> tuple[list[Document], list[dict[str, Any]]]:
    paths = fetch_essentials(root / "packages", progress=progress)
    progress("extracting and removing repeated paragraphs")
    documents = extract_sources(ESSENTIALS, paths)
    return documents, [
        {"source": source.name, **asdict(source.file), "license": source.license} for source in ESSENTIALS
    ]


def _gather_stdlib(
    root: Path, limit_bytes: int | None, progress: Progress
) -> tuple[list[Document], list[dict[str, Any]]]:
    progress(f"reading the standard library of Python {platform.python_version()}")
    documents = read_stdlib(limit_bytes=limit_bytes)
    text = "".join(document.text for document in documents)
    origin = {
        "source": "stdlib",
        "package": platform.python_implementation(),
        "version": platform.python_version(),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "license": "PSF-2.0",
    }
    return documents, [origin]


def _gather_synthetic(
    root: Path, limit_bytes: int | None, progress: Progress
) -> tuple[list[Document], list[dict[str, Any]]]:
    progress("drawing synthetic text")
    documents = read_synthetic(limit_bytes=SYNTHETIC_BYTES if limit_bytes is None else limit_bytes)
    return documents, [{"source": "synthetic", "seed": 0, "license": "CC0-1.0"}]


def _python() -> dict[str, str]:
    return {"python": f"{platform.python_implementation()} {platform.python_version()}"}


CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            "essentials",
            "16 MB of English: encyclopedia leads, plays, country facts, recipes (four pinned packages, downloaded)",
            "CC-BY-SA-4.0 and public domain, per document",
            recipe=1,
            gather=_gather_essentials,
        ),
        Corpus(
            "stdlib",
            "about 13 MB: sources and docstrings of the running Python's standard library (no download)",
            "PSF-2.0",
            recipe=1,
            gather=_gather_stdlib,
            takes_limit=True,
            depends_on=_python,
        ),
        Corpus(
            "synthetic",
            "16 MB of invented words by Zipf's law with power-law memory (no download)",
            "CC0-1.0",
            recipe=1,
            gather=_gather_synthetic,
            takes_limit=True,
        ),
    )
}


def corpora() -> tuple[Corpus, ...]:
    """Return every corpus that can be built by name."""
    return tuple(CORPORA.values())


def data_root(root: str | Path | None = None) -> Path:
    """Return where corpora, packages and datasets are kept: `root`, else $LOGCLOCK_DATA, else ~/.cache/logclock."""
    chosen = root or os.environ.get("LOGCLOCK_DATA") or "~/.cache/logclock"
    return Path(chosen).expanduser().absolute()


def get_corpus(
    name: str,
    *,
    root: str | Path | None = None,
    limit_bytes: int | None = None,
    force: bool = False,
    progress: Progress = print,
) -> Path:
    """Build a corpus, unless a valid one is there already, and return its directory.

    Args:
        name: `essentials`, `stdlib` or `synthetic`; see `logclock data list`.
        root: Data directory; None means $LOGCLOCK_DATA, else ~/.cache/logclock.
        limit_bytes: Build no more than this much text (`stdlib` and `synthetic` only).
        force: Build again even if a valid corpus is there.
        progress: Called with one line per stage.

    Raises:
        ValueError: The name is unknown, a limit is given that has no effect, or a package has the wrong content.
        RuntimeError: A package cannot be downloaded.
    """
    corpus = _find(name)
    if limit_bytes is not None and not corpus.takes_limit:
        raise ValueError(f"limit_bytes has no effect on {name!r}: it is always built whole. Leave it out.")
    base = data_root(root)
    directory = base / "corpora" / (name if limit_bytes is None else f"{name}-{limit_bytes}")
    settings = _settings(corpus, limit_bytes)
    if directory.exists() and not force:
        reason = _why_invalid(directory, settings)
        if reason is None:
            return directory
        progress(f"building {name} again: {reason}")
    documents, sources = corpus.gather(base, limit_bytes, progress)
    with building(directory) as partial:
        _write_corpus(partial, documents, sources, settings)
    _report(directory, progress)
    return directory


def list_corpora(*, root: str | Path | None = None) -> str:
    """Return a table of the corpora: name, whether it is built under `root`, description and licence."""
    base = data_root(root) / "corpora"
    lines = [f"data root: {base.parent}"]
    for corpus in corpora():
        is_valid = _why_invalid(base / corpus.name, _settings(corpus, None)) is None
        state = "built" if is_valid else "not built"
        lines.append(f"{corpus.name:<12}{state:<11}{corpus.description}. Licence: {corpus.license}.")
    return "\n".join(lines)


def read_manifest(directory: Path) -> dict[str, Any]:
    """Return a corpus's manifest.

    Raises:
        FileNotFoundError: The directory holds none.
        ValueError: It is not a manifest this version can read.
    """
    path = directory / "MANIFEST.json"
    if not path.is_file():
        raise FileNotFoundError(f"{directory} holds no MANIFEST.json. `logclock data get NAME` builds a corpus.")
    try:
        manifest = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}). Build the corpus again with force.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != MANIFEST_FORMAT:
        raise ValueError(f"{path} is not a manifest of format {MANIFEST_FORMAT}. Build the corpus again with force.")
    return manifest


def _find(name: str) -> Corpus:
    if name not in CORPORA:
        matches = closest(name, CORPORA)
        hint = f" Did you mean {matches[0]!r}?" if matches else ""
        raise ValueError(f"unknown corpus {name!r}.{hint} Known: {', '.join(CORPORA)}.")
    return CORPORA[name]


def _settings(corpus: Corpus, limit_bytes: int | None) -> dict[str, Any]:
    return {
        "corpus": corpus.name,
        "recipe": corpus.recipe,
        "limit_bytes": limit_bytes,
        **corpus.depends_on(),
    }


def _why_invalid(directory: Path, settings: dict[str, Any]) -> str | None:
    """Return what is wrong with the corpus on disk, or None if it is complete, intact and built as asked."""
    try:
        manifest = read_manifest(directory)
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    if manifest["settings"] != settings:
        return f"it was built as {manifest['settings']}, asked for is {settings}"
    for part in ("train", "val"):
        path = directory / f"{part}.jsonl"
        if not path.is_file() or file_sha256(path) != manifest[part]["sha256"]:
            return f"{path} is missing or changed"
    return None


def _write_corpus(
    directory: Path, documents: list[Document], sources: list[dict[str, Any]], settings: dict[str, Any]
) -> None:
    training, validation = split_documents(documents)
    if not training or not validation:
        raise ValueError(
            f"{settings['corpus']!r} has only {len(documents)} documents with limit_bytes={settings['limit_bytes']}, "
            f"too few to split into training and validation. Raise limit_bytes to at least 100000."
        )
    kept = [*training, *validation]
    for source in sources:
        texts = [document.text for document in kept if document.source == source["source"]]
        source |= {"documents": len(texts), "bytes": sum(len(text.encode()) for text in texts)}
    manifest = {
        "format": MANIFEST_FORMAT,
        "settings": settings,
        "sources": sources,
        "split_rule": SPLIT_RULE,
        "train": _write_documents(directory / "train.jsonl", training),
        "val": _write_documents(directory / "val.jsonl", validation),
    }
    (directory / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")


def _write_documents(path: Path, documents: list[Document]) -> dict[str, Any]:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for document in documents:
            record = {
                "id": document.id,
                "source": document.source,
                "license": document.license,
                "text": document.text,
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    num_bytes = sum(len(document.text.encode()) for document in documents)
    return {"documents": len(documents), "bytes": num_bytes, "sha256": file_sha256(path)}


def _report(directory: Path, progress: Progress) -> None:
    manifest = read_manifest(directory)
    counts = [
        f"{manifest[part]['bytes'] / 1e6:.2f} MB in {manifest[part]['documents']} documents for {purpose}"
        for part, purpose in (("train", "training"), ("val", "validation"))
    ]
    progress(f"{directory}: {', '.join(counts)}")
