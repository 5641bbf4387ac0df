import numpy as np
import pytest
import torch
from contract.runs import make_params
from contract.runs import run as take_steps
from contract.test_oracles import TOLERANCE, problem, run  # noqa: F401  problem is a fixture

from logclock import Adafactor
from logclock.algorithms import AdafactorSpec

EPS = torch.finfo(torch.float64).eps


@pytest.mark.parametrize("shape", [(5, 6), (30,), (1, 30), (30, 1)])
@pytest.mark.parametrize("settings", [{}, {"lr": 0.5, "weight_decay": 0.1}, {"lr": 1e-3, "d": 1.5}])
def test_equals_torch(problem, shape, settings):  # noqa: F811
    """torch takes the machine epsilon of the parameter, float64 here; ours is float32's unless told."""
    ours = {("clip" if name == "d" else name): value for name, value in settings.items()}

    mine = run(lambda params: Adafactor(params, eps=EPS, **ours), problem, shape)
    theirs = run(lambda params: torch.optim.Adafactor(params, **settings), problem, shape)

    np.testing.assert_allclose(mine, theirs, **TOLERANCE)


def test_a_matrix_keeps_a_number_for_each_row_and_column():
    matrix, vector = torch.nn.Parameter(torch.ones(40, 30)), torch.nn.Parameter(torch.ones(7))
    optimizer = Adafactor([matrix, vector])
    take_steps(optimizer, [matrix, vector], range(1))

    assert [tuple(x.shape) for x in optimizer.state[matrix].values()] == [(), (40,), (30,), (0,)]
    assert [tuple(x.shape) for x in optimizer.state[vector].values()] == [(), (0,), (0,), (7,)]
    assert optimizer.state_bytes() == 4 * (40 + 30 + 7)


def test_a_gradient_whose_squares_have_rank_one_is_divided_exactly():
    """The product of the sums is then the square itself, so that the update is the sign."""
    rows, cols = torch.tensor([1.0, -2.0, 4.0]), torch.tensor([0.5, -3.0])
    param = torch.nn.Parameter(torch.zeros(3, 2, dtype=torch.float64))
    param.grad = torch.outer(rows, cols).double()
    Adafactor([param], lr=0.25, relative_step=False, scale_parameter=False).step()

    torch.testing.assert_close(param.detach(), -0.25 * param.grad.sign(), rtol=1e-14, atol=0)


def test_scale_and_relative_step_can_be_switched_off_one_by_one():
    on, off = AdafactorSpec(lr=0.5), AdafactorSpec(lr=0.5, relative_step=False, scale_parameter=False, clip=None)

    assert [on.scalars(16)[name] for name in ("rate_bound", "scale_weight", "smallest_scale", "rms_bound")] == [
        0.25,
        1.0,
        1e-3,
        1.0,
    ]
    assert [off.scalars(16)[name] for name in ("rate_bound", "scale_weight", "smallest_scale", "rms_bound")] == [
        float("inf"),
        0.0,
        1.0,
        float("inf"),
    ]


def test_a_step_is_relative_to_the_weights():
    small, large = (torch.nn.Parameter(torch.full((4, 4), size, dtype=torch.float64)) for size in (2.0, 8.0))
    for param in (small, large):
        param.grad = torch.ones(4, 4, dtype=torch.float64)
        Adafactor([param], lr=0.125).step()

    assert small[0, 0].item() == pytest.approx(2 - 0.125 * 2, rel=1e-14)
    assert large[0, 0].item() == pytest.approx(8 - 0.125 * 8, rel=1e-14)


def test_a_learning_rate_of_zero_and_a_zero_gradient_are_no_division_by_zero():
    params = make_params()
    before = [p.detach().clone() for p in params]
    optimizer = Adafactor(params)
    optimizer.param_groups[0]["lr"] = 0.0
    take_steps(optimizer, params, range(2), scale=0.0)

    assert all(torch.equal(p.detach(), old) for p, old in zip(params, before, strict=True))
