import math

import numpy as np
import pytest
import torch
from contract.runs import make_params
from contract.runs import run as run_steps
from contract.test_oracles import DECAY, PEAK, TOLERANCE, problem, require, run  # noqa: F401  problem is a fixture

from logclock import AdamW, DiffGrad
from logclock.algorithms import DiffgradSpec


def test_one_update_by_hand():
    # m = 2, v = 4, friction 1 / (1 + exp(-ln 3)) = 3/4, corrections 2 / 0.5: 4 * 0.75 * 2 / (2 + 1)
    grad, zero, previous = (torch.tensor([x], dtype=torch.float64) for x in (4.0, 0.0, 4.0 - math.log(3.0)))
    scalars = {"ema1": 0.5, "ema2": 0.25, "correction1": 2.0, "correction2": 0.5, "eps": 1.0}
    (direction,) = DiffgradSpec.direction

    results = direction(grad, zero, zero, previous, **scalars)

    assert [result.item() for result in results] == pytest.approx([2.0, 2.0, 4.0, 4.0], rel=1e-14)


def test_the_gradient_is_remembered_as_a_copy_and_not_as_the_tensor_that_changes():
    """The fault of the first published code: the friction was 1/2 for ever."""
    param = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = DiffGrad([param], lr=1.0, eps=0.0, ema1=1.0, ema2=1.0)
    param.grad = torch.ones(1, dtype=torch.float64)

    for _ in range(2):
        optimizer.step()
        param.grad.add_(math.log(3.0))  # in place

    # +-1 times the friction: of 1 - 0 at the first update, of ln 3 at the second
    assert -param.item() == pytest.approx(1 / (1 + math.exp(-1)) + 0.75, rel=1e-14)


def test_gradients_far_below_1_make_it_adam_at_half_the_learning_rate():
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    settings = {"eps": 0.0, "weight_decay": 0.0}

    run_steps(DiffGrad(ours, lr=2e-2, **settings), ours, range(20), scale=1e-12)
    run_steps(AdamW(theirs, lr=1e-2, **settings), theirs, range(20), scale=1e-12)

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_equals_pytorch_optimizer(problem):  # noqa: F811
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    settings = {"lr": PEAK, "betas": (0.9, 0.98), "weight_decay": DECAY}

    mine = run(lambda params: DiffGrad(params, **settings), problem)
    reference = run(lambda params: package.DiffGrad(params, weight_decouple=True, **settings), problem)

    np.testing.assert_allclose(mine, reference, **TOLERANCE)
