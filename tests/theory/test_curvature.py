"""Does the estimate find exponents that are known, with products that are those of dense matrices?"""

import pytest
import torch
from torch import nn

from logclock.theory.curvature import (
    gauss_newton_product,
    gradient_covariance_product,
    spectral_dimension,
)


def linear_model(alpha, size):
    """A linear model whose Gauss-Newton matrix is Q^T diag(j^(-2 alpha)) Q, as a closure and its parameter."""
    generator = torch.Generator().manual_seed(1)
    rotation, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))
    inputs = torch.arange(1, size + 1, dtype=torch.float64).pow(-alpha)[:, None] * rotation
    weight = torch.zeros(size, dtype=torch.float64, requires_grad=True)

    def closure():
        outputs = inputs @ weight
        return outputs, 0.5 * (outputs - 1).square().sum()

    return closure, weight


@pytest.mark.parametrize("alpha", [0.6, 0.8, 1.0, 1.5])
def test_the_exponent_of_an_exact_power_law_lies_in_the_interval(alpha):
    closure, weight = linear_model(alpha, 250)
    product = gauss_newton_product(closure, [weight])

    found = [spectral_dimension(product, 250, num_lanczos=48, seed=seed) for seed in range(4)]

    # 95 % intervals: two misses in four have a probability of 1.4 %
    assert sum(one.alpha_interval[0] <= alpha <= one.alpha_interval[1] for one in found) >= 3
    # independent probes: the mean over 32 of them scatters by about 4 %
    assert sum(one.alpha for one in found) / 4 == pytest.approx(alpha, rel=0.08)
    for one in found:
        assert one.kappa == pytest.approx(min(1 / (2 * one.alpha), 1.0))
        assert one.kappa_interval[0] <= one.kappa <= one.kappa_interval[1]


def test_more_probes_narrow_the_interval():
    closure, weight = linear_model(1.0, 250)
    product = gauss_newton_product(closure, [weight])

    few, many = (spectral_dimension(product, 250, num_lanczos=32, num_probes=n) for n in (4, 24))

    assert many.alpha_interval[1] - many.alpha_interval[0] < 0.5 * (few.alpha_interval[1] - few.alpha_interval[0])


def test_the_counts_are_traces_of_the_matrix():
    closure, weight = linear_model(1.0, 250)

    found = spectral_dimension(gauss_newton_product(closure, [weight]), 250, num_lanczos=48, num_probes=64)

    eigenvalues = torch.arange(1, 251, dtype=torch.float64) ** -2.0
    scales = torch.tensor(found.scales)[:, None]
    exact = (eigenvalues**2 / (eigenvalues**2 + scales**2)).sum(dim=1)
    # a count N has a variance of at most 2 N over the probes, and neighbours move together
    assert ((torch.tensor(found.counts) - exact).abs() < 4 * (2 * exact / 64).sqrt()).all()


def test_a_spectrum_with_a_bend_has_a_drift():
    closure, weight = linear_model(1.0, 250)
    straight = spectral_dimension(gauss_newton_product(closure, [weight]), 250, num_lanczos=48, num_probes=16)
    j = torch.arange(1, 251, dtype=torch.float64)
    bent = torch.where(j < 7, j**-1.2, 7 ** (4 - 1.2) * j**-4.0)
    rotation, _ = torch.linalg.qr(
        torch.randn(250, 250, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )

    found = spectral_dimension(lambda v: rotation.T @ (bent * (rotation @ v)), 250, num_lanczos=48, num_probes=16)

    assert found.drift < -0.3
    assert abs(straight.drift) < 0.25


def small_network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    x, labels = torch.randn(7, 3, dtype=torch.float64), torch.randint(4, (7,))
    return model, x, labels


def jacobian(function, params):
    """Rows of derivatives, one output after another: the dense matrix that the products avoid."""
    rows = []
    for value in function().reshape(-1):
        rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, params, retain_graph=True)]))
    return torch.stack(rows)


def test_the_gauss_newton_product_is_that_of_the_dense_matrix():
    model, x, labels = small_network()
    params = list(model.parameters())

    def closure():
        outputs = model(x)
        return outputs, nn.functional.cross_entropy(outputs, labels)

    j = jacobian(lambda: model(x), params)
    shares = model(x).softmax(dim=1).detach()
    blocks = [(torch.diag(p) - p[:, None] * p[None, :]) / 7 for p in shares]  # Hessian of the mean cross entropy
    dense = j.T @ torch.block_diag(*blocks) @ j
    vectors = torch.randn(3, j.shape[1], dtype=torch.float64)

    product = gauss_newton_product(closure, params)

    for vector in vectors:
        torch.testing.assert_close(product(vector), dense @ vector, rtol=1e-10, atol=1e-12)


def test_the_covariance_product_is_that_of_the_dense_matrix():
    model, x, labels = small_network()
    params = list(model.parameters())

    def losses():
        return nn.functional.cross_entropy(model(x), labels, reduction="none")

    g = jacobian(losses, params)
    vector = torch.randn(g.shape[1], dtype=torch.float64)

    ours = gradient_covariance_product(losses, params)(vector)

    torch.testing.assert_close(ours, g.T @ (g @ vector) / 7, rtol=1e-10, atol=1e-12)


def test_a_parameter_that_the_outputs_ignore_has_no_curvature():
    used, unused = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))

    product = gauss_newton_product(lambda: (out := 3 * used, 0.5 * out.square().sum()), [used, unused])

    assert product(torch.ones(4, dtype=torch.float64)).tolist() == [9.0, 9.0, 0.0, 0.0]


def test_what_cannot_be_estimated_raises():
    def product(vector):
        return torch.cat([vector[:5], torch.zeros(195, dtype=vector.dtype)])

    with pytest.raises(ValueError, match="num_probes must be >= 2, got 1"):
        spectral_dimension(product, 200, num_probes=1)
    with pytest.raises(ValueError, match="num_lanczos must be >= 32, got 8"):
        spectral_dimension(product, 200, num_lanczos=8)
    with pytest.raises(ValueError, match="num_params must exceed num_lanczos = 64, got 50"):
        spectral_dimension(product, 50)
    with pytest.raises(ValueError, match="the counts of eigenvalues in the fit must span a factor >= 2, got 1"):
        spectral_dimension(product, 200)
    with pytest.raises(ValueError, match="the curvature must have a positive eigenvalue"):
        spectral_dimension(lambda vector: 0 * vector, 200)
    with pytest.raises(ValueError, match=r"losses must have shape \(n,\), got \(\)"):
        gradient_covariance_product(lambda: torch.zeros(()), [torch.zeros(1, requires_grad=True)])
