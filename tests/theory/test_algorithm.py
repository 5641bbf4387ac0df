import numpy as np
import pytest

from logclock.config import from_dict, to_dict
from logclock.schedules import InverseTime, Schedule
from logclock.theory import (
    ALGORITHMS,
    Algorithm,
    LeastSquares,
    dana_constant,
    dana_decaying,
    get_algorithm,
    gradient_step,
    schedule_free,
    sgd_momentum,
    surrogate_plrf,
)

PROBLEM = surrogate_plrf(0.7, 0.6, num_features=100, ambient_dim=400)
TRACE = sum(j**-1.4 for j in range(1, 101))


def test_the_step_is_half_of_what_noise_allows():
    assert gradient_step(PROBLEM) == pytest.approx(0.5 / TRACE)
    assert gradient_step(PROBLEM, batch_size=2, fraction=0.25) == pytest.approx(0.5 / TRACE)
    assert gradient_step(PROBLEM, batch_size=1000) == 0.5  # 1 / (2 lambda_1), lambda_1 = 1


def test_the_cap_follows_the_largest_eigenvalue():
    problem = LeastSquares(eigenvalues=np.array([4.0, 1.0]), initial_error=np.ones(2), irreducible_risk=0.0)

    assert gradient_step(problem, batch_size=1000) == 0.125


def test_dana_has_the_written_coefficients():
    """gamma3 = c3 gamma2 B / d, or c3 gamma2 (1 + n)^-kappa with n updates made before; Delta = delta / (delta + t)."""
    step = 0.5 / TRACE

    constant, decaying = dana_constant(PROBLEM), dana_decaying(PROBLEM, kappa=1 / 1.4, c3=1.0, delta=8.0)

    for t in (1, 10, 10_000):
        assert constant.coefficients(t) == pytest.approx((1.0, step, 0.5 * step / 100, 6 / (6 + t)))
        assert decaying.coefficients(t) == pytest.approx((1.0, step, step * t ** (-1 / 1.4), 8 / (8 + t)))
    assert dana_constant(PROBLEM, batch_size=2).coefficients(1).gamma3 == pytest.approx(0.5 * 2 * step * 2 / 100)


def test_heavy_ball_travels_as_far_as_sgd():
    algorithm = sgd_momentum(PROBLEM, momentum=0.99)

    gamma1, gamma2, gamma3, damping = algorithm.coefficients(5)

    assert gamma2 + gamma1 * gamma3 / damping == pytest.approx(0.5 / TRACE)


def test_schedules_are_those_of_training_and_survive_as_plain_data():
    for name in ALGORITHMS:
        algorithm = get_algorithm(name, PROBLEM, alpha=0.7)

        assert from_dict(Algorithm, to_dict(algorithm)) == algorithm
        assert algorithm.name == name
    assert isinstance(dana_constant(PROBLEM).damping, InverseTime)
    assert isinstance(dana_decaying(PROBLEM, kappa=0.5).gamma3, Schedule)


def test_kappa_follows_from_alpha():
    assert get_algorithm("dana-decaying", PROBLEM, alpha=0.7) == dana_decaying(PROBLEM, kappa=1 / 1.4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: get_algorithm("dana-decayin", PROBLEM, alpha=1.0),
            "unknown algorithm 'dana-decayin'. Did you mean 'dana-decaying' or 'dana-constant'? Known: sgd, sgd-m",
        ),
        (lambda: gradient_step(PROBLEM, fraction=0.0), "fraction must be > 0, got 0.0"),
        (lambda: dana_constant(PROBLEM, c3=0.0), "c3 must be > 0, got 0.0"),
        (lambda: dana_decaying(PROBLEM, kappa=-0.1), "exponent must be >= 0"),
        (lambda: dana_constant(PROBLEM, delta=0.0), "delta must be > 0"),
        (lambda: sgd_momentum(PROBLEM, momentum=1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (lambda: schedule_free(PROBLEM, interpolation=1.5), r"interpolation must lie in \[0, 1\], got 1.5"),
    ],
)
def test_bad_requests_say_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        call()
