import math

import pytest

from logclock.analysis import Uncertainty, trend
from logclock.analysis.trends import jointly_tested

SURE = Uncertainty(seeds=1e-8, degrees_of_freedom=2)


def test_the_slope_is_that_of_least_squares():
    # x 0, 1, 3 about 4/3: weights (-4/3, -1/3, 5/3) / (14/3)
    found = trend([0.0, 1.0, 3.0], [1.0, 1.5, 4.0], [SURE] * 3)

    assert found.slope == pytest.approx((-4 / 3 * 1.0 - 1 / 3 * 1.5 + 5 / 3 * 4.0) / (14 / 3))
    assert found.num_sizes == 3
    assert found.is_shown


def test_the_error_of_the_slope_follows_from_those_of_the_sizes():
    noisy = [Uncertainty(seeds=variance, degrees_of_freedom=2) for variance in (4.0, 1.0, 1.0)]

    found = trend([-1.0, 0.0, 1.0], [0.0, 5.0, 0.0], noisy)

    # weights -1/2, 0, 1/2: variance 1 + 1/4 with (5/4)^2 / (1/2 + 1/32) = 2.94118 degrees
    from scipy.stats import t

    half_width = t.ppf(0.975, 2.9411765) * math.sqrt(1.25)
    assert found.interval == pytest.approx((-half_width, half_width))
    assert found.p_value == 1.0  # values that do not lie on a line have no slope all the same


def test_two_sizes_show_no_trend():
    assert trend([0.0, 1.0], [0.0, 9.0], [SURE, SURE]) is None


def test_trends_of_several_optimizers_are_adjusted_together():
    errors = [Uncertainty(seeds=1.0, degrees_of_freedom=1e9)] * 3
    # slope (z) with standard error 1/sqrt(2)
    one = trend([-1.0, 0.0, 1.0], [-2.1 / math.sqrt(2), 0.0, 2.1 / math.sqrt(2)], errors)

    together = jointly_tested({"a": one, "b": one})

    assert one.p_value == pytest.approx(0.0357, abs=1e-4)  # two-sided, z = 2.1
    assert one.is_shown
    assert together["a"].adjusted_p == pytest.approx(2 * one.p_value)
    assert not together["a"].is_shown
