import pytest

from logclock.theory import (
    LeastSquares,
    binned_surrogate,
    distortion_forcing,
    forcing,
    kernel,
    sgd,
    sgd_kernel,
    target_forcing,
)

SIZES = {"num_features": 10**6, "ambient_dim": 4 * 10**6}


@pytest.mark.parametrize("beta", [0.3, 0.7, 1.3])
@pytest.mark.parametrize("alpha", [1.0, 1.5])
def test_forcing_tends_to_its_two_pieces(alpha, beta):
    """Integrals for sums: relative errors of order j^-1 at the mode j = (2 gamma t)^(1 / 2 alpha) that dominates."""
    surrogate = binned_surrogate(alpha, beta, **SIZES)
    problem = LeastSquares(  # without the floor, whose share would hide the rest
        eigenvalues=surrogate.eigenvalues,
        initial_error=surrogate.initial_error,
        irreducible_risk=0.0,
        multiplicity=surrogate.multiplicity,
    )
    algorithm, time = sgd(problem), 1e5

    found = forcing(problem, algorithm, horizon=time, log_step=5e-3).risk[-1]

    step = algorithm.gamma2
    expected = target_forcing(alpha, beta, gamma2=step, time=time) + distortion_forcing(
        alpha, beta, gamma2=step, time=time, **SIZES
    )
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("alpha", [0.7, 1.0, 1.5])
def test_the_kernel_tends_to_its_power_law(alpha):
    problem = binned_surrogate(alpha, 0.7, **SIZES)
    algorithm, time = sgd(problem), 3e4 / sgd(problem).gamma2

    found = kernel(problem, algorithm, since=0.0, horizon=time, log_step=5e-3).risk[-1]

    assert found == pytest.approx(sgd_kernel(alpha, gamma2=algorithm.gamma2, time=time), rel=0.03)


def test_there_is_no_distortion_unless_both_exceed_a_half():
    for alpha, beta in ((0.5, 1.0), (1.0, 0.5), (0.4, 0.4)):
        assert distortion_forcing(alpha, beta, gamma2=0.1, time=100.0, **SIZES) == 0.0


def test_no_power_law_is_claimed_below_a_quarter():
    with pytest.raises(ValueError, match=r"alpha must exceed 0.25, got 0.2"):
        sgd_kernel(0.2, gamma2=0.1, time=10.0)
