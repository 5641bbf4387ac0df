import itertools

import numpy as np
import pytest

from logclock.theory import (
    ALGORITHMS,
    Algorithm,
    LeastSquares,
    RiskCurve,
    binned,
    binned_surrogate,
    dana_decaying,
    exact_rates,
    exact_risk,
    forcing,
    geometric_steps,
    get_algorithm,
    kernel,
    kernel_norm,
    log_time_risk,
    random_features,
    random_plrf,
    sample_gradient,
    sgd,
    simplified_rates,
    surrogate_plrf,
)
from logclock.theory.algorithm import Coefficients
from logclock.theory.moments import _solve3

# A problem that is small enough to write out the whole covariance of (e, y).
TINY = LeastSquares(
    eigenvalues=np.array([1.3, 0.4, 0.05]), initial_error=np.array([-1.0, 0.7, 2.0]), irreducible_risk=0.2
)


def propagated_risk(problem, algorithm, *, num_steps, batch_size, probability=1.0):
    """The risk after every update by the full (2 d, 2 d) second moment of s = (e, y), correlations included.

    Written from the update alone. One example has features a ~ N(0, L) and residual r = a.e - eps; conditionally on s,
        E g = p L e,  E g g^T = (p / B) (P_s L + 2 L e e^T L) + (1 - 1 / B) p^2 L e e^T L,  P_s = P_inf + e^T L e
    by Isserlis, where an example is used with probability p. With s_+ = A s + N g and M = E s s^T,
        M_+ = A M A^T + A E[s E[g]^T] N^T + N E[E[g] s^T] A^T + N E[g g^T] N^T
    """
    d = len(problem.eigenvalues)
    L, p = np.diag(problem.eigenvalues), probability
    take_e = np.hstack([np.eye(d), np.zeros((d, d))])
    start = np.concatenate([problem.initial_error, np.zeros(d)])
    M = np.outer(start, start)
    risks = [problem.irreducible_risk + np.trace(L @ M[:d, :d])]
    for t in range(1, num_steps + 1):
        gamma1, gamma2, gamma3, damping = algorithm.coefficients(t)
        u = 1 - damping
        A = np.block([[np.eye(d), -gamma3 * u * np.eye(d)], [np.zeros((d, d)), u * np.eye(d)]])
        N = np.vstack([-(gamma2 + gamma3 * gamma1) * np.eye(d), gamma1 * np.eye(d)])
        E = M[:d, :d]
        mean = p * L @ take_e  # E g = mean s
        square = p / batch_size * (risks[-1] * L + 2 * L @ E @ L) + (1 - 1 / batch_size) * p**2 * L @ E @ L
        M = A @ M @ A.T + A @ M @ mean.T @ N.T + N @ mean @ M @ A.T + N @ square @ N.T
        risks.append(problem.irreducible_risk + np.trace(L @ M[:d, :d]))
    return np.array(risks)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_recursion_is_the_propagation_of_the_whole_covariance(name, batch_size):
    algorithm = get_algorithm(name, TINY, alpha=1.0, batch_size=batch_size)

    curve = exact_risk(TINY, algorithm, num_steps=60, batch_size=batch_size, record_at=range(61))

    assert np.allclose(curve.risk, propagated_risk(TINY, algorithm, num_steps=60, batch_size=batch_size), rtol=1e-10)


@pytest.mark.parametrize(("probability", "batch_size"), [(0.3, 1), (0.05, 10)])
def test_the_recursion_of_a_rarely_used_expert_is_that_propagation_too(probability, batch_size):
    algorithm = dana_decaying(TINY, kappa=0.5, batch_size=batch_size)
    options = {"num_steps": 60, "batch_size": batch_size, "probability": probability}

    curve = exact_risk(TINY, algorithm, record_at=range(61), **options)

    assert np.allclose(curve.risk, propagated_risk(TINY, algorithm, **options), rtol=1e-10)


def test_every_coefficient_of_the_rates_counts():
    """Random slots, of either sign, so that no term hides behind a zero of the named algorithms."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        gamma1, gamma2, gamma3 = rng.uniform(-0.3, 0.5, 3)
        algorithm = Algorithm(name="any", gamma1=gamma1, gamma2=gamma2, gamma3=gamma3, damping=rng.uniform(0, 1))

        curve = exact_risk(TINY, algorithm, num_steps=6, batch_size=3, record_at=range(7))

        assert np.allclose(curve.risk, propagated_risk(TINY, algorithm, num_steps=6, batch_size=3), rtol=1e-10)


def simulated_errors(draw, num_modes, start, algorithm, checkpoints, num_runs):
    """Run the update on a (num_runs, d) array of errors and return those at the checkpoints."""
    theta, y = np.tile(start, (num_runs, 1)), np.zeros((num_runs, num_modes))
    found = {}
    for t in range(1, max(checkpoints) + 1):
        gamma1, gamma2, gamma3, damping = algorithm.coefficients(t)
        g = draw(theta)
        y = (1 - damping) * y + gamma1 * g
        theta = theta - gamma2 * g - gamma3 * y
        if t in checkpoints:
            found[t] = theta
    return found


@pytest.mark.parametrize("name", ["sgd", "sgd-m", "dana-constant", "dana-decaying"])
def test_moments_are_those_of_runs(name):
    """E1: P within 4 standard errors of the mean over 200 runs at every checkpoint, d = 100."""
    problem = random_plrf(1.0, 0.7, num_features=100, ambient_dim=400, seed=0)
    algorithm = get_algorithm(name, problem, alpha=1.0)
    rng, checkpoints = np.random.default_rng(1), (10, 100, 600)

    runs = simulated_errors(
        lambda error: sample_gradient(problem, error, 1, rng), 100, problem.initial_error, algorithm, checkpoints, 200
    )

    exact = exact_risk(problem, algorithm, num_steps=600, record_at=checkpoints)
    for i, t in enumerate(checkpoints):
        risks = problem.risk(runs[t])
        assert abs(risks.mean() - exact.risk[i]) < 4 * risks.std(ddof=1) / np.sqrt(200)


def test_moments_are_those_of_runs_on_explicit_data():
    """E1: with x in R^v and gradients of the definition, B = 4."""
    features = random_features(1.0, 0.7, num_features=20, ambient_dim=80, seed=0)
    problem = features.least_squares()
    algorithm = get_algorithm("dana-decaying", problem, alpha=1.0, batch_size=4)
    rng, num_runs = np.random.default_rng(2), 300

    def draw(theta):
        x, y = features.sample_batch(4 * num_runs, rng)
        x, y = x.reshape(num_runs, 4, 20), y.reshape(num_runs, 4)
        residual = np.einsum("rbd,rd->rb", x, theta) - y
        return np.einsum("rbd,rb->rd", x, residual) / 4

    runs = simulated_errors(draw, 20, np.zeros(20), algorithm, (10, 100, 300), num_runs)

    exact = exact_risk(problem, algorithm, num_steps=300, batch_size=4, record_at=(10, 100, 300))
    for i, t in enumerate((10, 100, 300)):
        risks = np.array([features.risk(theta) for theta in runs[t]])
        assert abs(risks.mean() - exact.risk[i]) < 4 * risks.std(ddof=1) / np.sqrt(num_runs)


def test_schedule_free_is_schedule_free():
    """The named slots give the iterates of averaging and interpolation, update by update."""
    algorithm = get_algorithm("schedule-free", TINY, alpha=1.0)
    step, s = algorithm.coefficients(1).gamma2 / 0.1, 0.9
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((50, 3))
    z = x = rng.standard_normal(3)
    theta, y = z.copy(), np.zeros(3)

    for t, g in enumerate(gradients, start=1):
        z = z - step * g
        x = x + (z - x) / (t + 1)
        gamma1, gamma2, gamma3, damping = algorithm.coefficients(t)
        y = (1 - damping) * y + gamma1 * g
        theta = theta - gamma2 * g - gamma3 * y

        assert np.allclose(theta, (1 - s) * z + s * x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_log_time_solver_agrees_with_the_recursion(name):
    """Continuous time: 1.2 % from t = 100 on is the known figure; schedule-free and heavy ball start slower."""
    problem = random_plrf(1.0, 0.7, num_features=100, ambient_dim=400, seed=0)
    algorithm = get_algorithm(name, problem, alpha=1.0)
    discrete = exact_risk(problem, algorithm, num_steps=3000)

    continuous = log_time_risk(problem, algorithm, horizon=3000)

    ratio = continuous.at(np.array([100, 300, 1000, 3000])) / discrete.at(np.array([100, 300, 1000, 3000]))
    assert np.abs(ratio - 1) == pytest.approx(0, abs=0.08 if name in ("sgd-m", "schedule-free") else 0.012)
    assert np.abs(ratio[2:] - 1) == pytest.approx(0, abs=0.008)


@pytest.mark.parametrize("name", ["sgd", "dana-constant", "dana-decaying"])
def test_a_step_of_two_hundredths_and_bins_cost_less_than_half_a_percent(name):
    whole = surrogate_plrf(1.0, 0.7, num_features=1000, ambient_dim=4000)
    times = np.geomspace(100, 1e6, 9)
    algorithm = get_algorithm(name, whole, alpha=1.0)
    few = binned(whole)

    coarse = log_time_risk(few, algorithm, horizon=1e6).at(times)

    assert np.abs(coarse / log_time_risk(few, algorithm, horizon=1e6, log_step=2e-3).at(times) - 1).max() < 0.005
    assert np.abs(coarse / log_time_risk(whole, algorithm, horizon=1e6).at(times) - 1).max() < 0.001


def test_three_by_three_systems_are_solved():
    rng = np.random.default_rng(0)
    matrix, right = rng.standard_normal((3, 3, 50)), rng.standard_normal((3, 50))

    (solution,) = _solve3(matrix, right)

    expected = np.linalg.solve(np.moveaxis(matrix, -1, 0), right.T[..., None])[..., 0].T
    assert np.allclose(solution, expected, rtol=1e-9, atol=1e-9)


def test_the_simplified_rates_are_the_leading_terms():
    """With gamma2 and Delta of order s and gamma3 of order s^2, what is kept differs by a share of order s."""
    lam = np.array([0.7, 0.1])

    def share_missed(s):
        coefficients = Coefficients(1.0, 0.3 * s, 0.2 * s * s, 0.4 * s)
        exact, exact_source = exact_rates(coefficients, lam, batch_size=2)
        simple, source = simplified_rates(coefficients, lam, batch_size=2)
        kept, kept_source = simple != 0, source != 0
        assert kept.sum() == 2 * 7
        return np.concatenate([(exact / simple - 1)[kept], (exact_source / source - 1)[kept_source]])

    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = np.abs(share_missed(1e-2)), np.abs(share_missed(1e-3))

    assert (first < 0.05).all()
    assert (second <= first / 9).all()


def test_the_simplified_equation_lies_somewhat_below():
    """specs/dana-plrf.md 3.2: 8 to 25 % below the exact curve for t >= 300."""
    problem = random_plrf(1.0, 0.7, num_features=100, ambient_dim=400, seed=0)
    algorithm = get_algorithm("dana-decaying", problem, alpha=1.0)
    times = np.array([300, 1000, 3000])

    simple = log_time_risk(problem, algorithm, horizon=3000, rates=simplified_rates).at(times)

    ratio = simple / log_time_risk(problem, algorithm, horizon=3000).at(times)
    assert (ratio > 0.7).all()
    assert (ratio < 0.97).all()


def test_forcing_of_sgd_is_gradient_flow_with_the_square_term():
    problem = surrogate_plrf(1.0, 0.7, num_features=200, ambient_dim=800)
    algorithm = sgd(problem)
    gamma, lam = algorithm.gamma2, problem.eigenvalues
    times = np.array([1.0, 30, 1000, 30_000])
    rate = -2 * gamma * lam + 2 * gamma**2 * lam**2  # k = 2 at B = 1

    found = forcing(problem, algorithm, horizon=30_000, log_step=1e-3).at(times)

    expected = problem.irreducible_risk + np.exp(np.outer(times, rate)) @ (lam * problem.initial_error**2)
    assert np.allclose(found, expected, rtol=3e-3)  # first order in the step


def test_the_kernel_of_sgd_sums_to_its_norm():
    problem = surrogate_plrf(1.0, 0.7, num_features=50, ambient_dim=200)
    algorithm = sgd(problem)

    curve = kernel(problem, algorithm, since=0.0, horizon=1e6, log_step=4e-3)

    integral = np.sum((curve.risk[1:] + curve.risk[:-1]) / 2 * np.diff(curve.time))
    assert integral == pytest.approx(kernel_norm(problem, gamma2=algorithm.gamma2), rel=8e-3)


def test_the_norm_gives_the_limit_of_the_risk():
    problem = surrogate_plrf(1.0, 0.7, num_features=20, ambient_dim=80)
    algorithm = sgd(problem)

    limit = log_time_risk(problem, algorithm, horizon=1e7).risk[-1]

    assert limit == pytest.approx(
        problem.irreducible_risk / (1 - kernel_norm(problem, gamma2=algorithm.gamma2)), rel=1e-4
    )


@pytest.mark.parametrize("name", ["sgd", "dana-decaying"])
def test_the_risk_solves_its_volterra_equation(name):
    """P(t) = F(t) + int_0^t K_s(t) P(s) ds, the integral by the trapezoid rule on 80 kernels."""
    problem = surrogate_plrf(1.0, 0.7, num_features=30, ambient_dim=120)
    algorithm = get_algorithm(name, problem, alpha=1.0)
    t = 100.0
    risk = log_time_risk(problem, algorithm, horizon=t, log_step=2e-3)
    s = np.concatenate([np.expm1(np.linspace(0, np.log1p(t / 2), 41)), t - np.geomspace(t / 2, 1e-2, 41)[1:], [t]])
    kernels = [kernel(problem, algorithm, since=since, horizon=t, log_step=1e-2).risk[-1] for since in s[:-1]]
    _, source = exact_rates(algorithm.coefficients(1 + t), problem.eigenvalues, batch_size=1)
    kernels.append(problem.eigenvalues @ source[0])
    past = np.concatenate([[problem.initial_risk], risk.at(s[1:])])

    y = np.array(kernels) * past
    integral = np.sum((y[1:] + y[:-1]) / 2 * np.diff(s))

    assert forcing(problem, algorithm, horizon=t, log_step=2e-3).risk[-1] + integral == pytest.approx(
        risk.risk[-1], rel=0.015
    )


def test_what_diverges_is_infinite_from_there_on():
    problem = binned_surrogate(1.0, 0.3, num_features=10_000, ambient_dim=40_000)
    wild = dana_decaying(problem, kappa=0.2, c3=1.0)

    curve = log_time_risk(problem, wild, horizon=1e9)
    too_long = Algorithm(name="sgd", gamma1=0.0, gamma2=0.9, gamma3=0.0, damping=1.0)  # lambda_1 = 1
    stepped = exact_risk(problem, too_long, num_steps=3000)

    for found in (curve, stepped):
        assert found.has_diverged
        lost = ~np.isfinite(found.risk)
        assert 0 < lost.argmax() < len(lost)
        assert lost[lost.argmax() :].all()
    assert not log_time_risk(problem, sgd(problem), horizon=1e9).has_diverged


def test_recorded_steps_are_the_asked_ones():
    problem = surrogate_plrf(1.0, 0.7, num_features=20, ambient_dim=80)
    all_steps = exact_risk(problem, sgd(problem), num_steps=20, record_at=range(21))

    some = exact_risk(problem, sgd(problem), num_steps=20, record_at=[20, 3, 0])

    assert some.time.tolist() == [0, 3, 20]
    assert some.risk.tolist() == [all_steps.risk[i] for i in (0, 3, 20)]
    assert all_steps.risk[0] == problem.initial_risk
    assert geometric_steps(10**6)[-1] == 10**6
    assert all(b - a == 1 or b / a < 1.1 + 2.2 / a for a, b in itertools.pairwise(geometric_steps(10**5)[1:-1]))


def test_a_curve_is_read_between_its_points_and_not_beyond():
    curve = RiskCurve(time=np.array([0.0, 1.0, 100.0]), risk=np.array([5.0, 1.0, 1e-4]))

    assert curve.at(10.0) == pytest.approx(1e-2)
    with pytest.raises(ValueError, match=r"time must lie in \[1, 100\], where the curve is known, got 200"):
        curve.at(200.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, a: log_time_risk(p, a, horizon=0.0), "horizon must exceed 0, got 0.0."),
        (lambda p, a: log_time_risk(p, a, horizon=1.0, log_step=0.0), "log_step must be > 0"),
        (lambda p, a: kernel(p, a, since=3.0, horizon=2.0), r"since must lie in \[0, 2\)"),
        (lambda p, a: exact_risk(p, a, num_steps=5, record_at=[6]), "record_at must lie within num_steps = 5, got 6"),
        (lambda p, a: exact_risk(p, a, num_steps=0), "num_steps must be >= 1, got 0"),
    ],
)
def test_bad_requests_say_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call(TINY, sgd(TINY))
