import numpy as np
import pytest
import torch
from contract.runs import make_params, run
from torch import nn

from logclock.optim import SinkGD


def moved(grad, **settings):
    param = nn.Parameter(torch.zeros(grad.shape, dtype=torch.float64))
    param.grad = grad
    SinkGD([param], lr=1.0, update_rms=1.0, **settings).step()
    return -param.detach()


def random_matrix(*shape):
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape))


def test_one_round_by_hand():
    # rows (3, 4) and (0, 5) to norm sqrt(2): (0.6, 0.8) sqrt(2) and (0, 1) sqrt(2); then columns to norm sqrt(2)
    found = moved(torch.tensor([[3.0, 4.0], [0.0, 5.0]], dtype=torch.float64), num_rounds=1)

    length = (0.8**2 + 1) ** 0.5
    expected = 2**0.5 * torch.tensor([[1.0, 0.8 / length], [0.0, 1 / length]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5)])
def test_columns_have_a_root_mean_square_of_one_and_rows_nearly(shape):
    found = moved(random_matrix(*shape), num_rounds=30)

    torch.testing.assert_close(found.square().mean(0), torch.ones(shape[1], dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.square().mean(1), torch.ones(shape[0], dtype=torch.float64), rtol=1e-3, atol=0)


def test_the_sizes_of_rows_do_not_matter():
    grad, sizes = random_matrix(5, 8), torch.linspace(0.1, 10, 5, dtype=torch.float64)[:, None]

    torch.testing.assert_close(moved(grad), moved(sizes * grad), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("factor", [2.0**-60, 2.0**20])
def test_the_size_of_the_gradient_does_not_matter(factor):
    one, other = make_params(((5, 8),), torch.float64), make_params(((5, 8),), torch.float64)
    run(SinkGD(one), one, range(3))
    run(SinkGD(other), other, range(3), scale=factor)

    torch.testing.assert_close(one[0], other[0], rtol=1e-9, atol=1e-12)


def test_empty_rows_and_columns_stay_empty():
    grad = random_matrix(4, 4)
    grad[1], grad[:, 2] = 0.0, 0.0

    found = moved(grad)

    assert found.isfinite().all()
    assert not found[1].any()
    assert not found[:, 2].any()
