"""How do directories appear complete or not at all, even after kill -9?

Work happens under a hidden name next to the target; a rename on the same file system publishes it. A killed process
leaves only the hidden name behind, and the next build of the same target removes it.
"""

import contextlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["building"]


@contextlib.contextmanager
def building(target: Path) -> Iterator[Path]:
    """Yield an empty directory that becomes `target`, replacing what stood there, when the block ends without error.

    After an error the half-built directory is removed and `target` is as before. Processes that build the same target
    at once each work in their own directory; the last to finish wins.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    prefix = f"{_partial_prefix(target)}{os.getpid()}-"
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix))
    try:
        partial.chmod(0o755)
        yield partial
        _publish(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, target: Path) -> None:
    """Rename `partial` to `target`; a directory cannot be replaced in one step, so the old one steps aside first."""
    aside = partial.with_name(f"{partial.name}-old")
    for _ in range(10):  # another process may publish between our two renames
        with contextlib.suppress(FileNotFoundError):
            os.rename(target, aside)
        try:
            os.rename(partial, target)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            continue
        shutil.rmtree(aside, ignore_errors=True)
        return
    raise RuntimeError(f"cannot rename {partial} to {target}: something else keeps creating {target}.")


def _partial_prefix(target: Path) -> str:
    return f".{target.name}.partial-{socket.gethostname()}-"


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes of this machine left while they built `target`."""
    if os.name != "posix":
        return  # os.kill(pid, 0) is no question there: it ends the process
    prefix = _partial_prefix(target)
    for leftover in target.parent.iterdir():
        match = re.match(r"(\d+)-", leftover.name.removeprefix(prefix))
        if leftover.name.startswith(prefix) and match and not _is_alive(int(match[1])):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
