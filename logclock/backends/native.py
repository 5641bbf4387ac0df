"""How does emitted source become a loaded library? The machine's C++ compiler once, and a folder of results."""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["FLAGS", "cache_folder", "find_compiler", "library", "unavailable_reason"]

COMPILERS = ("c++", "g++", "clang++")

FLAGS = (
    "-std=c++17",
    "-O3",
    "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native",
    "-fopenmp-simd",  # vectorizes; threads are those of torch
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-thread-jumps",  # a select stays a select, instead of a path that computes the rest again
    "-ffp-contract=off",  # the vocabulary says itself where torch contracts
    "-shared",
    "-fPIC",
    "-pipe",
)
"""None of them assumes that there is no NaN, no infinity or no signed zero, as -ffast-math does."""

BUILD_SECONDS = 300

PROBE = 'extern "C" int logclock_probe() { return 1; }\n'


@functools.cache
def library(source: str) -> ctypes.CDLL:
    """Return the library that a C++ source makes: from the cache folder if it is there, else compiled.

    A cached file is named after what it was made from and the hash of its own bytes, and appears by a rename. So
    processes may build at once, and a damaged file is seen and built again. If the folder cannot be used, each process
    builds for itself.

    Raises:
        RuntimeError: There is no compiler, or it fails.
    """
    compiler = find_compiler()
    folder, key = cache_folder(), _key(source, compiler)
    cached = None if folder is None else _load_cached(folder, key)
    if cached is not None:
        return cached
    try:
        with tempfile.TemporaryDirectory(prefix="logclock-") as own:
            built = _compile(source, compiler, Path(own) / "library.so")
            kept = None if folder is None else _keep(built, folder, key)
            return kept or ctypes.CDLL(str(built))  # stays usable when the file is gone
    except OSError as error:
        raise RuntimeError(_advice(f"a library cannot be built or loaded: {error}")) from None


def find_compiler() -> tuple[str, ...]:
    """Return the command of the C++ compiler: `$CXX`, or the first of c++, g++ and clang++.

    Raises:
        RuntimeError: There is none.
    """
    if os.name != "posix":
        raise RuntimeError(_advice(f"it compiles on Linux and macOS only, this is {sys.platform}"))
    chosen = shlex.split(os.environ.get("CXX", ""))
    for command in [chosen] if chosen else [[name] for name in COMPILERS]:
        path = shutil.which(command[0])
        if path is not None:
            return (path, *command[1:])
    if chosen:
        raise RuntimeError(_advice(f"the C++ compiler CXX={os.environ['CXX']!r} is not there"))
    raise RuntimeError(_advice(f"there is no C++ compiler ({', '.join(COMPILERS)}, or another named by CXX)"))


def unavailable_reason() -> str | None:
    """Return why nothing can be compiled here, None if it can; found out by compiling one line, once per process."""
    return _probe(os.environ.get("CXX"), os.environ.get("PATH"))  # whoever changes them is answered again


@functools.cache
def _probe(*environment: str | None) -> str | None:
    try:
        return None if library.__wrapped__(PROBE).logclock_probe() == 1 else _advice("a compiled library does not work")
    except RuntimeError as error:
        return str(error)


def cache_folder() -> Path | None:
    """Return where libraries are kept: `$LOGCLOCK_CACHE`, or a folder in the user's cache; None if there is no home."""
    chosen = os.environ.get("LOGCLOCK_CACHE")
    if chosen:
        return Path(os.path.expanduser(chosen)) / "kernels"
    base = os.environ.get("XDG_CACHE_HOME") or ("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")
    folder = Path(os.path.expanduser(base))
    return folder / "logclock" / "kernels" if folder.is_absolute() else None  # "~" stays where there is no home


def _load_cached(folder: Path, key: str) -> ctypes.CDLL | None:
    for path in sorted(folder.glob(f"{key}-*.so")):
        try:
            if _digest(path) == path.stem.removeprefix(f"{key}-"):
                return ctypes.CDLL(str(path))
            path.unlink()
        except OSError:
            continue
    return None


def _keep(built: Path, folder: Path, key: str) -> ctypes.CDLL | None:
    """Copy a library to the cache folder and load it from there; None if the folder does not allow that."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=folder)
        os.close(descriptor)
        try:
            shutil.copy(built, partial)
            kept = folder / f"{key}-{_digest(built)}.so"
            os.replace(partial, kept)
        except OSError:
            os.unlink(partial)
            raise
        return ctypes.CDLL(str(kept))
    except OSError:  # cannot be written, is full, or may not hold executable files
        return None


def _compile(source: str, compiler: tuple[str, ...], target: Path) -> Path:
    command = [*compiler, *FLAGS, "-x", "c++", "-", "-o", str(target), "-lm"]
    try:
        done = subprocess.run(
            command, input=source, capture_output=True, text=True, errors="replace", timeout=BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(_advice(f"{shlex.join(compiler)} took more than {BUILD_SECONDS} seconds")) from None
    except OSError as error:
        raise RuntimeError(_advice(f"{shlex.join(compiler)} cannot be run: {error}")) from None
    if done.returncode != 0:
        lines = "\n".join(done.stderr.strip().splitlines()[:20])
        raise RuntimeError(_advice(f"{shlex.join(command)} failed:\n{lines}\n"))
    return target


def _advice(reason: str) -> str:
    return f"backend 'fused' cannot run here: {reason}. Install a C++ compiler (g++ or clang++), or use backend='loop'."


def _key(source: str, compiler: tuple[str, ...]) -> str:
    """Return a hash of all that the library depends on: the flag `native` makes the processor a part of it."""
    digest = hashlib.sha256()
    for part in (source, *compiler, *FLAGS, _version(compiler), _processor()):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:32]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


@functools.cache
def _version(compiler: tuple[str, ...]) -> str:
    try:
        done = subprocess.run([*compiler, "--version"], capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        return str(error)  # the build will say so
    return done.stdout


@functools.cache
def _processor() -> str:
    """Return the model of this machine's processor and what it can do."""
    try:
        with open("/proc/cpuinfo") as file:
            first = file.read(8192).split("\n\n")[0]  # a large machine has hundreds of entries alike
    except OSError:
        first = platform.processor()
    varying = ("cpu MHz", "bogomips", "BogoMIPS", "processor", "apicid", "initial apicid", "core id", "physical id")
    lines = [line for line in first.splitlines() if not line.startswith(varying)]
    return "\n".join([platform.machine(), *lines])
