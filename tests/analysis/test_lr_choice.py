import math

import pytest

from logclock.analysis import LrTrial, choice_costs


def bowl(optimum, *rates, curvature=0.1):
    return [LrTrial(lr=rate, loss=3.0 + curvature * math.log(rate / optimum) ** 2) for rate in rates]


def test_a_rate_costs_its_height_over_the_parabola():
    costs = choice_costs({"a": (bowl(1.2e-3, 5e-4, 1e-3, 2e-3), 1e-3)})

    assert costs["a"] == pytest.approx(0.1 * math.log(1.2) ** 2)


def test_a_rate_that_was_given_costs_nothing_that_is_known():
    assert choice_costs({"a": ([LrTrial(lr=1e-3, loss=3.0)], 1e-3)}) == {"a": 0.0}
    assert choice_costs({}) == {}


def test_two_rates_borrow_the_curvature_of_other_searches():
    two = bowl(1.2e-3, 1e-3, 2e-3)

    alone = choice_costs({"two": (two, 1e-3)})
    beside = choice_costs({"two": (two, 1e-3), "full": (bowl(3e-3, 1e-3, 2e-3, 4e-3), 2e-3)})

    assert alone["two"] is None
    assert beside["two"] == pytest.approx(0.1 * math.log(1.2) ** 2)


def test_a_search_that_bends_the_wrong_way_has_a_fifth_of_the_usual_curvature():
    bent = [LrTrial(lr=rate, loss=loss) for rate, loss in ((5e-4, 3.0), (1e-3, 3.001), (2e-3, 2.999))]
    searches = {name: (bowl(1.2e-3, 5e-4, 1e-3, 2e-3), 1e-3) for name in "abc"} | {"bent": (bent, 2e-3)}

    costs = choice_costs(searches)

    # the optimum lies no further off than the next rate tried, a factor 2: at most 0.2 0.1 ln(2)^2
    assert 0 <= costs["bent"] <= 0.02 * math.log(2) ** 2 + 1e-12


def test_the_optimum_lies_no_further_off_than_the_next_rate_tried():
    """At the edge of its grid, where the parabola's optimum lies far outside."""
    edge = bowl(64e-3, 1e-3, 2e-3, 4e-3)

    assert choice_costs({"a": (edge, 4e-3)})["a"] == pytest.approx(0.1 * math.log(2) ** 2)


def test_diverged_and_far_trials_say_nothing_about_the_bottom():
    trials = [*bowl(1.2e-3, 5e-4, 1e-3, 2e-3), LrTrial(lr=8e-3, loss=9.0), LrTrial(lr=4e-3, loss=None)]

    assert choice_costs({"a": (trials, 1e-3)})["a"] == pytest.approx(0.1 * math.log(1.2) ** 2)


def test_a_rate_on_a_cliff_does_not_move_the_bottom():
    trials = [*bowl(1.2e-3, 2.5e-4, 5e-4, 1e-3, curvature=0.02), LrTrial(lr=2e-3, loss=3.9)]

    # with a full weight the cliff would move the optimum by as far as it may be, a factor 2, at k = 0.5 and 0.24 nats
    assert choice_costs({"a": (trials, 1e-3)})["a"] < 0.01


def test_a_coarse_grid_is_judged_by_the_nearest_rates():
    coarse = bowl(1.5e-3, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, curvature=0.002)

    assert choice_costs({"a": (coarse, 1e-3)})["a"] == pytest.approx(0.002 * math.log(1.5) ** 2)
