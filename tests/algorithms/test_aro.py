import functools

import numpy as np
import pytest
import torch
from reference.aro import aro as reference
from reference.aro import row_norm

from logclock import ARO
from logclock.algorithms.aro import next_basis, sinkhorn


def random_matrices(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def polar(matrices):
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    return u @ vh


def test_the_basis_is_orthogonal_and_the_update_has_the_stated_size():
    param = torch.nn.Parameter(torch.zeros(7, 4, dtype=torch.float64))
    optimizer = ARO([param], lr=0.5, weight_decay=0.0)
    for step in range(5):
        before = param.detach().clone()
        param.grad = 1e-4 * random_matrices(7, 4, seed=step)
        optimizer.step()
        basis = optimizer.state[param]["row_basis"]

        torch.testing.assert_close(basis.T @ basis, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-13)
        assert (param.detach() - before).square().mean().sqrt().item() == pytest.approx(0.5 * 0.2)


def test_with_the_identity_the_basis_converges_to_the_eigenvectors():
    """Orthogonal iteration on M M^T, whose eigenvalues 16, 9, 4, 1 part by a factor of at least 16 / 9 a round."""
    left, right = torch.linalg.qr(random_matrices(4, 4)).Q, torch.linalg.qr(random_matrices(6, 6, seed=1)).Q
    matrix = (left @ torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]).double()) @ right[:4])[None]
    basis = None
    for _ in range(60):
        basis = next_basis(matrix, basis, lambda x: x)

    torch.testing.assert_close((left.T @ basis[0]).abs(), torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-9)


def test_with_the_polar_factor_it_is_muon_whatever_the_basis():
    matrix = random_matrices(1, 4, 6)
    basis = next_basis(matrix, torch.linalg.qr(random_matrices(1, 4, 4, seed=1)).Q, polar)

    torch.testing.assert_close(basis @ polar(basis.mT @ matrix), polar(matrix))


@pytest.mark.parametrize("normed", [torch.sign, functools.partial(sinkhorn, num_rounds=5)])
def test_rotating_matrix_and_basis_rotates_the_update(normed):
    matrix, turn = random_matrices(1, 4, 6), torch.linalg.qr(random_matrices(1, 4, 4, seed=1)).Q
    start = torch.linalg.qr(random_matrices(1, 4, 4, seed=2)).Q

    def updated(matrix, start):
        basis = next_basis(matrix, start, normed)
        return basis @ normed(basis.mT @ matrix)

    torch.testing.assert_close(updated(turn @ matrix, turn @ start), turn @ updated(matrix, start))


def test_sinkhorn_brings_rows_and_columns_to_one():
    normed = sinkhorn(random_matrices(2, 5, 8), num_rounds=200)

    for dim in (-1, -2):
        sizes = normed.square().mean(dim=dim).sqrt()
        torch.testing.assert_close(sizes, torch.ones_like(sizes), rtol=0, atol=1e-6)
    by_hand = sinkhorn(torch.tensor([[[4.0, 0.0], [0.0, 9.0]]]), num_rounds=1)
    # rms of the rows and of the columns: 4 / sqrt(2) and 9 / sqrt(2)
    torch.testing.assert_close(by_hand, 2**0.5 * torch.eye(2)[None])


@pytest.mark.parametrize(("base", "normed"), [("row_norm", row_norm), ("sign", np.sign)])
@pytest.mark.parametrize("shape", [(3, 40), (40, 3)])
def test_other_bases_equal_the_reference(base, normed, shape):
    """Long ones: rows of signs that differ in one column alone make a zero, whose sign is a matter of rounding."""
    param = torch.nn.Parameter(random_matrices(*shape))
    start = param.detach().numpy().copy()
    optimizer = ARO([param], lr=0.1, base=base, weight_decay=0.0)
    grads = [random_matrices(*shape, seed=step) for step in range(6)]
    for grad in grads:
        param.grad = grad
        optimizer.step()

    settings = {"b": 0.95, "normed": normed, "lr": lambda t: 0.1, "decay": lambda t: 0.0}
    expected, _, _ = reference(start, [g.numpy() for g in grads], **settings)
    np.testing.assert_allclose(param.detach().numpy(), expected, rtol=1e-11, atol=1e-12)


def test_a_row_of_zeros_stays_where_it_is():
    param = torch.nn.Parameter(torch.ones(3, 4))
    grad = random_matrices(3, 4).float()
    grad[1] = 0
    optimizer = ARO([param], lr=0.1, weight_decay=0.0)
    param.grad = grad
    optimizer.step()

    assert param.isfinite().all()
    torch.testing.assert_close(param[1].detach(), torch.ones(4), rtol=0, atol=1e-6)


def test_an_unknown_base_is_refused():
    with pytest.raises(ValueError, match="'sinkhorn', 'row_norm', 'sign'"):
        ARO([torch.nn.Parameter(torch.zeros(2, 2))], base="adam")
