"""Do the experts of a mixture have the risks and the thresholds that were published or derived?"""

import numpy as np
import pytest

from logclock.theory import binned, binned_surrogate, dana_decaying, log_time_risk, sgd, surrogate_plrf
from logclock.theory.moe_plrf import expert_clock, expert_probabilities, mixture_risk
from logclock.theory.stability import stability_threshold

ALPHA, BETA = 1.0, 0.8
DELTA = 4 + (ALPHA + BETA) / ALPHA  # of specs/dana-plrf.md 6.3

# specs/dana-plrf.md 6.3, m = 12, zeta = 1: total risk at t = 1e3, 1e4, 1e5, 1e6
TABLE = {
    "sgd": (6.79e-3, 5.22e-4, 1.01e-4, 3.83e-5),
    "c = 0.3": (1.02e-2, 3.37e-4, 5.37e-5, 3.35e-5),
    "c = 0.1": (6.10e-3, 3.31e-4, 5.68e-5, 2.81e-5),
    "per-expert clock": (6.45e-3, 2.82e-4, 5.25e-5, 3.32e-5),
}


@pytest.fixture(scope="module")
def problem():
    return binned(surrogate_plrf(ALPHA, BETA, num_features=500, ambient_dim=2000))


def build(name, problem):
    if name == "sgd":
        return sgd(problem)
    if name == "per-expert clock":
        return lambda p: expert_clock(problem, probability=p, kappa=0.5, c3=1.0, delta=DELTA)
    return dana_decaying(problem, kappa=0.5, c3=float(name.split()[-1]), delta=DELTA)


@pytest.mark.parametrize("name", TABLE)
def test_the_risk_of_twelve_experts_is_the_published_one(problem, name):
    mixture = mixture_risk(
        problem, build(name, problem), probabilities=expert_probabilities(12, zeta=1.0), horizon=1e6, log_step=0.04
    )

    # three printed digits, and up to 1.7 % from log steps of 0.04 (0.02 halves it)
    assert mixture.total.at(np.array([1e3, 1e4, 1e5, 1e6])) == pytest.approx(TABLE[name], rel=0.02)
    assert mixture.num_diverged == 0


def test_rare_experts_diverge_under_the_gain_of_the_common_clock(problem):
    mixture = mixture_risk(
        problem, build("c = 1", problem), probabilities=expert_probabilities(12, zeta=1.0), horizon=1e6, log_step=0.04
    )

    assert mixture.num_diverged == 8
    assert np.isinf(mixture.total.risk[-1])


def test_the_threshold_falls_as_the_root_of_the_activity():
    """Experiment E6 with two points: c*(p) ~ p^(1 - 1 / (2 alpha)), here p^(1/2)."""
    problem = binned_surrogate(ALPHA, BETA, num_features=1000, ambient_dim=4000)

    thresholds = [
        stability_threshold(
            lambda c: dana_decaying(problem, kappa=0.5, c3=c, delta=DELTA),
            problem,
            horizon=1e7 / p,
            bracket=(0.02, 20.0),
            probability=p,
            ratio=1.03,
        )
        for p in (0.1, 0.001)
    ]

    slope = np.log(thresholds[0] / thresholds[1]) / np.log(100)
    # the bisection leaves 3 % on each threshold, 0.013 on the slope
    assert slope == pytest.approx(0.5, abs=0.03)


def test_an_experts_clock_counts_its_own_updates():
    problem = surrogate_plrf(ALPHA, BETA, num_features=20, ambient_dim=80)
    whole = dana_decaying(problem, kappa=0.5, c3=1.0)
    clocked = expert_clock(problem, probability=0.01, kappa=0.5, c3=1.0)

    # after 1 + 100 k updates the expert has seen k more examples than at the first
    assert clocked.coefficients(1 + 300).gamma3 == pytest.approx(0.01 * whole.coefficients(1 + 3).gamma3, rel=1e-12)
    assert clocked.coefficients(50).damping == whole.coefficients(50).damping
    assert expert_clock(problem, probability=1.0, kappa=0.5, c3=1.0).coefficients(9) == whole.coefficients(9)


def test_a_mixture_of_equals_is_one_of_them():
    problem = surrogate_plrf(ALPHA, BETA, num_features=20, ambient_dim=80)

    mixture = mixture_risk(problem, sgd(problem), probabilities=[0.25] * 4, horizon=1e3)

    alone = log_time_risk(problem, sgd(problem), horizon=1e3, probability=0.25)
    np.testing.assert_allclose(mixture.total.risk, alone.risk, rtol=1e-12)


def test_probabilities_by_hand():
    assert expert_probabilities(1, zeta=1.0) == (1.0,)
    assert expert_probabilities(3, zeta=1.0) == pytest.approx((6 / 11, 3 / 11, 2 / 11), rel=1e-15)
    assert expert_probabilities(4, zeta=0.0) == (0.25,) * 4
    with pytest.raises(ValueError, match="num_experts must be >= 1, got 0"):
        expert_probabilities(0, zeta=1.0)
    with pytest.raises(ValueError, match=r"zeta must be >= 0, got -1\.0"):
        expert_probabilities(3, zeta=-1.0)
    with pytest.raises(ValueError, match=r"probability must lie in \(0, 1\], got 0.0"):
        expert_clock(surrogate_plrf(1.0, 0.3, num_features=2, ambient_dim=8), probability=0.0, kappa=0.5)
