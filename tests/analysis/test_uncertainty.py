import math

import pytest
import scipy.stats

from logclock.analysis import Uncertainty, holm
from logclock.analysis.uncertainty import moderated, weighted


def test_holm_multiplies_the_smallest_by_all_and_the_others_by_those_that_are_left():
    # by hand: 0.01 * 4, max(0.04, 0.013 * 3), 0.03 * 2, max(0.06, 0.04 * 1)
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.013}) == pytest.approx(
        {"b": 0.04, "d": 0.04, "c": 0.06, "a": 0.06}
    )
    assert holm({"a": 0.7, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_half_widths_of_independent_sources_add_in_squares():
    one = Uncertainty(seeds=4.0, degrees_of_freedom=2, search=1.0, sampling=2.25)

    # Student's t with two degrees 4.302653, normal 1.959964
    assert one.half_width(0.95) == pytest.approx(math.hypot(4.302653 * 2, 1.959964 * math.sqrt(3.25)), rel=1e-6)


@pytest.mark.parametrize("estimate", [0.001, 0.5, 2.0, 7.0, 100.0])
@pytest.mark.parametrize("freedom", [1, 2, 4, 6, 8.5])
def test_p_of_seeds_alone_is_students(estimate, freedom):
    one = Uncertainty(seeds=1.0, degrees_of_freedom=freedom)

    assert one.p_value(-estimate) == pytest.approx(2 * scipy.stats.t.sf(estimate, freedom), rel=2e-5)


def test_p_of_shared_errors_alone_is_that_of_a_normal_distribution():
    one = Uncertainty(seeds=0.0, degrees_of_freedom=2, search=0.64, sampling=0.36)

    assert one.p_value(1.959964) == pytest.approx(0.05, rel=1e-5)
    assert one.p_value(0.0) == 1.0


def test_without_any_error_everything_is_certain():
    certain = Uncertainty(seeds=0.0, degrees_of_freedom=2)

    assert certain.interval(1.5, 0.95) == (1.5, 1.5)
    assert certain.p_value(1e-9) <= 1e-12


def test_a_weighted_sum_has_the_degrees_of_freedom_of_welch_and_satterthwaite():
    parts = [
        Uncertainty(seeds=9.0, degrees_of_freedom=2, search=1.0, sampling=4.0),
        Uncertainty(seeds=1.0, degrees_of_freedom=4, search=2.0, sampling=4.0),
    ]

    mean, slope = weighted(parts, (0.5, 0.5)), weighted(parts, (-1.0, 1.0))

    assert mean.seeds == pytest.approx(10 / 4)
    assert mean.degrees_of_freedom == pytest.approx(2.5**2 / (2.25**2 / 2 + 0.25**2 / 4))
    assert mean.search == pytest.approx(3 / 4)
    # one validation set for both: its error stays in a mean and leaves a slope
    assert mean.sampling == pytest.approx(4.0)
    assert slope.sampling == pytest.approx(0.0)
    assert slope.seeds == pytest.approx(10.0)


def test_an_odd_spread_keeps_its_own_degrees_of_freedom():
    found = moderated(dict.fromkeys("abcde", (1.0, 2)) | {"odd": (7.0, 2)}, share_baseline=False)

    # mean 2 with 12 degrees; 7 is 3.5 times that, above the 90 % quantile 2.81 of F(2, 12)
    assert found["odd"] == (7.0, 2.0)
    assert found["a"] == (2.0, 12.0)


def test_a_wild_arm_does_not_widen_the_intervals_of_the_others():
    spreads = {"a": (1.0, 2), "b": (1.0, 2), "c": (1.0, 2), "wild": (100.0, 2)}

    arms, sizes = moderated(spreads, share_baseline=True), moderated(spreads, share_baseline=False)

    # three arms with one baseline: 6 / (1 + 2 / 4) = 4 degrees; 100 is far above the 98.75 % quantile of F(2, 4), 17
    assert arms["wild"] == (100.0, 2.0)
    assert arms["a"] == (1.0, 4.0)
    assert sizes["a"] == (25.75, 8.0)


def test_one_spread_is_taken_as_it_is_and_single_runs_as_the_others():
    assert moderated({"a": (4.0, 2)}, share_baseline=True) == {"a": (4.0, 2.0)}
    assert moderated({"a": (4.0, 2), "single": (0.0, 0)}, share_baseline=False)["single"] == (4.0, 2)
    assert moderated({"single": (0.0, 0)}, share_baseline=False) == {}
