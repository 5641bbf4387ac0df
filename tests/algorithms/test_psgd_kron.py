"""Do PSGD's factors whiten what they are fitted to, stay triangular, and cost what their schedule says?"""

import numpy as np
import pytest
import torch
from contract.runs import make_params, run, set_grads

from logclock import PSGDKron
from logclock.algorithms import PsgdKronSpec
from logclock.rules.linalg import spectral_norm_estimate

DTYPE = torch.float64


def test_the_estimate_of_a_spectral_norm_is_a_lower_bound_not_far_below():
    x = torch.randn(50, 8, 8, generator=torch.Generator().manual_seed(0), dtype=DTYPE)
    positive = x @ x.mT
    exact = torch.linalg.matrix_norm(positive, ord=2)

    ratios = spectral_norm_estimate(positive)[:, 0, 0] / exact

    assert ratios.max() <= 1 + 1e-14
    assert ratios.min() > 0.7


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_estimate_neither_overflows_nor_vanishes(size):
    matrices = size * torch.diag(torch.tensor([1.0, 2.0, 3.0]))[None]

    assert spectral_norm_estimate(matrices).item() == pytest.approx(3 * size, rel=1e-6)
    assert spectral_norm_estimate(torch.zeros(1, 3, 3)).item() == torch.finfo(torch.float32).tiny


def test_the_factors_whiten_gradients_of_known_covariance():
    """Gradients L Z R with Z standard normal become Z, turned: the mean of U U^T is 4 times the identity."""
    generator = torch.Generator().manual_seed(0)
    left = torch.diag(torch.tensor([4.0, 1.0, 0.25], dtype=DTYPE)) + 0.1
    right = torch.diag(torch.tensor([2.0, 1.0, 0.5, 1.0], dtype=DTYPE)) + 0.05
    param = torch.nn.Parameter(torch.zeros(3, 4, dtype=DTYPE))
    optimizer = PSGDKron([param], lr=1e-9, ema1=1.0, fit_rate=0.02, clip_rms=1e30)

    def sample():
        return left @ torch.randn(3, 4, generator=generator, dtype=DTYPE) @ right

    for _ in range(500):
        param.grad = sample()
        optimizer.step()
    rows, cols = (optimizer.state[param][f"{side}_factor"] for side in ("row", "col"))
    samples = torch.stack([rows.mT @ rows @ sample() @ cols.mT @ cols for _ in range(2000)])
    plain = torch.stack([sample() for _ in range(2000)])

    def condition(matrices):
        eigenvalues = torch.linalg.eigvalsh((matrices @ matrices.mT).mean(0))
        return (eigenvalues[-1] / eigenvalues[0]).item()

    assert condition(plain) > 50
    assert condition(samples) < 2
    assert samples.square().mean().item() == pytest.approx(1.0, abs=0.3)


def test_factors_stay_triangular_and_balanced():
    params = make_params(((5, 3), (4, 4), (1, 6)), DTYPE)
    optimizer = PSGDKron(params, lr=1e-2)
    run(optimizer, params, range(10))

    for param in params:
        rows, cols = (optimizer.state[param][f"{side}_factor"] for side in ("row", "col"))
        for factor in (rows, cols):
            assert not factor.tril(-1).any()
            assert (factor.diag() > 0).all()
        assert rows.abs().max().item() == pytest.approx(cols.abs().max().item(), rel=1e-12)


def test_gradients_of_any_size_end_in_updates_of_one_size():
    sizes = []
    for scale in (1e-4, 1.0, 1e4):
        (param,) = make_params(((6, 4),))
        optimizer = PSGDKron([param], lr=1.0, weight_decay=0.0, clip_rms=1e30)
        run(optimizer, [param], range(300), scale=scale)
        before = param.detach().clone()
        run(optimizer, [param], range(300, 301), scale=scale)
        sizes.append((param.detach() - before).square().mean().sqrt().item())

    assert max(sizes) / min(sizes) < 1.1


def test_no_update_is_longer_than_its_bound():
    (param,) = make_params(((6, 4),), DTYPE)
    optimizer = PSGDKron([param], lr=1.0, clip_rms=0.5)
    for step in range(5):
        before = param.detach().clone()
        set_grads([param], step, scale=100.0)
        optimizer.step()
        assert (param.detach() - before).square().mean().sqrt().item() == pytest.approx(0.5, rel=1e-12)


def test_zero_gradients_leave_the_factors_alone():
    """Fitted to nothing, they would grow by a tenth an update without end."""
    params = make_params(((4, 3), (4, 3)), DTYPE)
    optimizer = PSGDKron(params, lr=1e-2)
    for step in range(5):
        set_grads(params, step)
        params[1].grad.zero_()
        optimizer.step()

    assert torch.equal(optimizer.state[params[1]]["row_factor"], torch.eye(4, dtype=DTYPE))
    assert not torch.equal(optimizer.state[params[0]]["row_factor"], torch.eye(4, dtype=DTYPE))


def test_a_side_that_is_too_long_is_left_alone():
    (param,) = make_params(((3, 9),), DTYPE)
    optimizer = PSGDKron([param], lr=1e-2, max_factor_size=5)
    run(optimizer, [param], range(20))

    assert optimizer.state[param]["col_factor"].shape == (0, 0)
    assert optimizer.state[param]["row_factor"].shape == (3, 3)
    assert param.isfinite().all()


def test_fits_are_as_many_as_the_probability_adds_up_to():
    spec = PsgdKronSpec()
    made = [spec.scalars(float(t))["fits"] for t in range(1, 20_001)]
    t = np.arange(1, 20_001)
    expected = np.cumsum(np.clip(np.exp(-0.001 * (t - 0.5 - 500)), 0.03, 1.0))

    assert all(made[:500])
    assert np.abs(np.cumsum(made) - expected).max() < 1.01
    # ln(1 / 0.03) / 0.001 = 3507 updates after the first 500, then one in 33
    gaps = np.diff(np.flatnonzero(made[4010:]))
    assert set(gaps.tolist()) == {33, 34}


def test_the_first_update_fits_whatever_the_probability():
    spec = PsgdKronSpec(fit_probability=0.1, fit_probability_end=0.1)

    assert [t for t in range(1, 32) if spec.scalars(float(t))["fits"]] == [1, 10, 20, 30]


def test_a_probability_that_grows_is_refused():
    with pytest.raises(ValueError, match=r"fit_probability_end must be at most fit_probability = 0\.1, got 0\.5"):
        PSGDKron(make_params(((4, 4),)), fit_probability=0.1, fit_probability_end=0.5)
