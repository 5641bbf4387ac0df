import numpy as np
import pytest
import torch
from contract.runs import make_params
from contract.runs import run as run_steps
from contract.test_oracles import DECAY, PEAK, TOLERANCE, problem, require, run  # noqa: F401  problem is a fixture

from logclock import AdaBelief
from logclock.algorithms import AdabeliefSpec


def test_scalars_by_hand():
    scalars = AdabeliefSpec(ema1=0.5, ema2=0.75, eps=1e-3).scalars(1)

    expected = {"correction1": 2.0, "correction2": 0.75**-0.5, "floor": 1e-3}
    assert {name: scalars[name] for name in expected} == pytest.approx(expected, rel=1e-14)


def test_one_update_by_hand():
    # g = 4 from 0: m = 2, s = 0.25 (4 - 2)^2 + 1 = 2, update 2 * 2 / (1.5 sqrt(2) + 1)
    grad, zero = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 0.0))
    scalars = {"ema1": 0.5, "ema2": 0.25, "correction1": 2.0, "correction2": 1.5, "eps": 1.0, "floor": 1.0}
    (direction,) = AdabeliefSpec.direction

    results = direction(grad, zero, zero, **scalars)

    assert [result.item() for result in results] == pytest.approx([4 / (1.5 * 2**0.5 + 1), 2.0, 2.0], rel=1e-14)


def test_the_rectification_by_hand():
    """beta2 = 0.9 has a longest memory of 19; RAdam's equations at t = 10, in numbers."""
    plain, rectified = AdabeliefSpec(ema2=0.1).scalars(10), AdabeliefSpec(ema2=0.1, rectify=True).scalars(10)
    length = 19 - 20 * 0.9**10 / (1 - 0.9**10)

    assert length == pytest.approx(8.2932, abs=1e-4)
    factor = ((length - 4) * (length - 2) * 19 / (15 * 17 * length)) ** 0.5
    assert rectified["correction1"] == pytest.approx(plain["correction1"] * factor, rel=1e-14)
    assert rectified["correction2"] == plain["correction2"]


def test_while_few_samples_count_the_rectified_step_is_the_average_itself():
    params = make_params(dtype=torch.float64)
    before = [p.detach().clone() for p in params]

    run_steps(AdaBelief(params, lr=0.5, rectify=True), params, range(1))

    for param, first in zip(params, before, strict=True):
        torch.testing.assert_close(param.detach(), first - 0.5 * param.grad, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("rectify", [False, True])
def test_equals_pytorch_optimizer(problem, rectify):  # noqa: F811
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    settings = {"lr": PEAK, "betas": (0.9, 0.98), "weight_decay": DECAY, "rectify": rectify}

    mine = run(lambda params: AdaBelief(params, **settings), problem)
    reference = run(lambda params: package.AdaBelief(params, weight_decouple=True, **settings), problem)

    np.testing.assert_allclose(mine, reference, **TOLERANCE)
