"""Tiny inputs that several data tests share; all text is made up here."""

import io
import json
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

NOUNS = ["river", "tower", "garden", "baker", "lantern", "harbour", "violin", "meadow", "captain", "window"]
VERBS = ["crosses", "watches", "paints", "follows", "repairs", "remembers", "carries", "finds"]
PLACES = ["in the old town", "under a quiet bridge", "near the northern coast", "behind the market"]


def sentence(source: random.Random) -> str:
    first, second = source.choice(NOUNS), source.choice(NOUNS)
    return (
        f"The {first} {source.choice(VERBS)} the {second} {source.choice(PLACES)} and it is {source.random():.6f} far."
    )


def paragraph(source: random.Random, num_sentences: int = 4) -> str:
    return " ".join(sentence(source) for _ in range(num_sentences))


@pytest.fixture
def prose():
    """Return a function (number of paragraphs, seed) -> list of distinct paragraphs of English."""

    def make(num_paragraphs: int, seed: int = 0) -> list[str]:
        source = random.Random(seed)
        return [paragraph(source) for _ in range(num_paragraphs)]

    return make


@pytest.fixture
def text_file(tmp_path: Path, prose) -> Path:
    """A text file of about 60 kB with a blank line after every paragraph."""
    path = tmp_path / "story.txt"
    path.write_text("\n\n".join(prose(200)) + "\n")
    return path


@pytest.fixture
def write_wheel(tmp_path: Path):
    """Return a function that writes a zip archive of {name: content}."""

    def write(name: str, members: dict[str, object]) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.fixture
def write_sdist(tmp_path: Path):
    """Return a function that writes a .tar.gz archive of {name: bytes}."""

    def write(name: str, members: dict[str, bytes]) -> Path:
        path = tmp_path / name
        with tarfile.open(path, "w:gz") as archive:
            for member, content in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def quiet():
    """A progress function that keeps its lines: call it, or read `.lines`."""

    class Quiet:
        def __init__(self) -> None:
            self.lines: list[str] = []

        def __call__(self, line: str) -> None:
            self.lines.append(line)

    return Quiet()
