import errno
import json
import os
import pickle
import zipfile

import pytest
import torch

from logclock.config import from_dict
from logclock.config.faults import explain
from logclock.data import data_root


def caught(call):
    with pytest.raises(BaseException) as error:  # noqa: PT011  the kinds differ
        call()
    return error.value


def test_a_message_of_ours_is_told_as_it_is():
    fault = explain(caught(lambda: from_dict(int, "x", path="seed")))

    assert (fault.code, fault.text) == (2, "seed must be a whole number, got 'x'.")


def test_an_error_that_a_call_in_this_package_met_is_no_message_of_ours():
    fault = explain(caught(lambda: data_root(3)))  # pathlib raises, inside a line of ours

    assert fault.code == 70
    assert "(logclock/data/corpora.py, line " in fault.text


@pytest.mark.parametrize(
    ("error", "code", "parts"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 1, ["a/b: No space left", "Free some space"]),
        (OSError(errno.EIO, "Input/output error", "a/b"), 1, ["a/b: Input/output error."]),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"), 2, ["a/b: Not a directory", "is a file"]),
        (PermissionError(errno.EACCES, "Permission denied", b"a/\xff"), 2, ["Permission denied", "permissions"]),
        (OSError(errno.EROFS, "Read-only file system", "x"), 2, ["x: Read-only file system", "can be written to"]),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), 2, ["shorter path"]),
        (
            FileExistsError(errno.EEXIST, "File exists", "out"),
            2,
            ["out: File exists. There is a file where a directory"],
        ),
        (OSError("no number"), 2, ["the operating system refused: no number."]),
        (MemoryError(), 1, ["out of memory (MemoryError)"]),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 1, ["out of memory"]),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 1, ["out of memory (CUDA"]),
        (
            RuntimeError("CUDA error: device-side assert triggered\nmore"),
            1,
            ["the device failed (CUDA error: device-side"],
        ),
        (RecursionError("maximum recursion depth exceeded"), 2, ["nested too deeply"]),
        (OverflowError("int too large to convert to float"), 2, ["too large (int too large to convert to float)"]),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), 2, ["surrogates not allowed", "UTF-8"]),
        (json.JSONDecodeError("Expecting value", "x", 0), 2, ["not the JSON", "Expecting value"]),
        (pickle.UnpicklingError("invalid load key"), 2, ["damaged", "invalid load key"]),
        (zipfile.BadZipFile("File is not a zip file"), 2, ["damaged"]),
        (EOFError(), 2, ["damaged", "EOFError"]),
        (ModuleNotFoundError("No module named 'scipy'"), 2, ["pip install 'logclock[bench]'"]),
        (RuntimeError("Could not determine home directory."), 2, ["$LOGCLOCK_DATA", "--data-root"]),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 70, ["RuntimeError: mat1", "bug", "--debug"]),
        (AssertionError(), 70, ["AssertionError", "bug"]),
        (ZeroDivisionError("division by zero"), 70, ["bug"]),
    ],
)
def test_every_kind_of_error_has_a_code_and_says_what_to_do(error, code, parts):
    fault = explain(error)

    assert fault.code == code
    for part in parts:
        assert part in fault.text
    assert "\n" not in fault.text


def test_a_user_without_a_home_directory_reads_what_to_set(monkeypatch):
    import pwd

    def unknown(key):
        raise KeyError(key)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("LOGCLOCK_DATA", raising=False)
    assert os.path.expanduser("~") == "~"

    for given in (None, "~nobody-of-that-name/data"):
        fault = explain(caught(lambda given=given: data_root(given)))
        assert fault.code == 2
        assert "set $LOGCLOCK_DATA or give --data-root" in fault.text
