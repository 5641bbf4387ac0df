import math

import numpy as np
import pytest
import scipy.stats
from scipy.optimize import brentq, least_squares

from logclock.analysis import Law, Point, fit_laws, hold_out
from logclock.analysis.compute import PETAFLOP_HOUR
from logclock.analysis.scaling import _Layout

TRUTH = {
    "adamw": Law(floor=1.7, terms=((1.5, 0.15),), unit=1e15),
    "adana": Law(floor=1.7, terms=((1.44, 0.155),), unit=1e15),
}
BROKEN = {
    "adamw": Law(floor=0.9, terms=((0.8, 0.4), (1.6, 0.06)), unit=1e15),
    "adana": Law(floor=0.9, terms=((0.6, 0.45), (1.55, 0.065)), unit=1e15),
}


def ladder(laws, *, num_sizes=8, seeds=1, noise=0.0, seed=0):
    """Runs over 2.5 decades of compute; noise is the standard deviation in ln L."""
    generator = np.random.default_rng(seed)
    compute = np.geomspace(1e13, 10**15.5, num_sizes).repeat(seeds)
    return {
        label: [
            Point(compute=float(c), loss=float(law(c)) * math.exp(generator.normal(0, noise) if noise else 0.0))
            for c in compute
        ]
        for label, law in laws.items()
    }


def flat(law):
    return [law.floor, *(number for term in law.terms for number in term)]


@pytest.mark.parametrize(
    "law", [*TRUTH.values(), *BROKEN.values(), Law(floor=0.0, terms=((3.0, 0.05),))], ids=lambda law: str(law.terms)
)
def test_a_law_is_inverted_to_the_last_digits(law):
    losses = np.linspace(law.floor + 0.05, law.floor + 4.0, 7)

    found = law.compute_at(losses)

    assert law(found) == pytest.approx(losses, rel=1e-12)
    assert float(law.compute_at(losses[2])) == pytest.approx(
        math.exp(brentq(lambda u: float(law(math.exp(u))) - losses[2], -200, 200, xtol=1e-13)), rel=1e-9
    )


def test_no_compute_reaches_the_floor():
    assert TRUTH["adamw"].compute_at([1.7, 1.0]).tolist() == [math.inf, math.inf]


def test_the_gradients_of_the_fit_are_those_of_differences():
    layout = _Layout.of(ladder(BROKEN, num_sizes=6), form="broken", floor=None, unit=None)
    theta = np.random.default_rng(0).normal(-0.5, 0.3, size=layout.num_parameters)
    steps = 1e-6 * np.eye(len(theta))

    _, slopes = layout.model(theta[None])

    ahead, behind = (layout.model(theta + sign * steps)[0] for sign in (1, -1))
    assert slopes[0] == pytest.approx((ahead - behind).T / 2e-6, abs=1e-8)


@pytest.mark.parametrize(
    ("form", "truth"),
    [
        ("power", {"a": Law(floor=0.0, terms=((4.0, 0.05),), unit=1e15)}),
        ("saturated", TRUTH),
        ("broken", BROKEN),
    ],
)
def test_exact_ladders_give_back_their_laws(form, truth):
    fit = fit_laws(ladder(truth, num_sizes=12), form=form, unit=1e15, num_samples=0)

    # The two terms of a broken law are nearly interchangeable, so their digits are fewer than those of the losses.
    rel = 1e-2 if form == "broken" else 1e-6
    for label, law in truth.items():
        assert flat(fit.laws[label]) == pytest.approx(flat(law), rel=rel)
        assert fit.rms(label) < 1e-6


def test_the_studys_broken_law_has_the_residuals_stated(enoki):
    points, _ = enoki("compute_6d")
    points = {name: list(points[name].values()) for name in ("adamw", "star-mk4-early")}

    fit = fit_laws(points, form="broken", floor=0.1058, unit=PETAFLOP_HOUR, delta=math.inf, num_samples=0)

    # specs/adana.md 6.2, printed to three digits; the same least squares by another program
    assert fit.rms("adamw") == pytest.approx(7.4e-4, abs=0.05e-4)
    assert fit.rms("star-mk4-early") == pytest.approx(9.9e-4, abs=0.06e-4)
    assert flat(fit.laws["adamw"]) == pytest.approx([0.1058, 0.528, 0.187, 2.554, 0.0268], rel=2e-3)
    assert flat(fit.laws["star-mk4-early"]) == pytest.approx([0.1058, 0.654, 0.175, 2.392, 0.0218], rel=2e-3)


def test_the_studys_saturated_law_of_adamw_is_the_stated_one(enoki):
    points, _ = enoki("compute_6d")

    fit = fit_laws({"adamw": list(points["adamw"].values())}, unit=PETAFLOP_HOUR, delta=math.inf, num_samples=0)

    assert flat(fit.laws["adamw"]) == pytest.approx([1.706, 1.485, 0.114], rel=3e-3)
    assert fit.rms("adamw") == pytest.approx(1.1e-3, abs=0.05e-3)


def test_the_fit_is_at_least_as_good_as_scipys(enoki):
    points, _ = enoki("compute_6d")
    runs = list(points["adana"].values())
    u = np.log([point.compute / PETAFLOP_HOUR for point in runs])
    target = np.log([point.loss for point in runs])

    fit = fit_laws({"adana": runs}, unit=PETAFLOP_HOUR, num_samples=0)

    def residual(p):
        return np.log(p[0] + p[1] * np.exp(-p[2] * u)) - target

    theirs = least_squares(residual, [1.5, 1.5, 0.1], loss="huber", f_scale=1e-3, x_scale=[1, 1, 0.1], xtol=1e-14)
    assert flat(fit.laws["adana"]) == pytest.approx(theirs.x, rel=1e-3)


def test_one_odd_run_hardly_moves_a_huber_fit():
    points = ladder(TRUTH, noise=5e-4)
    odd = {**points, "adamw": [*points["adamw"][:-1], Point(compute=points["adamw"][-1].compute, loss=2.7)]}
    at = 1e15

    def shift(delta):
        fits = [fit_laws(p, delta=delta, num_samples=0) for p in (points, odd)]
        return abs(float(fits[0].laws["adamw"](at)) - float(fits[1].laws["adamw"](at)))

    assert shift(1e-3) < shift(math.inf) / 5


def coverage(repetitions, *, num_samples, num_sizes, seeds):
    """Return how often the 90 % intervals of two repetitions' laws held the truth, by quantity."""
    largest = 10**15.5
    truth = {
        "floor": 1.7,
        "exponent": 0.15,
        "loss": float(TRUTH["adamw"](largest)),
        "multiplier": float(TRUTH["adamw"].compute_at(TRUTH["adana"](largest))) / largest,
    }
    hits = dict.fromkeys(truth, 0)
    for repetition in range(repetitions):
        points = ladder(TRUTH, num_sizes=num_sizes, seeds=seeds, noise=1e-3, seed=10_000 + repetition)
        fit = fit_laws(points, num_samples=num_samples, seed=repetition)
        found = {
            "floor": fit.interval("adamw", lambda law: law.floor),
            "exponent": fit.interval("adamw", lambda law: law.terms[0][1]),
            "loss": fit.interval("adamw", lambda law: float(law(largest))),
            "multiplier": fit.multiplier_interval("adana", "adamw", largest),
        }
        for name, (low, high) in found.items():
            hits[name] += low <= truth[name] <= high
    return {name: count / repetitions for name, count in hits.items()}


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    found = coverage(100, num_samples=100, num_sizes=6, seeds=2)

    # 90 % nominal; the standard error of a share of 100 is 3 %, so that a sound interval stays within three of them
    assert all(0.81 <= share <= 0.99 for share in found.values()), found


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("num_sizes", "seeds"), [(5, 2), (6, 1), (10, 2)])
def test_intervals_have_nominal_coverage(num_sizes, seeds):
    found = coverage(300, num_samples=300, num_sizes=num_sizes, seeds=seeds)

    # standard error 1.7 %; Huber residuals are slightly shrunken, and five sizes leave a skewed estimate
    assert all(0.84 <= share <= 0.96 for share in found.values()), found


def test_lack_of_fit_is_the_f_test_of_the_textbook():
    points = ladder({"adamw": TRUTH["adamw"]}, num_sizes=6, seeds=3, noise=3e-3)

    fit = fit_laws(points, floor=0.0, delta=math.inf, num_samples=0)

    residuals = np.reshape(fit.residuals["adamw"], (6, 3))
    lack = 3 * np.sum(residuals.mean(axis=1) ** 2) / (6 - 2)  # six sizes, two numbers
    noise = np.sum(residuals.var(axis=1, ddof=1)) * 2 / (18 - 6)
    assert fit.lack_of_fit().p_value == pytest.approx(scipy.stats.f.sf(lack / noise, 4, 12))
    assert fit.lack_of_fit().noise == pytest.approx(math.sqrt(noise))
    assert fit.lack_of_fit().misfit == pytest.approx(np.sqrt(np.mean(residuals.mean(axis=1) ** 2)))


def test_sizes_on_a_law_are_seldom_said_to_miss_it_although_labels_share_their_seeds():
    alarms = 0
    for repetition in range(60):
        points = ladder(TRUTH, num_sizes=5, seeds=3, noise=4e-3, seed=repetition)
        alike = [p.loss / float(TRUTH["adamw"](p.compute)) for p in points["adamw"]]  # the seeds do the same to both
        points["adana"] = [
            Point(compute=p.compute, loss=float(TRUTH["adana"](p.compute)) * factor)
            for p, factor in zip(points["adana"], alike, strict=True)
        ]
        alarms += fit_laws(points, num_samples=0).lack_of_fit().p_value < 0.01

    assert alarms <= 3  # the chance of four or more at 1 % each is 0.3 %


def test_sizes_off_the_law_are_seen_where_seeds_agree():
    points = ladder(TRUTH, num_sizes=5, seeds=2, noise=1e-3)
    bent = {
        label: [Point(compute=p.compute, loss=p.loss * (1.02 if 3 < i < 6 else 1)) for i, p in enumerate(runs)]
        for label, runs in points.items()
    }

    assert fit_laws(points, num_samples=0).lack_of_fit().p_value > 0.05
    assert fit_laws(bent, num_samples=0).lack_of_fit().p_value < 0.01


@pytest.mark.parametrize(("num_sizes", "seeds"), [(5, 1), (2, 3)])
def test_lack_of_fit_needs_seeds_and_more_sizes_than_numbers(num_sizes, seeds):
    points = ladder(TRUTH, num_sizes=num_sizes, seeds=seeds, noise=1e-3)

    assert fit_laws(points, form="power", num_samples=0).lack_of_fit() is None


def test_without_freedom_there_is_a_fit_but_no_interval():
    fit = fit_laws({"a": ladder(TRUTH, num_sizes=3)["adamw"]})

    assert fit.degrees_of_freedom == 0
    assert fit.interval("a", lambda law: law.floor) is None
    assert fit.multiplier_interval("a", "a", 1e14) is None


def test_the_bootstrap_is_repeatable_and_its_rows_belong_together():
    points = ladder(TRUTH, noise=1e-3)

    once, again = (fit_laws(points, num_samples=20, seed=3) for _ in range(2))

    assert once == again
    assert [law.floor for law in once.samples["adamw"]] == [law.floor for law in once.samples["adana"]]


def test_the_multiplier_of_two_laws_is_the_ratio_of_their_inverses():
    points = ladder(TRUTH, num_sizes=8)

    fit = fit_laws(points, num_samples=0)

    # 1.5 u^-0.15 = 1.44 with u = C_A / 1e15: what AdamW needs for ADANA's loss at 1e15
    assert fit.multiplier("adana", "adamw", 1e15) == pytest.approx((1.5 / 1.44) ** (1 / 0.15), rel=1e-5)


def test_the_largest_size_is_predicted_from_the_others_and_compared():
    points = ladder(TRUTH, num_sizes=7, seeds=2, noise=5e-4, seed=1)

    found = hold_out(points, num_samples=200)["adana"]

    largest = [point.loss for point in points["adana"][-2:]]
    rest = {label: runs[:-2] for label, runs in points.items()}
    assert found.compute == points["adana"][-1].compute
    assert found.observed == pytest.approx(sum(largest) / 2)
    assert found.predicted == pytest.approx(float(fit_laws(rest, num_samples=0).laws["adana"](found.compute)))
    assert found.error == found.observed - found.predicted
    assert found.is_inside


def test_a_size_off_the_law_falls_outside_the_prediction():
    points = ladder(TRUTH, num_sizes=7, seeds=2, noise=5e-4, seed=1)
    points["adana"][-2:] = [Point(compute=p.compute, loss=p.loss + 0.1) for p in points["adana"][-2:]]

    found = hold_out(points, num_samples=200)["adana"]

    assert found.is_inside is False
    assert found.error == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "cubic"}, r"form must be one of power, saturated, broken, got 'cubic'"),
        ({"form": "power", "floor": 1.0}, r"floor must be None for the form 'power', got 1.0"),
        ({"floor": 9.0}, r"floor must lie below every loss, .*got 9.0"),
        ({"form": "broken"}, r"'adamw' has runs of 3 sizes; the form 'broken' needs 4 or more"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_the_reason(changes, message):
    with pytest.raises(ValueError, match=message):
        fit_laws(ladder(TRUTH, num_sizes=3), **changes)


def test_more_numbers_than_sizes_are_refused_whatever_the_seeds():
    with pytest.raises(ValueError, match="4 sizes, counted for each label, cannot determine the 5 numbers"):
        fit_laws(ladder(TRUTH, num_sizes=2, seeds=3))


@pytest.mark.parametrize(("compute", "loss"), [(0.0, 4.0), (1e15, math.nan), (math.inf, 3.0)])
def test_a_point_is_a_finished_run(compute, loss):
    with pytest.raises(ValueError, match="must be positive and finite"):
        Point(compute=compute, loss=loss)
