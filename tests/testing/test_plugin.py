"""Does the pytest plugin make one item of each probe? Seen from outside, in a session of its own."""

import os
import subprocess
import sys

SESSION = """
import pytest
import torch

PROBES = ["unknown-argument", "foreach", "dcp-peek"]


@pytest.mark.check_optimizer(torch.optim.Muon, {"lr": 1e-3}, probes=PROBES)
def test_muon(probe_result):
    assert probe_result.status == "pass", probe_result.seen


@pytest.mark.check_optimizer(torch.optim.AdamW, probes=PROBES, known={"dcp-peek": "torch counts that step"})
def test_adamw(probe_result):
    assert probe_result.status == "pass", probe_result.seen


@pytest.mark.check_optimizer(torch.optim.AdamW, probes=["dcp-peek"])
def test_adamw_without_excuses(probe_result):
    assert probe_result.status == "pass", probe_result.seen
"""


def run_session(folder, source):
    (folder / "test_mine.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "logclock.testing.plugin", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    return subprocess.run(
        [*command, "--strict-markers", "test_mine.py"], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_every_probe_is_an_item_that_passes_fails_or_is_skipped_with_its_reason(tmp_path):
    out = run_session(tmp_path, SESSION).stdout

    assert "PASSED test_mine.py::test_muon[unknown-argument]" in out
    assert "It has no argument foreach." in out
    assert "XFAIL test_mine.py::test_adamw[dcp-peek] - torch counts that step" in out
    assert "FAILED test_mine.py::test_adamw_without_excuses[dcp-peek]" in out
    assert "the next six steps are others" in out
    assert "1 failed, 4 passed, 1 skipped, 1 xfailed" in out


def test_a_test_without_an_optimizer_says_how_to_name_one(tmp_path):
    done = run_session(tmp_path, "def test_nothing(probe_result):\n    pass\n")

    assert done.returncode != 0
    assert "@pytest.mark.check_optimizer(MyOptimizer, {'lr': 1e-3})" in done.stdout + done.stderr
