import math

import pytest
import scipy.stats

from logclock.analysis import (
    Law,
    Point,
    compute_multiplier,
    equal_loss_compute,
    fit_laws,
    interpolated_multiplier,
    multiplier_range,
    overtraining_exponent,
    token_multiplier,
)
from logclock.analysis.efficiency import crossing_compute


def test_crossing_is_linear_in_the_logarithm_of_compute():
    # From 5.0 at compute e^2 to 4.0 at e^4, 4.25 is three quarters of the way: e^3.5.
    found = crossing_compute([math.exp(2), math.exp(4)], [5.0, 4.0], target=4.25)

    assert found == pytest.approx(math.exp(3.5))


def test_the_first_of_several_crossings_counts():
    found = crossing_compute([1.0, 2.0, 4.0, 8.0], [5.0, 4.0, 4.5, 3.0], target=4.0)

    assert found == 2.0


def test_a_curve_that_stays_above_the_target_does_not_cross():
    assert crossing_compute([1.0, 2.0], [5.0, 4.0], target=3.9) is None


def test_forward_multiplier_equals_the_crossing_computed_by_hand(record):
    baseline = record("adamw", losses=(5.0, 4.6, 4.3, 4.1))
    optimizer = record("adana", losses=(4.9, 4.5, 4.0, 3.9))

    found = compute_multiplier(optimizer, baseline)

    # 4.1 lies 0.4 / 0.5 of the way from step 200 to 300 in ln(step): 200 * 1.5^0.8; the baseline took 400 steps.
    assert found.value == pytest.approx(400 / (200 * 1.5**0.8))
    assert found.direction == "optimizer reaches baseline"
    assert found.note is None


def test_backward_multiplier_is_used_when_the_optimizer_never_gets_there(record):
    baseline = record("adamw", losses=(5.0, 4.6, 4.3, 4.1))
    optimizer = record("adana", losses=(5.2, 4.8, 4.5, 4.2))

    found = compute_multiplier(optimizer, baseline)

    # The baseline reaches 4.2 half-way from step 300 to 400 in ln(step): sqrt(300 * 400); the optimizer took 400.
    assert found.value == pytest.approx(math.sqrt(300 * 400) / 400)
    assert found.direction == "baseline reaches optimizer"


def test_equal_curves_have_a_multiplier_of_exactly_one(record):
    assert compute_multiplier(record("a"), record("b")).value == 1.0


@pytest.mark.parametrize("last", [None, math.nan, math.inf])
def test_a_last_evaluation_that_is_not_finite_gives_no_multiplier_but_a_reason(record, last):
    optimizer = record("adana", seed=4, losses=(5.0, 4.6, 4.0, last))

    found = compute_multiplier(optimizer, record("adamw", seed=4))

    assert found.value is None
    assert found.note == "adana, seed 4: no finite loss at its last evaluation"


def test_a_dip_below_the_baseline_counts_even_if_the_run_ends_above(record):
    found = compute_multiplier(record("adana", losses=(5.0, 4.1, 4.3, 4.2)), record("adamw"))

    assert found.value == 2.0


def test_a_run_without_an_evaluation_after_the_start_is_an_error(record):
    with pytest.raises(ValueError, match="the only evaluation came before the first update"):
        compute_multiplier(record("adana", steps=(0,), losses=(5.0,)), record("adamw"))


def test_a_curve_that_starts_below_the_target_gives_a_bound_and_says_so(record):
    found = compute_multiplier(record("adana", losses=(4.0, 3.9, 3.8, 3.7)), record("adamw"))

    assert found.value == 4.0
    assert "only a bound" in found.note


def test_an_evaluation_before_training_and_missing_values_are_left_out(record):
    baseline = record("adamw", steps=(0, 100, 400), losses=(5.5, 5.0, 4.0))
    optimizer = record("adana", steps=(0, 100, 200, 400), losses=(5.5, 5.0, None, 3.0))

    found = compute_multiplier(optimizer, baseline)

    assert found.value == pytest.approx(400 / math.sqrt(100 * 400))


def test_compute_counts_by_the_convention_named(record):
    baseline = record("adamw", model={"compute_6p_per_token": 600, "compute_6d_per_token": 900})
    optimizer = record("adana", model={"compute_6p_per_token": 300, "compute_6d_per_token": 900})

    assert compute_multiplier(optimizer, baseline).value == 2.0
    assert compute_multiplier(optimizer, baseline, convention="compute_6d_per_token").value == 1.0


def test_a_diverged_run_has_no_multiplier_but_a_reason(record, diverged):
    found = compute_multiplier(diverged("adana", seed=3), record("adamw", seed=3))

    assert found.value is None
    assert found.note == "adana, seed 3: diverged"


def test_the_range_over_seeds_keeps_every_seed(record, diverged):
    baseline = {seed: record("adamw", seed=seed) for seed in (0, 1, 2)}
    optimizer = {
        0: record("adana", seed=0, losses=(5.0, 4.1, 4.0, 3.9)),  # crosses at step 200: 2
        1: record("adana", seed=1, losses=(5.0, 4.6, 4.1, 3.9)),  # crosses at step 300: 4/3
        2: diverged("adana", seed=2),
        5: record("adana", seed=5),
    }

    found = multiplier_range(optimizer, baseline)

    assert found.mean == pytest.approx((2 + 4 / 3) / 2)
    assert (found.low, found.high) == pytest.approx((4 / 3, 2))
    assert found.num_values == 2
    assert [seed for seed, _ in found.by_seed] == [0, 1, 2]


def test_the_multipliers_of_the_study_are_recovered_to_its_digits(enoki):
    points, multipliers = enoki()
    adamw = list(points["adamw"].values())

    found = {
        name: {heads: interpolated_multiplier(points[name][heads], adamw) for heads in printed}
        for name, printed in multipliers.items()
    }

    assert {name: len(by_heads) for name, by_heads in found.items()} == {
        "adana": 15,
        "star-mk4": 18,
        "ademamix-dw": 18,
        "ademamix": 18,
        "muon": 18,
    }
    for name, printed in multipliers.items():
        # losses have four decimals, which is 0.001 of the multiplier; the issue asks for 0.005
        assert found[name] == pytest.approx(printed, abs=0.001), name


def test_the_multipliers_with_the_head_counted_are_those_stated(enoki):
    points, _ = enoki("compute_6d")
    adamw = list(points["adamw"].values())

    found = {heads: interpolated_multiplier(point, adamw) for heads, point in points["adana"].items()}

    # specs/adana.md 6.4, two decimals. At 41 heads ADANA's loss lies below AdamW's last point: extended, as in 6.3.
    stated = {6: 1.15, 8: 1.22, 10: 1.26, 12: 1.26, 14: 1.29, 16: 1.29, 18: 1.33, 20: 1.37, 22: 1.34, 24: 1.40}
    stated |= {28: 1.41, 32: 1.41, 36: 1.40, 39: 1.38, 41: 1.40}
    assert found == pytest.approx(stated, abs=0.006)


def test_the_multipliers_of_the_fitted_optima_are_those_stated(enoki, published):
    points, _ = enoki()
    adamw = points["adamw"]

    for row in published("enoki_curvature.csv"):
        at_optimum = Point(compute=adamw[int(row["heads"])].compute, loss=row["mk4_loss"])
        found = interpolated_multiplier(at_optimum, list(adamw.values()))
        assert found == pytest.approx(row["mk4_multiplier"], abs=0.001)


def test_a_ladder_is_joined_by_lines_in_both_logarithms():
    baseline = [Point(compute=c, loss=loss) for c, loss in [(1.0, 8.0), (100.0, 4.0), (1e3, 1.0)]]

    # half-way from ln 8 to ln 4 is 4 sqrt 2, at compute 10; a third of the way from ln 4 to ln 1 is 4^(2/3)
    assert equal_loss_compute(baseline, 4 * math.sqrt(2)) == pytest.approx(10)
    assert equal_loss_compute(baseline, 4 ** (2 / 3)) == pytest.approx(100 * 10 ** (1 / 3))
    assert equal_loss_compute(baseline, 4.0) == 100.0
    # beyond the ends: the last line falls a factor 4 per decade, the first a factor 2 per two decades
    assert equal_loss_compute(baseline, 0.25) == pytest.approx(1e4)
    assert equal_loss_compute(baseline, 16.0) == pytest.approx(0.01)


def test_a_ladder_is_read_in_the_order_of_compute():
    shuffled = [Point(compute=c, loss=loss) for c, loss in [(1e3, 1.0), (1.0, 8.0), (100.0, 4.0)]]

    assert equal_loss_compute(shuffled, 4 * math.sqrt(2)) == pytest.approx(10)


def test_where_the_baseline_rises_the_smallest_compute_counts():
    baseline = [Point(compute=c, loss=loss) for c, loss in [(1.0, 8.0), (10.0, 4.0), (100.0, 5.0), (1e3, 2.0)]]

    assert equal_loss_compute(baseline, 4.5) < 10


def test_a_ladder_that_does_not_fall_cannot_be_extended():
    baseline = [Point(compute=c, loss=loss) for c, loss in [(1.0, 8.0), (10.0, 4.0), (100.0, 5.0)]]

    with pytest.raises(ValueError, match=r"does not fall from compute 10 to 100 \(4 to 5\).*loss of 3"):
        equal_loss_compute(baseline, 3.0)


@pytest.mark.parametrize("compute", [[1.0], [], [1.0, 1.0]])
def test_a_ladder_has_one_point_at_each_of_two_sizes(compute):
    with pytest.raises(ValueError, match="one point each of two sizes or more"):
        equal_loss_compute([Point(compute=c, loss=4.0) for c in compute], 3.0)


@pytest.mark.parametrize("size", ["130M", "1.2B"])
def test_the_speedups_of_fantastic_optimizers_are_those_stated(published, size):
    rows = [row for row in published("fantastic_optimizers.csv") if row["size"] == size]
    baseline = [Point(compute=row["tokens"], loss=row["AdamW"]) for row in rows]
    law = fit_laws({"AdamW": baseline}, unit=1.0, delta=math.inf, num_samples=0).laws["AdamW"]

    found, stated = {}, {}
    for row in rows:
        for name in ("Muon", "SOAP", "NAdamW", "Kron", "Lion"):
            if row[name] is not None:
                key = (name, row["tokens"])
                found[key] = token_multiplier(Point(compute=row["tokens"], loss=row[name]), law)
                stated[key] = row[f"speedup_{name}"]

    # Two decimals, rounded; their fit was of L and ours is of ln L, which moves the 130M law (rmse 0.002) by 0.01.
    assert found == pytest.approx(stated, abs=0.006 if size == "1.2B" else 0.011)
    if size == "1.2B":
        assert law.floor == pytest.approx(2.6651, abs=2e-4)
        assert law.terms[0] == pytest.approx((0.2392, 0.485), abs=1e-3)
    muon = [found["Muon", row["tokens"]] for row in rows if row["Muon"] is not None]
    assert max(muon) == pytest.approx(1.43 if size == "130M" else 1.18, abs=0.01)


def test_an_exponent_of_overtraining_is_recovered():
    law = Law(floor=3.0, terms=((0.5, 0.4),))
    horizons = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    baseline = [Point(compute=f, loss=float(law(f))) for f in horizons]
    # the optimizer after f tokens is where the baseline is after 0.9 f^1.15
    points = [Point(compute=f, loss=float(law(0.9 * f**1.15))) for f in horizons]

    found = overtraining_exponent(points, baseline)

    assert found.exponent == pytest.approx(1.15, abs=1e-5)
    assert found.interval == pytest.approx((1.15, 1.15), abs=1e-4)
    assert found.multipliers == pytest.approx([0.9 * f**0.15 for f in horizons], rel=1e-4)


def test_the_interval_of_an_exponent_is_that_of_regression():
    law = Law(floor=3.0, terms=((0.5, 0.4),))
    horizons = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    baseline = [Point(compute=f, loss=float(law(f))) for f in horizons]
    wiggle = [0.02, -0.03, 0.01, 0.02, -0.01, -0.01]
    points = [Point(compute=f, loss=float(law(f**1.1 * math.exp(w)))) for f, w in zip(horizons, wiggle, strict=True)]

    found = overtraining_exponent(points, baseline, confidence=0.95)

    line = scipy.stats.linregress(
        [math.log(f) for f in horizons], [1.1 * math.log(f) + w for f, w in zip(horizons, wiggle, strict=True)]
    )
    half_width = scipy.stats.t.ppf(0.975, 4) * line.stderr
    assert found.exponent == pytest.approx(line.slope, abs=1e-4)
    assert found.interval == pytest.approx((line.slope - half_width, line.slope + half_width), abs=1e-4)


def test_a_loss_below_the_floor_of_the_baseline_has_no_exponent():
    law = Law(floor=3.0, terms=((0.5, 0.4),))
    baseline = [Point(compute=f, loss=float(law(f))) for f in (1.0, 2.0, 4.0, 8.0)]

    with pytest.raises(ValueError, match=r"losses above the baseline's floor of 3\.0000"):
        overtraining_exponent([Point(compute=1.0, loss=3.4), Point(compute=8.0, loss=2.9)], baseline)
