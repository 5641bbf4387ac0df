import numpy as np
import pytest
import torch
from contract.runs import make_params, run
from reference.muon import polar_factor
from reference.swan import grad_norm, inverse_root_whitened, swan
from torch import nn

from logclock.optim import SWAN


def steps(shape, grads, **settings):
    param = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    optimizer = SWAN([param], lr=0.1, **settings)
    for grad in grads:
        param.grad = torch.from_numpy(grad)
        optimizer.step()
    return param.detach().numpy()


@pytest.mark.parametrize("centers", [True, False])
@pytest.mark.parametrize("shape", [(4, 9), (3, 5)])
def test_equals_the_papers_inverse_root_of_full_rank_rows(shape, centers):
    grads = list(np.random.default_rng(0).standard_normal((5, *shape)))

    (expected,) = swan(
        np.zeros(shape), grads, lr=lambda t: 0.1, decay=lambda t: 0.0, centers=centers, whiten=inverse_root_whitened
    )

    # eight steps of Polar Express end within 1e-3 of the polar factor
    np.testing.assert_allclose(steps(shape, grads, centers=centers), expected, rtol=0, atol=5 * 1e-3 * 0.1 * 0.05 * 3)


@pytest.mark.parametrize("shape", [(9, 4), (6, 6), (4, 9)])
def test_the_default_update_is_the_polar_factor_of_standardized_rows(shape):
    grad = np.random.default_rng(1).standard_normal(shape)
    # a row without its mean is orthogonal to the ones: a wide or square matrix loses a direction, which stays 0
    left, values, right = np.linalg.svd(grad_norm(grad, True), full_matrices=False)
    polar = left[:, values > 1e-9] @ right[values > 1e-9]

    moved = -steps(shape, [grad])

    np.testing.assert_allclose(moved / np.linalg.norm(moved), polar / np.linalg.norm(polar), rtol=0, atol=1e-3)
    assert np.sqrt((moved**2).mean()) == pytest.approx(0.1 * 0.05, rel=1e-9)


def test_without_centering_it_is_muon_of_a_scaled_gradient():
    grad = np.random.default_rng(2).standard_normal((5, 7))

    moved = -steps((5, 7), [grad], centers=False)

    polar = polar_factor(grad_norm(grad, False))
    np.testing.assert_allclose(moved / np.linalg.norm(moved), polar / np.linalg.norm(polar), rtol=0, atol=1e-3)


def test_the_papers_iteration_can_be_had():
    """Coupled iterations for the inverse root are Newton-Schulz with (1.5, -0.5, 0)."""
    grad = np.random.default_rng(3).standard_normal((4, 6))
    y = grad_norm(grad, True)
    y, z = y @ y.T / np.trace(y @ y.T), np.eye(4)
    for _ in range(6):
        factor = 0.5 * (3 * np.eye(4) - z @ y)
        y, z = y @ factor, factor @ z
    expected = z @ grad_norm(grad, True)

    moved = -steps((4, 6), [grad], coefficients=[[1.5, -0.5, 0.0]], num_iterations=6)

    np.testing.assert_allclose(moved / np.linalg.norm(moved), expected / np.linalg.norm(expected), rtol=0, atol=1e-7)


@pytest.mark.parametrize("factor", [2.0**-20, 2.0**20])
def test_the_size_of_the_gradient_does_not_matter(factor):
    one, other = make_params(((5, 8),), torch.float64), make_params(((5, 8),), torch.float64)
    run(SWAN(one), one, range(3))
    run(SWAN(other), other, range(3), scale=factor)

    torch.testing.assert_close(one[0], other[0], rtol=1e-9, atol=1e-12)


def test_orthogonal_maps_of_the_inputs_commute_where_rows_keep_their_mean():
    grad = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q

    plain, turned = (steps((4, 6), [g.numpy()], centers=False) for g in (grad, grad @ turn))

    np.testing.assert_allclose(turned, plain @ turn.numpy(), rtol=0, atol=1e-12)
