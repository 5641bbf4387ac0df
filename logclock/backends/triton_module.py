"""How does emitted Triton become kernels? A module in a file, because triton.jit reads its source from disk."""

import atexit
import functools
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import torch

from logclock.backends.native import cache_folder

__all__ = ["is_interpreted", "module", "unavailable_reason"]


def unavailable_reason(device: torch.device) -> str | None:
    """Return why emitted Triton cannot run on tensors of a device, with what to do; None if it can."""
    if device.type != "cuda":
        return f"backend 'fused' runs on CPUs and CUDA devices, not on {device}. Use backend='foreach'."
    if not torch.cuda.is_available():
        return f"backend 'fused' cannot run on {device}: torch {torch.__version__} finds no CUDA device here."
    if importlib.util.find_spec("triton") is None:
        return (
            f"backend 'fused' needs Triton on {device}, which is not installed. Run `pip install triton`, in the "
            "version that your torch names, or use backend='foreach'."
        )
    return None


def is_interpreted() -> bool:
    """Return whether Triton interprets kernels on the host (TRITON_INTERPRET=1), where tensors of a CPU are allowed."""
    if importlib.util.find_spec("triton") is None:
        return False
    from triton import knobs

    return bool(knobs.runtime.interpret)


@functools.cache
def module(source: str) -> ModuleType:
    """Return the module that a source makes, from a file named after its hash.

    The file lies in the cache folder, where Triton's own cache finds the same kernels again; if the folder cannot be
    used, in a folder that goes with the process.
    """
    name = f"logclock_{hashlib.sha256(source.encode()).hexdigest()[:32]}"
    folder = cache_folder()
    path = (folder is not None and _written(folder, name, source)) or _written(_own_folder(), name, source)
    if not path:
        raise RuntimeError(
            f"backend 'fused' must write the source of its kernels to a file, and neither {folder} nor "
            f"{tempfile.gettempdir()} can be written. Let LOGCLOCK_CACHE name a folder that can."
        )
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


def _written(folder: Path, name: str, source: str) -> Path | None:
    """Return the file with this source in a folder, after writing it there if it is not; None if that cannot be."""
    path = folder / f"{name}.py"
    try:
        if path.is_file() and path.read_bytes() == source.encode():
            return path
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(source.encode())
            os.replace(partial, path)  # processes may write at once
        except OSError:
            os.unlink(partial)
            raise
        return path
    except OSError:
        return None


@functools.cache
def _own_folder() -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix="logclock-"))
    except OSError:
        return Path(os.devnull)  # nothing can be written there, which `module` reports
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
