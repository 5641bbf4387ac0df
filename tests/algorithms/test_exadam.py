import numpy as np
import pytest
import torch
from contract.test_oracles import DECAY, PEAK, TOLERANCE, problem, require, run  # noqa: F401  problem is a fixture

from logclock import EXAdam
from logclock.algorithms import ExadamSpec


def test_scalars_by_hand():
    scalars = ExadamSpec(ema1=0.5, ema2=0.25).scalars(2)

    # 1 - 0.5^2 = 3/4 and 1 - 0.75^2 = 7/16
    expected = {"bias1": 0.25, "bias2": 0.5625, "correction1": 4 / 3, "correction2": 4 / 7**0.5}
    assert {name: scalars[name] for name in expected} == pytest.approx(expected, rel=1e-14)


def test_one_update_by_hand():
    # g = 4 from 0: m = 2, v = 4; boost 1 + 0.5 * 4/5, brake 1 + 0.25 * 4/5; 2 (2 + 4) 1.4 / (sqrt(4.8) + 1)
    grad, zero = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 0.0))
    scalars = {"ema1": 0.5, "ema2": 0.25, "bias1": 0.25, "bias2": 0.5, "correction1": 2.0, "correction2": 1.0}
    (direction,) = ExadamSpec.direction

    update, exp_avg, exp_avg_sq = direction(grad, zero, zero, eps=1.0, **scalars)

    assert (exp_avg.item(), exp_avg_sq.item()) == (2.0, 4.0)
    assert update.item() == pytest.approx(16.8 / (4.8**0.5 + 1), rel=1e-14)


# With g constant, c1 m = g and c2 sqrt(v) = g: (1 + a / beta1-debias) ... the numbers are those of specs/zoo.md 3.1.
@pytest.mark.parametrize(("steps", "expected"), [(1, 15.95), (10, 4.3), (20_000, 2.0)])
def test_under_a_constant_gradient_steps_begin_at_sixteen_times_those_of_adam(steps, expected):
    spec = ExadamSpec(lr=1.0)
    param, grad = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    weights = torch.tensor([1 - 0.9 ** (steps - 1), 1 - 0.999 ** (steps - 1)], dtype=torch.float64)

    moved, *_ = spec.rule(param, grad, weights[:1], weights[1:], **spec.scalars(steps))

    assert -moved.item() == pytest.approx(expected, abs=0.06)


def test_equals_pytorch_optimizer(problem):  # noqa: F811
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    settings = {"lr": PEAK, "betas": (0.9, 0.98), "weight_decay": DECAY}

    mine = run(lambda params: EXAdam(params, **settings), problem)
    reference = run(lambda params: package.EXAdam(params, weight_decouple=True, **settings), problem)

    np.testing.assert_allclose(mine, reference, **TOLERANCE)
