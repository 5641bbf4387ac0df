"""Is an error about the request, about this machine, or a bug of ours; and what does a person need to read of it?"""

import dataclasses
import dis
import errno
import json
import pickle
import traceback
import zipfile
import zlib
from pathlib import Path
from types import TracebackType

import logclock

__all__ = ["BUG", "MACHINE", "REQUEST", "Fault", "explain"]

REQUEST = 2
MACHINE = 1
BUG = 70
"""EX_SOFTWARE of sysexits."""

OURS = (ValueError, TypeError, FileNotFoundError, FileExistsError, ImportError, RuntimeError)

DAMAGED = (pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, EOFError)

DISK = "Free some space and give the same command again: runs go on from their latest checkpoints."
ADVICE = {
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "A part of this path is a file; choose a path below directories.",
    errno.EEXIST: "There is a file where a directory is needed; choose another path.",
    errno.EISDIR: "A file is needed here; choose another path.",
    errno.EACCES: "Choose a path that you may use, or change its permissions.",
    errno.EPERM: "Choose a path that you may use, or change its permissions.",
    errno.EROFS: "Choose a path on a file system that can be written to.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ELOOP: "Links lead in a circle; choose another path.",
    errno.EINVAL: "The file system does not take this path; choose another one.",
    errno.ENOSPC: DISK,
    errno.EDQUOT: DISK,
    errno.EFBIG: "The file system or a limit (ulimit -f) allows no file of this size.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n) or use fewer --jobs.",
    errno.ENOMEM: "Make the model or the batch smaller, or run fewer --jobs.",
    errno.EAGAIN: "A limit of processes is reached; use fewer --jobs.",
}
OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
OF_THE_MACHINE |= {errno.EAGAIN, errno.ENXIO, errno.ENODEV, errno.ESTALE}

OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")
OF_THE_DEVICE = ("CUDA error", "CUDNN", "cuBLAS", "MPS backend", "NCCL")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """What a person sees of an error.

    Args:
        code: Exit code of the process.
        text: What was given, what is allowed and what to do.
    """

    code: int
    text: str


def explain(error: BaseException) -> Fault:
    """Return the exit code and the text of an error, whoever raised it.

    Messages of ours, from a `raise` statement in this package, say everything already. Errors of the operating system,
    of JSON, Unicode, pickle and torch get the file and the advice. Everything else is a bug.
    """
    if isinstance(error, OURS) and _is_raised_here(error):
        return Fault(code=REQUEST, text=str(error))
    if isinstance(error, OSError):
        return _of_the_system(error)
    if isinstance(error, ImportError):
        return Fault(code=REQUEST, text=f"{error}. Run: pip install 'logclock[bench]'.")
    text = _first_line(error)
    if isinstance(error, RuntimeError) and "home directory" in text:
        return Fault(
            code=REQUEST,
            text="there is no home directory ($HOME is not set, and the user, or the one named after a ~, is not in "
            "the password database). Data lies there by default: set $LOGCLOCK_DATA or give --data-root, and write "
            "paths without ~.",
        )
    if isinstance(error, MemoryError) or (_is_of_torch(error) and any(sign in text for sign in OUT_OF_MEMORY)):
        return Fault(
            code=MACHINE,
            text=f"out of memory ({text}). Make the model, the batch or the problem smaller, or run fewer --jobs.",
        )
    if _is_of_torch(error) and (
        type(error).__name__ == "AcceleratorError" or any(sign in text for sign in OF_THE_DEVICE)
    ):
        return Fault(code=MACHINE, text=f"the device failed ({text}). Try --set execution.device=cpu, or another one.")
    if isinstance(error, RecursionError):
        return Fault(code=REQUEST, text=f"something that was given is nested too deeply ({text}). Flatten it.")
    if isinstance(error, OverflowError):
        return Fault(code=REQUEST, text=f"a number that was given is too large ({text}). Use a smaller one.")
    if isinstance(error, UnicodeError):
        return Fault(code=REQUEST, text=f"a text cannot be read or written: {text}. Files and arguments are UTF-8.")
    if isinstance(error, json.JSONDecodeError):
        return Fault(code=REQUEST, text=f"a file is not the JSON that it should be: {text}. Remove or restore it.")
    if isinstance(error, DAMAGED) or type(error).__name__ == "SafetensorError":
        return Fault(code=REQUEST, text=f"a file is damaged or of another kind: {text}. Remove or restore it.")
    return Fault(
        code=BUG,
        text=f"{type(error).__name__}: {text}{_place(error)}. This is a bug in logclock, not in your request. "
        "--debug shows the traceback; please report it with the command.",
    )


def _is_raised_here(error: BaseException) -> bool:
    """Return whether the error comes from a `raise` statement in this package, and not from a call that went wrong."""
    innermost = _innermost(error)
    if innermost is None:
        return False
    code = innermost.tb_frame.f_code
    is_ours = Path(code.co_filename).is_relative_to(Path(logclock.__file__).parent)
    return is_ours and dis.opname[code.co_code[innermost.tb_lasti]] == "RAISE_VARARGS"


def _innermost(error: BaseException) -> TracebackType | None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _of_the_system(error: OSError) -> Fault:
    names = " and ".join(repr(str(name)) if not str(name) else str(name) for name in _filenames(error))
    reason = error.strerror or _first_line(error)
    advice = ADVICE.get(error.errno or 0, "")
    sentence = f"{names}: {reason}" if names else f"the operating system refused: {reason}"
    code = MACHINE if error.errno in OF_THE_MACHINE else REQUEST
    return Fault(code=code, text=f"{sentence.rstrip('.')}.{' ' + advice if advice else ''}")


def _filenames(error: OSError) -> list[object]:
    names = [error.filename, error.filename2]
    return [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names if name is not None]


def _is_of_torch(error: BaseException) -> bool:
    return isinstance(error, RuntimeError | MemoryError)


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return line or type(error).__name__


def _place(error: BaseException) -> str:
    """Return where in this package an error came up."""
    root = Path(logclock.__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).is_relative_to(root):
            return f" (logclock/{Path(frame.filename).relative_to(root).as_posix()}, line {frame.lineno})"
    return ""
