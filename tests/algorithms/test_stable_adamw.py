import numpy as np
import pytest
import torch
from contract.runs import make_params, run
from contract.test_oracles import DECAY, PEAK, TOLERANCE, problem, require  # noqa: F401  problem is a fixture
from contract.test_oracles import run as run_rows

from logclock import AdamW, StableAdamW
from logclock.algorithms import StableAdamwSpec


def test_one_update_by_hand():
    # m = (2, 0), v = (4, 0); the root is (2, 0) with a floor of 1, so rms(g / root) = sqrt((2^2 + 0) / 2) = sqrt(2)
    param, grad, zero = (torch.tensor(x, dtype=torch.float64) for x in ([8.0, 2.0], [4.0, 0.0], [0.0, 0.0]))
    scalars = {"ema1": 0.5, "ema2": 0.25, "correction1": 3.0, "correction2": 1.0, "eps": 1.0}
    (direction,) = StableAdamwSpec.direction

    update, *_ = direction(param, grad, zero, zero, absorbed_decay=0.5, rate_before_decay=0.0, **scalars)

    # 3 * 2 / (2 + 1) and the decay 0.5 * 8, both over sqrt(2)
    assert update.tolist() == pytest.approx([(2 + 4) / 2**0.5, 1 / 2**0.5], rel=1e-14)


def test_gradients_that_fit_their_second_moment_make_it_adamw():
    """A constant gradient is its own root: rms(g / sqrt(v)) is 1 at every update, but for rounding."""
    ours, theirs = (torch.nn.Parameter(torch.ones(4, dtype=torch.float64)) for _ in range(2))
    settings = {"lr": 1e-2, "ema2": 0.01, "eps": 1e-8, "weight_decay": 0.1}
    stable, plain = StableAdamW([ours], **settings), AdamW([theirs], **settings)

    for _ in range(20):
        ours.grad = theirs.grad = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
        stable.step()
        plain.step()

    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_gradient_a_hundred_times_too_large_shortens_step_and_decay_together(order):
    """The share is that of the tensor: rms(g / sqrt(v)), with v = 0.01 * 100^2 + 1 to a good part."""
    param = torch.nn.Parameter(torch.full((3,), 2.0, dtype=torch.float64))
    optimizer = StableAdamW([param], lr=0.5, weight_decay=0.5, bias_correction=False, ema1=1.0, eps=0.0,
                            decay_order=order)  # fmt: skip
    optimizer.materialize_state()
    optimizer.state[param]["exp_avg_sq"].fill_(1.0)
    param.grad = torch.full((3,), 100.0, dtype=torch.float64)

    optimizer.step()

    root = (0.99 + 0.01 * 100**2) ** 0.5
    share = root / 100
    step = share * 0.5 * 100 / root
    decayed = (1 - share * 0.25) * (2 - step) if order == "after" else (1 - share * 0.25) * 2 - step
    assert param.tolist() == pytest.approx([decayed] * 3, rel=1e-13)


def test_a_clip_of_the_update_is_another_rule():
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    settings = {"lr": 1e-2, "ema2": 0.01, "weight_decay": 0.0}

    run(StableAdamW(ours, **settings), ours, range(30))
    run(AdamW(theirs, wrappers=["clip_rms"], **settings), theirs, range(30))

    assert max((a - b).abs().max() for a, b in zip(ours, theirs, strict=True)) > 1e-2


def test_equals_pytorch_optimizer(problem):  # noqa: F811
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    settings = {"lr": PEAK, "betas": (0.9, 0.98), "weight_decay": DECAY}
    problem[10] *= 30  # a gradient that shortens the step

    mine = run_rows(lambda params: StableAdamW(params, **settings), problem)
    reference = run_rows(lambda params: package.StableAdamW(params, **settings), problem)

    np.testing.assert_allclose(mine, reference, **TOLERANCE)
