import numpy as np
import pytest

from logclock.theory import (
    limit_risk,
    random_plrf,
    self_consistent_ridge,
    smallest_eigenvalue,
    spectral_densities,
    stieltjes,
)

SIZES = {"num_features": 400, "ambient_dim": 1600}


@pytest.mark.parametrize(
    ("alpha", "beta", "printed"),
    [(1.0, 0.3, 2.830e-4), (1.0, 0.7, 3.421e-5), (1.0, 1.3, 1.579e-5), (0.4, 0.7, 5.197e-2), (0.3, 1.0, 0.1029)],
)
def test_the_limit_risk_is_the_known_one(alpha, beta, printed):
    """Four digits of specs/dana-plrf.md 3.4."""
    assert limit_risk(alpha, beta, **SIZES) == pytest.approx(printed, rel=5e-4)


def test_the_ridge_solves_its_equation_over_every_index():
    tau = self_consistent_ridge(0.7, **SIZES)
    j = np.arange(1, 1601, dtype=float)

    # the sum that was solved is a quadrature from j = 60 on, good to 1e-6
    assert (tau / (tau + j**1.4)).sum() == pytest.approx(400, rel=1e-6)


@pytest.mark.parametrize("beta", [0.3, 0.7])
def test_random_features_reach_the_limit_risk(beta):
    """Tolerance 6 %: the mean of 5 draws of W, whose standard deviation is 4 to 9 %."""
    drawn = [random_plrf(1.0, beta, seed=seed, **SIZES).irreducible_risk for seed in range(5)]

    assert limit_risk(1.0, beta, **SIZES) == pytest.approx(np.mean(drawn), rel=0.06)


@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_the_edge_of_the_spectrum_is_that_of_random_features(alpha):
    drawn = [random_plrf(alpha, 0.7, seed=seed, **SIZES).eigenvalues.min() for seed in range(3)]

    edge = smallest_eigenvalue(alpha, **SIZES)

    assert edge == pytest.approx(np.mean(drawn), rel=0.05)


def test_the_edge_is_the_known_one():
    assert smallest_eigenvalue(1.0, **SIZES) == pytest.approx(2.339e-6, rel=5e-4)  # specs/dana-plrf.md 3.4


def test_the_root_solves_its_equation_in_the_upper_half_plane():
    z = np.geomspace(1e-5, 3, 40) * (1 + 1e-4j)
    m = stieltjes(z, 0.7, num_features=50, ambient_dim=200)
    d = np.arange(1, 201, dtype=float) ** -1.4

    equation = m + (d * m[:, None] / (d * m[:, None] - z[:, None])).sum(axis=1) / 50

    assert np.abs(equation - 1).max() < 1e-10
    assert ((1 / (d * m[:, None] - z[:, None])).imag > 0).all()


def test_without_anisotropy_it_is_marchenko_pastur():
    """alpha = 0: K = W^T W has the Marchenko-Pastur density with ratio d / v, scaled by v / d."""
    d, v = 50, 200
    low, high = (np.sqrt(v / d) - 1) ** 2, (np.sqrt(v / d) + 1) ** 2
    x = np.linspace(low + 0.1, high - 0.1, 50)

    densities = spectral_densities(x, 0.0, 1.0, num_features=d, ambient_dim=v)

    expected = d * np.sqrt((high - x) * (x - low)) / (2 * np.pi * x)
    assert np.allclose(densities.eigenvalue, expected, rtol=2e-3)  # Im z = 1e-4 x


def test_densities_carry_the_whole_mass():
    """E2: forcing P(0) - F_0 to 0.1 %; d eigenvalues; E Tr K^2 = Tr D^2 (1 + 1/d) + (Tr D)^2 / d."""
    d, v = 100, 400
    x = np.geomspace(1e-5, 4.0, 1500)
    j = np.arange(1, v + 1, dtype=float)

    densities = spectral_densities(x, 1.0, 0.7, num_features=d, ambient_dim=v)

    learnable = (j**-3.4).sum() - limit_risk(1.0, 0.7, num_features=d, ambient_dim=v)
    assert densities.integral(densities.forcing) == pytest.approx(learnable, rel=1e-3)
    assert densities.integral(densities.eigenvalue) == pytest.approx(d, rel=2e-3)
    squares = (j**-4.0).sum() * (1 + 1 / d) + (j**-2.0).sum() ** 2 / d
    assert densities.integral(densities.kernel) == pytest.approx(squares, rel=0.02)  # the equation drops O(1/d)


def test_densities_predict_the_forcing_of_random_features():
    """Gradient flow on 8 draws of W. The bias falls like 1 / d: 8 % at d = 100 and 4 % at d = 200, at t = 1000."""
    d, v = 200, 800
    x = np.geomspace(1e-6, 4.0, 500)
    densities = spectral_densities(x, 1.0, 0.7, num_features=d, ambient_dim=v)
    draws = [random_plrf(1.0, 0.7, num_features=d, ambient_dim=v, seed=seed) for seed in range(8)]

    for time in (10, 100, 1000, 10_000):
        flowed = [p.eigenvalues * p.initial_error**2 @ np.exp(-0.6 * time * p.eigenvalues) for p in draws]
        assert densities.integral(densities.forcing, np.exp(-0.6 * time * x)) == pytest.approx(
            np.mean(flowed), rel=0.06
        )


def test_points_on_the_real_axis_are_refused():
    with pytest.raises(ValueError, match=r"Im z must be > 0, got 0\.0"):
        stieltjes(np.array([1.0 + 0j]), 1.0, num_features=10, ambient_dim=40)
