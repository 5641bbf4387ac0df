import numpy as np
import pytest
import torch
from contract.runs import make_params, run
from reference.scale import scale as reference
from torch import nn

from logclock import AdamW, matrix_param_groups
from logclock.optim import SCALE


@pytest.mark.parametrize(("axis", "dim"), [("rows", 1), ("cols", 0)])
def test_every_line_of_an_update_has_a_root_mean_square_of_one(axis, dim):
    params = make_params(((6, 9),), torch.float64)
    before = params[0].detach().clone()
    run(SCALE(params, lr=0.5, axis=axis), params, range(1))

    sizes = (params[0].detach() - before).square().mean(dim).sqrt()
    torch.testing.assert_close(sizes, torch.full_like(sizes, 0.5), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("axis", "along"), [("rows", 1), ("cols", 0)])
def test_momentum_and_columns_equal_the_reference(axis, along):
    generator = np.random.default_rng(0)
    start, grads = generator.standard_normal((5, 3)), list(generator.standard_normal((8, 5, 3)))
    param = nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = SCALE([param], lr=0.1, ema1=0.1, axis=axis, weight_decay=0.5)
    for grad in grads:
        param.grad = torch.from_numpy(grad)
        optimizer.step()

    expected, m = reference(start, grads, lr=lambda t: 0.1, decay=lambda t: 0.05, beta=0.9, along=along)
    np.testing.assert_allclose(param.detach().numpy(), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(optimizer.state[param]["exp_avg"].numpy(), m, rtol=1e-12, atol=1e-13)


def test_state_is_kept_for_the_head_alone():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 10, bias=False))
    groups = matrix_param_groups(
        model,
        matrices={"algorithm": "scale"},
        embeddings={"algorithm": "scale", "axis": "cols"},
        heads={"algorithm": "scale", "ema1": 0.1},
        rest={"weight_decay": 0.0},
    )
    optimizer = AdamW(groups, lr=1e-3)
    model(torch.tensor([1, 2])).sum().backward()
    optimizer.step()

    states = {name: list(optimizer.state[param]) for name, param in model.named_parameters()}
    assert states["0.weight"] == states["1.weight"] == ["step"]
    assert states["2.weight"] == ["step", "exp_avg"]
    assert states["1.bias"] == ["step", "exp_avg", "exp_avg_sq"]


@pytest.mark.parametrize("factor", [2.0**-13, 2.0**13])
def test_the_size_of_the_gradient_does_not_matter(factor):
    one, other = make_params(((5, 3),), torch.float64), make_params(((5, 3),), torch.float64)
    run(SCALE(one), one, range(4))
    run(SCALE(other), other, range(4), scale=factor)

    torch.testing.assert_close(one[0], other[0], rtol=1e-12, atol=1e-14)


def test_rows_smaller_than_the_floor_are_divided_by_it():
    param = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
    param.grad = torch.tensor([[0.0, 0.0], [1e-9, -1e-9]], dtype=torch.float64)
    SCALE([param], lr=1.0).step()

    torch.testing.assert_close(param.detach(), torch.tensor([[0.0, 0.0], [-0.1, 0.1]], dtype=torch.float64))
