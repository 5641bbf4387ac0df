import os
import socket
import subprocess
import sys

import pytest

from logclock.data.atomic import building


def test_a_directory_appears_only_when_the_block_ends(tmp_path):
    target = tmp_path / "deep" / "made"

    with building(target) as partial:
        (partial / "file").write_text("content")
        assert not target.exists()

    assert (target / "file").read_text() == "content"
    assert os.listdir(target.parent) == ["made"]


def test_an_error_leaves_the_old_directory_as_it_was(tmp_path):
    target = tmp_path / "made"
    target.mkdir()
    (target / "file").write_text("old")

    def build_and_fail():
        with building(target) as partial:
            (partial / "file").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build_and_fail()

    assert (target / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["made"]


def test_a_rebuilt_directory_keeps_no_file_of_the_old_one(tmp_path):
    target = tmp_path / "made"
    target.mkdir()
    (target / "stale").write_text("old")

    with building(target) as partial:
        (partial / "file").write_text("new")

    assert os.listdir(target) == ["file"]
    assert os.listdir(tmp_path) == ["made"]


def test_two_builders_of_one_target_do_not_disturb_each_other(tmp_path):
    target = tmp_path / "made"

    with building(target) as first:
        (first / "file").write_text("first")
        with building(target) as second:
            (second / "file").write_text("second")
        assert (target / "file").read_text() == "second"

    assert (target / "file").read_text() == "first"
    assert os.listdir(tmp_path) == ["made"]


def test_leftovers_of_dead_processes_go_and_those_of_live_ones_stay(tmp_path):
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    dead = tmp_path / f".made.partial-{socket.gethostname()}-{finished.pid}-x"
    live = tmp_path / f".made.partial-{socket.gethostname()}-{os.getpid()}-x"
    elsewhere = tmp_path / f".made.partial-another-host-{finished.pid}-x"
    for leftover in (dead, live, elsewhere):
        leftover.mkdir()

    with building(tmp_path / "made"):
        pass

    assert not dead.exists()
    assert live.exists()
    assert elsewhere.exists()
