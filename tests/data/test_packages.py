import hashlib
import sys

import pytest

from logclock.data.packages import PinnedFile, fetch_files, file_sha256

pytest.importorskip("pip")

EXECUTED = "open({marker!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='tiny-text', version='1.0')\n"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index on disk: pip is told, the way a user would tell it, to look there and nowhere else."""
    directory = tmp_path / "index"
    directory.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    return directory


@pytest.fixture
def source_archive(index, tmp_path, write_sdist):
    """A source archive whose setup.py leaves a mark when it runs."""
    marker = tmp_path / "setup-was-executed"
    members = {
        "tiny-text-1.0/setup.py": EXECUTED.format(marker=str(marker)).encode(),
        "tiny-text-1.0/PKG-INFO": b"Metadata-Version: 1.0\nName: tiny-text\nVersion: 1.0\n",
        "tiny-text-1.0/text.txt": b"words",
    }
    path = write_sdist("index/tiny-text-1.0.tar.gz", members)
    return PinnedFile("tiny-text", "1.0", path.name, hashlib.sha256(path.read_bytes()).hexdigest()), path, marker


def test_wheels_and_source_archives_arrive_unchanged_and_setup_never_runs(
    index, source_archive, write_wheel, tmp_path, quiet, monkeypatch
):
    pinned_source, archive, marker = source_archive
    wheel = write_wheel("index/tiny_wheel-2.0-py3-none-any.whl", {"tiny_wheel-2.0.dist-info/METADATA": "Name: x"})
    pinned_wheel = PinnedFile("tiny-wheel", "2.0", wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest())
    # A user's general preference must not hide a pinned file.
    monkeypatch.setenv("PIP_ONLY_BINARY", ":all:")

    paths = fetch_files([pinned_source, pinned_wheel], tmp_path / "packages", progress=quiet)

    assert [path.read_bytes() for path in paths] == [archive.read_bytes(), wheel.read_bytes()]
    assert not marker.exists()
    assert len(quiet.lines) == 1


def test_a_file_in_the_cache_is_not_fetched_again(source_archive, tmp_path, quiet, monkeypatch):
    pinned, archive, _ = source_archive
    cache = tmp_path / "packages"
    cache.mkdir()
    (cache / pinned.file_name).write_bytes(archive.read_bytes())
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")  # starting pip would fail

    assert fetch_files([pinned], cache, progress=quiet) == [cache / pinned.file_name]
    assert quiet.lines == []


def test_a_damaged_file_in_the_cache_is_fetched_again(source_archive, tmp_path, quiet):
    pinned, archive, _ = source_archive
    cache = tmp_path / "packages"
    cache.mkdir()
    (cache / pinned.file_name).write_bytes(b"half a file")

    fetch_files([pinned], cache, progress=quiet)

    assert (cache / pinned.file_name).read_bytes() == archive.read_bytes()


def test_other_content_under_the_pinned_name_is_refused_and_not_kept(source_archive, tmp_path, quiet):
    pinned, archive, _ = source_archive
    archive.write_bytes(archive.read_bytes() + b"x")

    with pytest.raises(ValueError, match=f"{file_sha256(archive)}, pinned is {pinned.sha256}.*stdlib"):
        fetch_files([pinned], tmp_path / "packages", progress=quiet)

    assert list((tmp_path / "packages").iterdir()) == []


def test_a_package_that_no_index_has_is_one_error_that_names_the_way_out(index, tmp_path, quiet):
    pinned = PinnedFile("absent-text", "1.0", "absent_text-1.0-py3-none-any.whl", "0" * 64)

    with pytest.raises(RuntimeError, match=r"absent-text==1.0.*pip finds no file.*'stdlib' needs no download"):
        fetch_files([pinned], tmp_path / "packages", progress=quiet)

    assert list((tmp_path / "packages").iterdir()) == []


def test_a_python_without_pip_is_told_how_to_get_it(tmp_path, quiet, monkeypatch):
    script = tmp_path / "no_pip.py"
    script.write_text("raise ModuleNotFoundError(\"No module named 'pip'\")")
    monkeypatch.setattr("logclock.data.packages.FETCH_SCRIPT", script)
    pinned = PinnedFile("absent-text", "1.0", "absent_text-1.0-py3-none-any.whl", "0" * 64)

    with pytest.raises(RuntimeError, match="ensurepip"):
        fetch_files([pinned], tmp_path / "packages", progress=quiet)


def test_no_file_of_the_room_names_a_host():
    from pathlib import Path

    import logclock.data

    for path in Path(logclock.data.__file__).parent.glob("*.py"):
        assert "://" not in path.read_text(), path
