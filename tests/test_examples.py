"""Do the example packages work as a stranger installs them, beside the package and not inside of it?"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOY = ROOT / "examples" / "toy_optimizer"


def run(installed, *arguments, cwd=None):
    """Run Python in a process that finds logclock here and what was installed."""
    path = os.pathsep.join([str(installed), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=cwd)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the toy package was installed, offline and without its dependencies."""
    source = tmp_path_factory.mktemp("source") / "toy_optimizer"
    shutil.copytree(TOY, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    target = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def test_an_installed_algorithm_is_found_by_name_without_being_imported(installed):
    program = (
        "import sys, torch, logclock\n"
        "assert 'toy_optimizer' not in sys.modules\n"
        "weight = torch.nn.Parameter(torch.zeros(2))\n"
        "weight.grad = torch.tensor([4.0, -0.25])\n"
        "optimizer = logclock.AdamW([{'params': [weight], 'algorithm': 'root-sgd', 'lr': 0.5, 'ema1': 1.0}])\n"
        "optimizer.step()\n"
        "print(weight.tolist(), logclock.RootSGD.__name__, 'RootSGD' in logclock.__all__)\n"
    )

    done = run(installed, "-c", program)

    assert done.returncode == 0, done.stderr
    # signed roots of (4, -0.25) are (2, -0.5), times lr 0.5; promised names are those of this package alone
    assert done.stdout.strip() == "[-1.0, 0.25] RootSGD False"


def test_without_the_package_the_name_is_unknown(tmp_path):
    done = run(tmp_path, "-c", "import logclock; logclock.RootSGD")

    assert done.returncode == 1
    assert "AttributeError: module 'logclock' has no attribute 'RootSGD'" in done.stderr


def test_the_command_line_lists_an_installed_algorithm(installed):
    pytest.importorskip("tyro")

    done = run(installed, "-m", "logclock", "list")

    assert done.returncode == 0, done.stderr
    assert "  root-sgd                 RootSGD: the signed root of an average, halfway between SGD" in done.stdout


def test_the_toy_keeps_the_contract(installed, tmp_path):
    tests = shutil.copytree(TOY / "tests", tmp_path / "tests")

    done = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests), cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "19 passed" in done.stdout  # nine checks, bare and with options around, and the equation


@pytest.fixture(scope="module")
def scalebio():
    """The example module."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import scalebio
    finally:
        sys.path.pop(0)
    return scalebio


@pytest.mark.parametrize("clean", [0, 1])
def test_learned_weights_move_to_the_source_that_is_like_the_validation_data(scalebio, clean):
    noises = (0.0, 0.6) if clean == 0 else (0.6, 0.0)

    outcome = scalebio.run(noises, steps=120)

    assert outcome.weights[0] == pytest.approx([0.5, 0.5], abs=0.02)
    assert outcome.weights[-1][clean] > 0.8
    assert sum(outcome.weights[-1]) == pytest.approx(1)
    assert outcome.loss < outcome.loss_of_equal_weights


def test_learned_weights_of_sources_that_are_alike_stay_about_even(scalebio):
    outcome = scalebio.run((0.6, 0.6), steps=120)

    assert outcome.weights[-1] == pytest.approx([0.5, 0.5], abs=0.1)
