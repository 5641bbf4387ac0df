"""Is an optimizer the one that other people's packages ship? Those of their classes that specs/zoo.md found exact."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from logclock import SOAP, AdamW, AdEMAMix, LaProp, Lion, Muon, NAdamW, Signum
from logclock.schedules import HalfLifeRamp, LinearRamp

STEPS = 24
PEAK, DECAY = 1e-2, 0.1

# float64 rounding of 24 updates of size 1e-2 in another order of operations; a sign that turned would be 2e-2
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def require(package, version):
    """Skip with any version but the one that was found exact: these packages change their rules between versions."""
    found = importlib.metadata.version(package)
    if found != version:
        pytest.skip(f"{package} {version} is the oracle, {found} is installed")


@pytest.fixture
def problem():
    """A parameter and gradients of changing size, one coordinate without any: rows of one array."""
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((1 + STEPS, 30))
    rows[1:] *= np.geomspace(1.0, 0.1, STEPS)[:, None]
    rows[1:, 7] = 0.0
    return rows


def run(build, rows, shape=(-1,)):
    param = torch.nn.Parameter(torch.from_numpy(rows[0].copy()).reshape(shape))
    optimizer = build([param])
    history = []
    for row in rows[1:]:
        param.grad = torch.from_numpy(row.copy()).reshape(shape)
        optimizer.step()
        history.append(param.detach().numpy().copy())
    return np.stack(history)


RAMPS = {
    "gain": LinearRamp(start=0.0, end=5.0, steps=20),
    "ema_slow": HalfLifeRamp(start=0.1, end=1e-3, steps=20),
}

PYTORCH_OPTIMIZER = [
    (Lion, {"ema1": 0.05, "ema2": 0.02}, "Lion", {"betas": (0.95, 0.98)}),
    (Signum, {"ema1": 0.05}, "SignSGD", {"momentum": 0.95}),
    (Signum, {"ema1": 1.0}, "SignSGD", {"momentum": 0.0}),
    (
        AdEMAMix,
        {"ema2": 0.02, **RAMPS},
        "AdEMAMix",
        {"betas": (0.9, 0.98, 0.999), "alpha": 5.0, "t_alpha_beta3": 20, "weight_decouple": True},
    ),
    (
        AdEMAMix,
        {"ema_slow": 1e-3, "gain": 5.0},
        "AdEMAMix",
        {"betas": (0.9, 0.999, 0.999), "alpha": 5.0, "weight_decouple": True},
    ),
    # It decays after the update. Its 1e-15 within the root is 1e-11 of the smallest average here; without foreach,
    # because that path rounds its step sizes to float32.
    (LaProp, {"ema2": 0.1, "decay_order": "after"}, "LaProp", {"betas": (0.9, 0.9), "foreach": False}),
    (
        AdamW,
        {"betas": (0.9, 0.98), "wrappers": ["grams"]},
        "Grams",
        {"betas": (0.9, 0.98), "eps": 1e-8, "weight_decouple": True},
    ),
]


@pytest.mark.parametrize(("ours", "settings", "theirs", "their_settings"), PYTORCH_OPTIMIZER)
def test_equals_pytorch_optimizer(problem, ours, settings, theirs, their_settings):
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    oracle = getattr(package, theirs)

    mine = run(lambda params: ours(params, lr=PEAK, weight_decay=DECAY, **settings), problem)
    reference = run(lambda params: oracle(params, lr=PEAK, weight_decay=DECAY, **their_settings), problem)

    np.testing.assert_allclose(mine, reference, **TOLERANCE)


OPTAX = [
    (Lion, {"ema1": 0.05, "ema2": 0.02}, "lion", {"b1": 0.95, "b2": 0.98}),
    (NAdamW, {"ema1": 0.1, "ema2": 0.02}, "nadamw", {"b1": 0.9, "b2": 0.98}),
    (AdamW, {"eps": 1e-6, "wrappers": ["trust_ratio"]}, "lamb", {"eps": 1e-6}),
]


@pytest.mark.parametrize(("ours", "settings", "theirs", "their_settings"), OPTAX)
def test_equals_optax(problem, tmp_path, ours, settings, theirs, their_settings):
    require("optax", "0.2.8")
    np.save(tmp_path / "in.npy", problem)
    their_settings = {"learning_rate": PEAK, "weight_decay": DECAY, **their_settings}
    script = str(Path(__file__).with_name("optax_run.py"))
    files = [str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    command = [sys.executable, script, theirs, json.dumps(their_settings), *files]

    mine = run(lambda params: ours(params, lr=PEAK, weight_decay=DECAY, **settings), problem)
    done = subprocess.run(command, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(mine, np.load(tmp_path / "out.npy"), **TOLERANCE)


@pytest.mark.parametrize("warmup", [0, 6])
def test_schedule_free_adamw_equals_pytorch_optimizer(problem, warmup):
    """While training and where it is evaluated; their warm-up is part of the optimizer, ours is the group's lr."""
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    param, twin = (torch.nn.Parameter(torch.from_numpy(problem[0].copy())) for _ in range(2))
    ours = AdamW([param], lr=PEAK, ema1=1.0, ema2=0.001, weight_decay=DECAY, wrappers=["schedule_free"])
    theirs = package.ScheduleFreeAdamW([twin], lr=PEAK, weight_decay=DECAY, warmup_steps=warmup)
    theirs.train()

    for step, row in enumerate(problem[1:], start=1):
        param.grad, twin.grad = torch.from_numpy(row.copy()), torch.from_numpy(row.copy())
        ours.param_groups[0]["lr"] = PEAK * min(1.0, step / max(warmup, 1))
        ours.step()
        theirs.step()
        torch.testing.assert_close(param, twin, rtol=1e-12, atol=1e-12)
    theirs.eval()
    with ours.evaluated():
        torch.testing.assert_close(param, twin, rtol=1e-12, atol=1e-12)


def test_soap_equals_pytorch_optimizer_on_square_matrices():
    """Full-rank gradients, of whose Gram matrices the eigenvectors are determined up to their signs."""
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    rows = np.random.default_rng(1).standard_normal((1 + STEPS, 36))
    settings = {"lr": PEAK, "weight_decay": DECAY}

    mine = run(lambda params: SOAP(params, refresh_interval=3, **settings), rows, (6, 6))
    reference = run(lambda params: package.SOAP(params, precondition_frequency=3, **settings), rows, (6, 6))

    # specs/zoo.md 4.7 saw 5e-9: parts of the package's step are float32
    np.testing.assert_allclose(mine, reference, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("scale_rule", "adjusted"), [("original", False), ("match_rms_adamw", True)])
def test_muon_is_close_to_pytorch_optimizer(scale_rule, adjusted):
    """Loose, because its iteration runs in bfloat16: within 1 % of the distance travelled, as torch's is."""
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    rows = np.random.default_rng(2).standard_normal((1 + STEPS, 48))
    settings = {"lr": PEAK, "weight_decay": DECAY}

    mine = run(lambda p: Muon(p, scale_rule=scale_rule, iteration_dtype="float32", **settings), rows, (6, 8))
    group = {"use_muon": True, **settings}
    reference = run(
        lambda p: package.Muon([{"params": p, **group}], use_adjusted_lr=adjusted, weight_decouple=True), rows, (6, 8)
    )

    travelled = np.linalg.norm(reference[-1] - rows[0].reshape(6, 8))
    assert np.linalg.norm(mine[-1] - reference[-1]) < 1e-2 * travelled
