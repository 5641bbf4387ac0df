import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise, make_params
from contract.runs import run as run_steps
from contract.test_oracles import DECAY, PEAK, TOLERANCE, problem, require, run  # noqa: F401  problem is a fixture

from logclock import AdamW, DualAdam, InvAdam
from logclock.algorithms import DualadamSpec, InvadamSpec


# 1 - 0.3 t is 0.7, 0.4 and 0.1, the last of which is below the rate
@pytest.mark.parametrize(("t", "expected"), [(1, 0.7), (2, 0.4), (3, 0.0), (4, 0.0), (1e6, 0.0)])
def test_the_inverse_share_falls_on_a_line_and_ends_below_its_rate(t, expected):
    scalars = DualadamSpec(switch_rate=0.3).scalars(t)

    assert scalars["inverse_share"] == pytest.approx(expected, rel=1e-14)
    assert scalars["share"] == 1 - scalars["inverse_share"]


def test_one_update_of_both_by_hand():
    # m = 2, v = 4, root 2 * 1.5 + 1 = 4: 2 * 2 * 4, and 2 * 2 * (0.75 / 4 + 0.25 * 4)
    grad, zero = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 0.0))
    scalars = {"ema1": 0.5, "ema2": 0.25, "correction1": 2.0, "correction2": 1.5, "eps": 1.0}
    (inverse,), (dual,) = InvadamSpec.direction, DualadamSpec.direction

    assert [x.item() for x in inverse(grad, zero, zero, **scalars)] == [16.0, 2.0, 4.0]
    assert dual(grad, zero, zero, share=0.75, inverse_share=0.25, **scalars)[0].item() == 4.75


def test_a_switch_rate_of_1_is_adamw():
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)

    run_steps(DualAdam(ours, lr=1e-2, weight_decay=0.1, switch_rate=1.0), ours, range(20))
    run_steps(AdamW(theirs, lr=1e-2, weight_decay=0.1), theirs, range(20))

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_update_of_invadam_grows_with_the_square_of_the_gradient():
    moves = []
    for scale in (1.0, 4.0):
        params = make_params(dtype=torch.float64)
        before = [p.detach().clone() for p in params]
        run_steps(InvAdam(params, lr=2.0**-10, eps=0.0), params, range(5), scale)
        moves.append([p.detach() - first for p, first in zip(params, before, strict=True)])

    for short, long in zip(*moves, strict=True):
        torch.testing.assert_close(long, 16 * short, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("switch_rate", [0.01, 0.1, 0.3])
def test_equals_pytorch_optimizer(problem, switch_rate):  # noqa: F811
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    settings = {"lr": PEAK, "betas": (0.9, 0.98), "weight_decay": DECAY, "switch_rate": switch_rate}

    mine = run(lambda params: DualAdam(params, **settings), problem)
    reference = run(lambda params: package.DualAdam(params, weight_decouple=True, **settings), problem)

    np.testing.assert_allclose(mine, reference, **TOLERANCE)


def test_invadam_is_the_limit_of_a_share_that_does_not_fall():
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)

    run_steps(InvAdam(ours, lr=1e-2), ours, range(5))
    run_steps(DualAdam(theirs, lr=1e-2, switch_rate=1e-300), theirs, range(5))

    assert_bitwise(ours, theirs)
