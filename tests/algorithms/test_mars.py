import numpy as np
import pytest
import torch
from contract.runs import make_params
from contract.runs import run as take_steps
from contract.test_oracles import problem, require, run  # noqa: F401  problem is a fixture

from logclock import MARS, AdamW
from logclock.algorithms import MarsSpec
from logclock.schedules import log_time_ema


@pytest.mark.parametrize("size", [1.0, 0.02])
def test_equals_pytorch_optimizer(problem, size):  # noqa: F811
    """Where the bound on the norm of c acts, and where it does not."""
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    rows = problem.copy()
    rows[1:] *= size
    settings = {"lr": 1e-2, "weight_decay": 0.1, "eps": 1e-16}

    mine = run(lambda params: MARS(params, **settings), rows, (5, 6))
    theirs = run(lambda params: package.MARS(params, foreach=False, **settings), rows, (5, 6))

    # it has 1e-15 more within the root, which the smallest average here, of 1e-9, feels: 3e-8 after 24 updates
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-7)


def test_without_correction_and_bound_it_is_adamw():
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    shared = {"lr": 1e-2, "betas": (0.95, 0.99), "weight_decay": 0.1}

    take_steps(MARS(ours, gamma=0.0, largest_norm=None, **shared), ours, range(30))
    take_steps(AdamW(theirs, **shared), theirs, range(30))

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_one_update_by_hand():
    # ema1 = 0.5, gamma = 0.5: c = 3 + 0.5 (3 - 1) = 4, cut to 2; m = 0.5 * 2 = 1, v = 0.25 * 4 = 1, u = 2 / (1.5 + 0.5)
    grad, zero, before = (torch.tensor([value], dtype=torch.float64) for value in (3.0, 0.0, 1.0))
    scalars = {"ema1": 0.5, "ema2": 0.25, "correction1": 2.0, "correction2": 1.5, "eps": 0.5}
    (direction,) = MarsSpec.direction

    results = direction(grad, zero, zero, before, change_weight=0.5, norm_bound=2.0, **scalars)

    assert [result.item() for result in results] == pytest.approx([1.0, 1.0, 1.0, 3.0], rel=1e-15)


def test_the_bound_is_on_the_norm_of_each_tensor():
    large, small = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    large.grad, small.grad = torch.tensor([30.0, 40.0]), torch.tensor([0.03, 0.04])
    optimizer = MARS([large, small], gamma=0.0, ema1=1.0)
    optimizer.step()

    assert optimizer.state[large]["exp_avg"].tolist() == pytest.approx([0.6, 0.8], rel=1e-6)
    assert optimizer.state[small]["exp_avg"].tolist() == pytest.approx([0.03, 0.04], rel=1e-6)


def test_a_scheduled_average_changes_the_weight_of_the_correction():
    spec = MarsSpec(ema1=log_time_ema(1.0), gamma=0.1, bias_correction=False)

    assert spec.scalars(3)["change_weight"] == pytest.approx(0.1 * 3, rel=1e-14)  # beta1 / (1 - beta1) = 0.75 / 0.25
