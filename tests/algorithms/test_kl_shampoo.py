"""Do KL-Shampoo and KL-SOAP learn the two factors of gradients, and only those?"""

import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise, make_params, run

from logclock import KLSOAP, SOAP, KLShampoo
from logclock.rules.linalg import Factor, divided_by_roots

BOTH = [KLShampoo, KLSOAP]


def stepped(build, grads, **settings):
    param = torch.nn.Parameter(torch.zeros_like(grads[0]))
    optimizer = build([param], lr=0.1, weight_decay=0.0, **settings)
    for grad in grads:
        param.grad = grad
        optimizer.step()
    return param.detach(), optimizer.state[param]


def random_grads(shape, count, seed=0):
    return list(torch.from_numpy(np.random.default_rng(seed).standard_normal((count, *shape))))


def test_factors_of_a_number_by_hand():
    """Gradients 4, 2, 1 of a 1 x 1 matrix, weights of a half, refreshed every time; L = R all the way.

    Call 1 starts at rms = 4 and averages 4 and 4^2 / 4 = 4: 4. Call 2: (4 + 2^2 / 4) / 2 = 2.5. Call 3:
    (2.5 + 1 / 2.5) / 2 = 1.45. Updates are corrected averages over the L of the call before: 2 / 4 and (0.5 + 0.5) /
    0.75 / 2.5, with averages 1 and (1 + 1) / 2 corrected by 1 / 2 and 3 / 4.
    """
    grads = [torch.tensor([[value]], dtype=torch.float64) for value in (4.0, 2.0, 1.0)]

    param, state = stepped(KLShampoo, grads, ema1=0.5, gram_ema=0.5, refresh_interval=1)

    assert state["row_gram"].item() == pytest.approx(1.45)
    assert state["col_eigenvalues"].item() == pytest.approx(1.45)
    assert param.item() == pytest.approx(-0.1 * (2 / 4 + 1 / 0.75 / 2.5))


def test_gradients_that_are_kronecker_factored_are_whitened():
    """G = A Z B with Z of independent normal numbers: L becomes A A^T and R B^T B, but for a factor between them."""
    generator = np.random.default_rng(3)
    a, b = generator.standard_normal((5, 5)), generator.standard_normal((4, 4))
    grads = [torch.from_numpy(1e-3 * a @ generator.standard_normal((5, 4)) @ b) for _ in range(1500)]

    _, state = stepped(KLShampoo, grads, refresh_interval=1, gram_ema=0.005)

    for found, wanted in (("row_gram", a @ a.T), ("col_gram", b.T @ b)):
        gram = state[found].numpy()
        # 200 samples of 4 or 5 columns in the average: a relative error near 1 / sqrt(800)
        np.testing.assert_allclose(gram / np.trace(gram), wanted / np.trace(wanted), atol=0.05)
    rows, cols = (
        Factor(*(state[f"{side}_{what}"][None] for what in ("gram", "basis", "eigenvalues"))) for side in ("row", "col")
    )
    fresh = torch.stack([torch.from_numpy(1e-3 * a @ generator.standard_normal((5, 4)) @ b) for _ in range(200)])
    rows, cols = (Factor(*(x.expand(200, *x.shape[1:]) for x in factor)) for factor in (rows, cols))
    white = divided_by_roots(fresh, rows, cols, 1e-30)
    assert white.square().mean().item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("build", BOTH)
def test_the_size_of_the_gradient_does_not_matter(build):
    grads = random_grads((4, 4), 12)

    large, _ = stepped(build, grads, eps=1e-30, refresh_interval=3)
    small, _ = stepped(build, [grad / 2**20 for grad in grads], eps=1e-30, refresh_interval=3)

    torch.testing.assert_close(small, large, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("build", BOTH)
def test_rotating_the_gradients_rotates_the_update(build):
    left, right = (torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q for _ in range(2))
    grads = random_grads((5, 5), 7)

    plain, _ = stepped(build, grads, refresh_interval=3)
    rotated, _ = stepped(build, [left @ g @ right for g in grads], refresh_interval=3)

    torch.testing.assert_close(rotated, left @ plain @ right, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("build", BOTH)
def test_gradients_of_zero_at_first_do_not_decide_the_factors(build):
    """An expert without a token: the factors start with its first gradient, and updates stay those of Adam's size."""
    grads = random_grads((4, 4), 12)

    late, state = stepped(build, [torch.zeros_like(grads[0])] * 3 + [grad / 1e3 for grad in grads])

    assert late.isfinite().all()
    assert late.abs().max() < 0.1 * 12 * 3
    assert state["row_eigenvalues"].max() < 1e-2


@pytest.mark.parametrize("shape", [(9, 2), (2, 9)])
@pytest.mark.parametrize("build", BOTH)
def test_long_thin_matrices_stay_bounded(build, shape):
    """Of the longer side's factor one gradient shows two directions; the others must not be divided by eps."""
    thin, state = stepped(build, random_grads(shape, 40))

    assert thin.abs().max() < 0.1 * 40
    assert (state["row_eigenvalues"] > 1e-4).all()


def test_without_factors_kl_soap_is_soap():
    one, other = make_params(((6, 4),)), make_params(((6, 4),))
    settings = {"lr": 0.1, "max_basis_size": 3, "ema1": 0.1, "ema2": 0.05, "decay_order": "after"}

    run(KLSOAP(one, **settings), one, range(8))
    run(SOAP(other, **settings), other, range(8))

    assert_bitwise(one, other)


@pytest.mark.parametrize("build", BOTH)
def test_one_side_may_stay_without_a_factor(build):
    param, state = stepped(build, random_grads((6, 3), 12), max_basis_size=4, refresh_interval=2)

    assert state["row_gram"].shape == (0, 0)
    assert state["row_eigenvalues"].shape == (0,)
    assert state["col_eigenvalues"].shape == (3,)
    assert param.isfinite().all()


def test_kl_shampoo_without_a_side_whitens_by_the_other():
    """One gradient: R = (rms I + ema (G^T G / 6 - rms I)); the second call divides by its root."""
    grads = random_grads((6, 3), 2)

    param, _ = stepped(KLShampoo, grads, max_basis_size=4, ema1=1.0, gram_ema=0.25)

    first, second = (grad.numpy() for grad in grads)
    rms = np.sqrt(np.mean(first**2))
    values, vectors = np.linalg.eigh(0.75 * rms * np.eye(3) + 0.25 * first.T @ first / 6)
    expected = -0.1 * second @ vectors @ np.diag(values**-0.5) @ vectors.T
    np.testing.assert_allclose(param.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("build", BOTH)
def test_eps_must_be_positive(build):
    with pytest.raises(ValueError, match=r"eps must be > 0, got 0\.0"):
        build(make_params(((3, 3),)), eps=0.0)
