"""Is emitted source built once for all processes, and is nothing that happens to the cache folder an error?"""

import pwd
import subprocess
import sys
import textwrap

import pytest
import torch

from logclock.backends import fused, native

pytestmark = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason="no C++ compiler, which `fused` says itself"
)


def source(value=42):
    return f'extern "C" int value() {{ return {value}; }}\n'


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Return `library` without the memory of this process, with a cache folder and a compiler that keeps count."""
    compiler = tmp_path / "counting"
    real = native.find_compiler()
    compiler.write_text(
        f'#!/bin/sh\ncase "$*" in *-shared*) echo built >> {tmp_path}/log;; esac\nexec {" ".join(real)} "$@"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("LOGCLOCK_CACHE", str(tmp_path / "cache"))
    return native.library.__wrapped__


@pytest.fixture
def num_builds(tmp_path):
    log = tmp_path / "log"
    return lambda: len(log.read_text().splitlines()) if log.exists() else 0


def kept(tmp_path):
    return sorted((tmp_path / "cache" / "kernels").iterdir())


def test_a_source_is_built_once_and_then_found(load, num_builds, tmp_path):
    values = [load(source()).value() for _ in range(3)]

    assert values == [42] * 3
    assert num_builds() == 1
    assert [path.suffix for path in kept(tmp_path)] == [".so"]


def test_another_source_compiler_or_processor_is_another_library(load, num_builds, monkeypatch, tmp_path):
    load(source(1))
    load(source(2))
    monkeypatch.setattr(native, "_processor", lambda: "another")
    load(source(1))
    monkeypatch.setattr(native, "_version", lambda compiler: "another")
    load(source(1))
    monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-DANOTHER"))
    load(source(1))

    assert num_builds() == len(kept(tmp_path)) == 5


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_file_is_built_again(load, num_builds, tmp_path, damage):
    load(source(7))
    (path,) = kept(tmp_path)
    content = path.read_bytes()
    path.unlink()  # a new file: this process has the old one mapped
    middle = len(content) // 2
    changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"truncated": content[:middle], "changed": changed, "empty": b""}[damage])

    assert load(source(7)).value() == 7
    assert num_builds() == 2
    assert [file.read_bytes() for file in kept(tmp_path)] == [content]


def test_processes_may_build_the_same_at_once(load, tmp_path):
    script = textwrap.dedent(f"""
        import importlib.util
        spec = importlib.util.spec_from_file_location("native", {native.__file__!r})
        native = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(native)
        print(native.library({source(9)!r}).value())
    """)
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]

    assert outputs == [("9\n", "")] * 4
    assert {path.suffix for path in kept(tmp_path)} == {".so"}  # no partial file is left
    assert load(source(9)).value() == 9


def test_a_folder_that_cannot_be_made_is_no_error(load, num_builds, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOGCLOCK_CACHE", str(tmp_path / "file" / "below"))

    assert [load(source(3)).value() for _ in range(2)] == [3, 3]
    assert num_builds() == 2


def test_a_folder_that_cannot_be_written_is_read_and_no_error(load, num_builds, monkeypatch, tmp_path):
    load(source(4))

    def refused(*arguments, **keywords):
        raise PermissionError("read-only")

    monkeypatch.setattr(native.tempfile, "mkstemp", refused)  # a mode would not stop root

    assert (load(source(4)).value(), num_builds()) == (4, 1)
    assert (load(source(5)).value(), num_builds()) == (5, 2)
    assert len(kept(tmp_path)) == 1


def test_a_full_disk_leaves_no_partial_file_and_is_no_error(load, monkeypatch, tmp_path):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(native.shutil, "copy", full)

    assert load(source(6)).value() == 6
    assert kept(tmp_path) == []


def test_no_home_is_no_error(load, monkeypatch):
    def nobody(uid):
        raise KeyError(uid)

    for name in ("LOGCLOCK_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)

    assert native.cache_folder() is None
    assert load(source(8)).value() == 8


def test_the_cache_folder_is_the_users_unless_said(monkeypatch, tmp_path):
    monkeypatch.setenv("LOGCLOCK_CACHE", str(tmp_path))
    chosen = native.cache_folder()
    monkeypatch.delenv("LOGCLOCK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))

    assert chosen == tmp_path / "kernels"
    assert native.cache_folder() == tmp_path / "xdg" / "logclock" / "kernels"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/nowhere/c++ -v", r"the C\+\+ compiler CXX='/nowhere/c\+\+ -v' is not there"),
        ("false", r"false -std=c\+\+17 .* failed"),
        ("true", r"a library cannot be built or loaded"),
    ],
)
def test_a_compiler_that_is_missing_or_fails_is_named_with_what_to_do(load, monkeypatch, command, message):
    monkeypatch.setenv("CXX", command)

    reason = native.unavailable_reason()
    with pytest.raises(RuntimeError, match=f"(?s){message}.*Install a C\\+\\+ compiler .* or use backend='loop'"):
        load(source(10))

    assert reason == fused.unavailable_reason(torch.device("cpu"))
    assert "backend='loop'" in reason


def test_no_compiler_at_all_is_named_with_what_to_do(load, monkeypatch, tmp_path):
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "there is no C++ compiler (c++, g++, clang++, or another named by CXX)" in native.unavailable_reason()


def test_the_compilers_own_words_are_in_the_error(load):
    with pytest.raises(RuntimeError, match=r"(?s)failed:\n.*error.*nonsense"):
        load("nonsense\n")
