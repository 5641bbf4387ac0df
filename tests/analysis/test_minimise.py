import numpy as np
import pytest
from scipy.optimize import least_squares

from logclock.analysis.minimise import huber, minimise

X = np.linspace(0.5, 6.0, 12)
WIDE = (np.array([-10.0, -10.0]), np.array([10.0, 10.0]))


def decay(theta):
    """Return e^a e^(-b x) and its derivatives."""
    value = np.exp(theta[:, :1] - theta[:, 1:] * X)
    return value, np.stack([value, -X * value], axis=-1)


def target_with(outlier):
    noise = 0.02 * np.random.default_rng(1).standard_normal(12)
    noise[3] += outlier
    return np.exp(0.7 - 0.4 * X) + noise


def test_huber_is_square_near_zero_and_linear_beyond():
    found = huber(np.array([-3.0, -0.5, 0.0, 1.0, 4.0]), 1.0)

    assert found.tolist() == [2.5, 0.125, 0.0, 0.5, 3.5]
    assert huber(np.array([4.0]), np.inf).tolist() == [8.0]


@pytest.mark.parametrize("delta", [np.inf, 0.03])
def test_the_minimum_is_that_of_scipy(delta):
    target = target_with(0.5)
    starts = np.array([[0.0, 0.1], [1.0, 1.0], [-1.0, 0.0]])

    found = minimise(decay, starts, target, bounds=WIDE, delta=delta)

    # scipy's huber with f_scale has the same minimum; it is another algorithm (trust region) with numeric derivatives
    loss = {"loss": "linear"} if delta == np.inf else {"loss": "huber", "f_scale": delta}
    theirs = least_squares(lambda p: np.exp(p[0] - p[1] * X) - target, [0.0, 0.1], **loss, xtol=1e-15, ftol=1e-15)
    assert found.best == pytest.approx(theirs.x, abs=2e-6)
    assert found.objective.min() == pytest.approx(theirs.cost, rel=1e-9)


def test_rows_do_not_disturb_each_other():
    targets = np.stack([target_with(0.0), target_with(0.5), target_with(-0.3)])
    starts = np.zeros((3, 2))

    together = minimise(decay, starts, targets, bounds=WIDE, delta=0.1).parameters

    alone = [minimise(decay, starts[:1], target, bounds=WIDE, delta=0.1).parameters[0] for target in targets]
    assert together == pytest.approx(np.array(alone), rel=1e-9)


def test_weights_count_like_repeated_points():
    target = target_with(0.3)
    weight = np.ones(12)
    weight[5] = 3.0

    def with_repeats(theta):
        value, slopes = decay(theta)
        rows = [*range(12), 5, 5]
        return value[:, rows], slopes[:, rows]

    weighted = minimise(decay, np.zeros((1, 2)), target, weight=weight, bounds=WIDE).best
    repeated = minimise(with_repeats, np.zeros((1, 2)), target[[*range(12), 5, 5]], bounds=WIDE).best

    assert weighted == pytest.approx(repeated, rel=1e-9)


def test_a_minimum_outside_the_bounds_is_found_on_the_bound():
    bounds = (np.array([-10.0, 0.6]), np.array([10.0, 10.0]))
    target = target_with(0.0)

    found = minimise(decay, np.array([[0.0, 1.0]]), target, bounds=bounds).best

    theirs = least_squares(lambda p: np.exp(p[0] - 0.6 * X) - target, [0.0], xtol=1e-15, ftol=1e-15)
    assert found[1] == 0.6
    assert found[0] == pytest.approx(theirs.x[0], abs=1e-6)


def test_a_parameter_without_effect_stays_where_it_started():
    def one_idle(theta):
        value, slopes = decay(theta[:, :2])
        return value, np.concatenate([slopes, np.zeros((*value.shape, 1))], axis=-1)

    bounds = (np.full(3, -10.0), np.full(3, 10.0))

    found = minimise(one_idle, np.array([[0.0, 0.1, 2.5]]), target_with(0.0), bounds=bounds).best

    assert found[2] == 2.5
    assert found[:2] == pytest.approx(minimise(decay, np.zeros((1, 2)), target_with(0.0), bounds=WIDE).best, abs=1e-6)
