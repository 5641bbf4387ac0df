import math

import numpy as np
import pytest

from logclock.theory import (
    Algorithm,
    LeastSquares,
    binned_surrogate,
    dana_constant,
    dana_decaying,
    gradient_step,
    is_stable,
    kernel_norm,
    log_time_risk,
    resolved_modes,
    stability_threshold,
    surrogate_plrf,
)


def problem_of(alpha, num_features):
    return binned_surrogate(alpha, 1.0, num_features=num_features, ambient_dim=4 * num_features)


@pytest.mark.parametrize(("fraction", "rule"), [(0.25, 1.75), (0.5, 1.5)])
def test_constant_momentum_is_stable_up_to_what_noise_leaves(fraction, rule):
    """E5: the frozen-coefficient rule c3 < 2 - gamma2 Tr K, and below the 1.9 of specs/dana-plrf.md 2.2."""
    problem = problem_of(0.7, 1000)

    threshold = stability_threshold(
        lambda c3: dana_constant(problem, fraction=fraction, c3=c3), problem, horizon=1e4 * 1000**1.4, ratio=1.03
    )

    assert threshold == pytest.approx(rule, rel=0.05)


@pytest.mark.parametrize(("alpha", "printed"), [(0.7, 8.7), (1.0, 3.1), (1.5, 1.25)])
def test_decaying_momentum_has_the_known_thresholds(alpha, printed):
    """E5: specs/dana-plrf.md 2.2; its criterion of divergence is not stated, ours is a risk of 1000 times P(0)."""
    problem = problem_of(alpha, 1000)

    threshold = stability_threshold(
        lambda c3: dana_decaying(problem, kappa=1 / (2 * alpha), c3=c3),
        problem,
        horizon=1e3 * 1000 ** (2 * alpha),
        ratio=1.03,
    )

    assert threshold == pytest.approx(printed, rel=0.06)


def test_a_short_horizon_misses_the_divergence():
    problem = problem_of(0.7, 1000)
    algorithm = dana_constant(problem, c3=1.8)

    assert is_stable(problem, algorithm, horizon=1e5)
    assert not is_stable(problem, algorithm, horizon=1e9)


@pytest.mark.parametrize(("kappa", "diverges_after"), [(0.3, 5e3), (0.4, 6e7), (0.45, None), (0.5, None), (1.0, None)])
def test_kappa_below_one_over_two_alpha_diverges_sooner_or_later(kappa, diverges_after):
    """specs/dana-plrf.md 2.2: alpha = 1, beta = 0.3, d = 1e6, c3 = 1, up to t = 1e9."""
    problem = binned_surrogate(1.0, 0.3, num_features=10**6, ambient_dim=4 * 10**6)

    curve = log_time_risk(problem, dana_decaying(problem, kappa=kappa, c3=1.0), horizon=1e9)

    assert curve.has_diverged == (diverges_after is not None)
    if diverges_after is not None:
        lost = curve.time[~np.isfinite(curve.risk)][0]
        assert diverges_after < lost < 2 * diverges_after


def test_the_kernel_norm_tells_where_sgd_stops_converging():
    problem = surrogate_plrf(1.0, 0.7, num_features=100, ambient_dim=400)

    def sgd_with(step):
        return Algorithm(name="sgd", gamma1=0.0, gamma2=step, gamma3=0.0, damping=1.0)

    threshold = stability_threshold(sgd_with, problem, horizon=1e6, bracket=(0.1, 2.0), ratio=1.001)

    assert kernel_norm(problem, gamma2=threshold * 0.997) < 1
    assert kernel_norm(problem, gamma2=threshold * 1.003) > 1


def test_the_kernel_norm_by_hand():
    problem = LeastSquares(eigenvalues=np.array([1.0, 0.5]), initial_error=np.ones(2), irreducible_risk=0.0)

    assert kernel_norm(problem, gamma2=0.5) == pytest.approx(0.5 / (2 - 1) + 0.25 / (2 - 0.5))
    assert kernel_norm(problem, gamma2=0.4, batch_size=4) == pytest.approx(0.1 / 1.5 + 0.05 / 1.75)
    assert kernel_norm(problem, gamma2=1.0) == math.inf


def test_modes_resolve_like_a_power_of_time_and_then_all():
    problem = problem_of(0.7, 10**6)

    early, late = (resolved_modes(problem, gamma2=0.2, damping=6 / t) for t in (1e4, 1e5))

    assert math.log(late / early) / math.log(10) == pytest.approx(1 / 1.4, abs=0.02)
    assert resolved_modes(problem, gamma2=0.2, damping=1e-14) == pytest.approx(1e6, rel=1e-3)


def test_a_bracket_without_the_threshold_is_refused():
    problem = problem_of(0.7, 100)

    with pytest.raises(ValueError, match=r"bracket must be stable at its first value and unstable at its second"):
        stability_threshold(lambda c3: dana_constant(problem, c3=c3), problem, horizon=1e6, bracket=(0.01, 0.02))


@pytest.mark.parametrize(
    ("alpha", "num_features", "documented"),
    [(0.7, 10**3, 13.7), (0.7, 10**4, 8.6), (0.7, 10**5, 7.5), (0.7, 10**7, 7.0), (1.0, 10**4, 4.3), (1.5, 10**4, 3.1)],
)
def test_the_documented_rule_follows_from_the_resolved_modes(alpha, num_features, documented):
    problem = problem_of(alpha, num_features)
    step = gradient_step(problem)

    modes = resolved_modes(problem, gamma2=step, damping=6 / (6 + 1e5))

    assert (2 - step * problem.trace) * 1e5 ** (1 / (2 * alpha)) / modes == pytest.approx(documented, abs=0.05)
