import numpy as np
import pytest

from logclock.theory import (
    LeastSquares,
    binned,
    binned_surrogate,
    random_features,
    random_plrf,
    sample_gradient,
    surrogate_plrf,
)

SIZES = {"num_features": 30, "ambient_dim": 120}


def test_the_risk_at_zero_is_the_mean_squared_error_without_a_half():
    """The factor-2 trap: public code returns half of it in places."""
    expected = sum(j ** (-2 * 1.0 - 2 * 0.7) for j in range(1, 121))

    problem = random_plrf(1.0, 0.7, seed=0, **SIZES)
    features = random_features(1.0, 0.7, seed=0, **SIZES)

    assert problem.initial_risk == pytest.approx(expected, rel=1e-12)
    assert features.risk(np.zeros(30)) == pytest.approx(expected, rel=1e-12)
    x, y = features.sample_batch(20_000, np.random.default_rng(0))
    assert np.mean(y**2) == pytest.approx(expected, rel=0.04)  # 4 standard errors of 20,000 squares
    assert x.shape == (20_000, 30)


@pytest.mark.parametrize(("alpha", "beta", "noise"), [(1.0, 0.7, 0.0), (0.4, 1.0, 0.3), (1.5, -0.2, 0.0)])
def test_the_reduction_has_the_risk_of_the_problem_everywhere(alpha, beta, noise):
    features = random_features(alpha, beta, seed=1, label_noise=noise, **SIZES)
    problem, basis = features.eigenbasis()
    theta = np.random.default_rng(2).standard_normal(30)

    error = problem.initial_error + basis.T @ theta

    assert problem.risk(error) == pytest.approx(features.risk(theta), rel=1e-10)
    assert problem.trace == pytest.approx(np.trace(features.covariance), rel=1e-12)
    assert np.allclose(basis @ np.diag(problem.eigenvalues) @ basis.T, features.covariance, atol=1e-14)


def test_the_optimum_has_the_irreducible_risk_and_no_gradient():
    features = random_features(1.0, 0.7, seed=3, label_noise=0.1, **SIZES)
    problem, basis = features.eigenbasis()
    theta = basis @ -problem.initial_error

    slope = features.weight.T @ (features.scale**2 * (features.weight @ theta - features.target))

    assert features.risk(theta) == pytest.approx(problem.irreducible_risk, rel=1e-10)
    assert np.abs(slope).max() < 1e-13
    clean = random_plrf(1.0, 0.7, seed=3, **SIZES)
    assert problem.irreducible_risk - clean.irreducible_risk == pytest.approx(0.01, rel=1e-9)


@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_drawn_gradients_have_the_mean_and_covariance_of_gaussian_data(batch_size):
    """By Isserlis: E g = lambda e, Cov g = (P diag(lambda) + lambda e (lambda e)^T) / B."""
    problem = random_plrf(1.0, 0.7, num_features=4, ambient_dim=16, seed=0)
    rng, num_draws = np.random.default_rng(1), 400_000
    mean = problem.eigenvalues * problem.initial_error
    covariance = (problem.initial_risk * np.diag(problem.eigenvalues) + np.outer(mean, mean)) / batch_size

    drawn = sample_gradient(problem, np.broadcast_to(problem.initial_error, (num_draws, 4)), batch_size, rng)

    sd = np.sqrt(np.diag(covariance))
    assert (np.abs(drawn.mean(axis=0) - mean) < 4.5 * sd / np.sqrt(num_draws)).all()
    # a fourth moment of products of two Gaussians is below 105 sd^4, so a standard error below 0.017 sd^2
    assert (np.abs(np.cov(drawn.T) - covariance) < 4 * 0.017 * np.outer(sd, sd)).all()


def test_drawn_gradients_have_the_distribution_of_explicit_ones():
    """Third and fourth moments too: 40,000 batches in R^v against 40,000 draws at a cost of O(d)."""
    features = random_features(1.0, 0.7, num_features=3, ambient_dim=12, seed=5)
    problem, basis = features.eigenbasis()
    rng = np.random.default_rng(6)
    x, y = features.sample_batch(2 * 40_000, rng)
    explicit = (x * -y[:, None]).reshape(40_000, 2, 3).mean(axis=1) @ basis

    drawn = sample_gradient(problem, np.broadcast_to(problem.initial_error, (40_000, 3)), 2, rng)

    for level in (0.01, 0.1, 0.5, 0.9, 0.99):
        quantiles = np.quantile(explicit, level, axis=0)
        share = (drawn < quantiles).mean(axis=0)
        assert np.abs(share - level) == pytest.approx(0, abs=4 * np.sqrt(2 * level * (1 - level) / 40_000))


def test_gradients_of_many_runs_are_drawn_at_once_and_vanish_without_error():
    problem = LeastSquares(eigenvalues=np.ones(5), initial_error=np.ones(5), irreducible_risk=0.0)
    error = np.stack([np.zeros(5), np.ones(5)])

    gradient = sample_gradient(problem, error, 2, np.random.default_rng(0))

    assert gradient.shape == (2, 5)
    assert (gradient[0] == 0).all()
    assert (gradient[1] != 0).all()


def test_the_surrogate_is_the_written_one():
    problem = surrogate_plrf(1.0, 0.7, num_features=50, ambient_dim=200)
    j = np.arange(1, 51)
    c = sum(i**-1.4 for i in range(1, 201))

    assert np.allclose(problem.eigenvalues, j**-2.0, rtol=1e-14)
    assert np.allclose(problem.initial_error**2, j**-1.4 + c / 50, rtol=1e-9)
    assert (problem.initial_error < 0).all()
    assert np.allclose(surrogate_plrf(1.0, 0.3, **SIZES).initial_error ** 2, np.arange(1.0, 31) ** -0.6)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.7), (0.4, 1.0), (1.5, 0.3)])
def test_binning_keeps_the_sums_and_needs_no_modes(alpha, beta):
    sizes = {"num_features": 30_000, "ambient_dim": 120_000}
    whole = surrogate_plrf(alpha, beta, **sizes)

    few, direct = binned(whole), binned_surrogate(alpha, beta, **sizes)

    assert len(few.eigenvalues) < 200
    assert few.num_modes == direct.num_modes == 30_000
    assert few.trace == pytest.approx(whole.trace, rel=1e-12)
    assert few.initial_risk == pytest.approx(whole.initial_risk, rel=1e-12)
    assert np.allclose(few.eigenvalues, direct.eigenvalues, rtol=1e-8)
    assert np.allclose(few.initial_error, direct.initial_error, rtol=1e-8)


def test_binning_a_drawn_problem_sorts_it_first():
    problem = random_plrf(1.0, 0.7, num_features=100, ambient_dim=400, seed=0)
    shuffle = np.random.default_rng(0).permutation(100)
    shuffled = LeastSquares(
        eigenvalues=problem.eigenvalues[shuffle],
        initial_error=problem.initial_error[shuffle],
        irreducible_risk=problem.irreducible_risk,
    )

    assert np.allclose(binned(shuffled).eigenvalues, binned(problem).eigenvalues)
    assert np.allclose(binned(shuffled).initial_error ** 2, binned(problem).initial_error ** 2)


def test_memory_of_the_binned_surrogate_does_not_grow_with_d():
    assert len(binned_surrogate(1.0, 0.7, num_features=10**8, ambient_dim=4 * 10**8).eigenvalues) < 260


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_plrf(0.0, 1.0, seed=0, **SIZES), "alpha must be > 0, got 0.0."),
        (lambda: surrogate_plrf(0.3, 0.1, **SIZES), r"2 \(alpha \+ beta\) must exceed 1, got 0.8"),
        (
            lambda: surrogate_plrf(1.0, 0.3, num_features=10, ambient_dim=10),
            "ambient_dim must exceed num_features = 10, got 10. 4 num_features is usual.",
        ),
        (lambda: surrogate_plrf(1.0, 0.3, label_noise=-1.0, **SIZES), "label_noise must be >= 0"),
        (
            lambda: binned(binned_surrogate(1.0, 0.3, num_features=500, ambient_dim=2000)),
            "multiplicity must be 1 for a problem that is binned",
        ),
        (
            lambda: sample_gradient(
                binned_surrogate(1.0, 0.3, num_features=500, ambient_dim=2000), np.ones(1), 1, np.random.default_rng()
            ),
            "multiplicity must be 1 for a problem that is sampled",
        ),
        (
            lambda: sample_gradient(random_plrf(1.0, 0.3, seed=0, **SIZES), np.ones(30), 0, np.random.default_rng()),
            "batch_size must be >= 1, got 0.",
        ),
        (
            lambda: LeastSquares(eigenvalues=np.ones(2), initial_error=np.ones(3), irreducible_risk=0.0),
            r"have one shape \(d,\)",
        ),
        (
            lambda: LeastSquares(eigenvalues=np.zeros(2), initial_error=np.ones(2), irreducible_risk=0.0),
            "eigenvalues must be > 0",
        ),
        (
            lambda: LeastSquares(eigenvalues=np.ones(2), initial_error=np.ones(2), irreducible_risk=-1.0),
            "irreducible_risk must be >= 0",
        ),
    ],
)
def test_bad_requests_say_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
