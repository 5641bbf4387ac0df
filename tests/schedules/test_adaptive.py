import dataclasses
import json
import math
import pickle

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.config import from_dict, to_dict
from logclock.schedules import (
    AdaptiveWarmupPlan,
    Cosine,
    Linear,
    Schedule,
    WarmupStableDecay,
    dual_norm_ratio,
    warmup_factor,
)

ratios = st.floats(0.01, 0.99)
divs = st.floats(1.1, 1e3)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ratios, divs)
def test_the_factor_is_1_at_the_end_and_1_over_div_at_the_start(ratio, div):
    assert warmup_factor(0.0, ratio=ratio, div=div) == 1.0
    assert warmup_factor(1.0, ratio=ratio, div=div) == pytest.approx(1 / div, rel=1e-15)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ratios, divs)
def test_the_factor_arrives_flat(ratio, div):
    step = 1e-6

    # g'(Delta*) = 0: the second derivative is -2 (div - 1) / r, the next term smaller by a factor of step / r
    assert 1 - warmup_factor(step, ratio=ratio, div=div) <= 1.01 * (div - 1) / ratio * step**2 + 1e-15


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ratios, divs, st.floats(1e-3, 3), st.floats(1.001, 2))
def test_the_factor_falls_strictly_with_the_loss(ratio, div, x, growth):
    assert warmup_factor(x * growth, ratio=ratio, div=div) < warmup_factor(x, ratio=ratio, div=div)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ratios, divs, st.floats(0, 2), st.floats(0.1, 20), st.floats(1e-5, 1.0))
def test_the_factor_is_the_closed_form_with_its_three_constants(ratio, div, x, gap, lr):
    """Delta / (K_0 + K_1 Delta + K_2 Delta^2) / lr of adaptive-warmup.md 2.2, in 50 digits: its K's cancel."""
    with mpmath.workdps(50):
        r, delta_0 = mpmath.mpf(ratio), mpmath.mpf(gap)
        delta_star = r * delta_0
        k_2 = delta_0 * (mpmath.mpf(div) - 1) / (mpmath.mpf(lr) * (delta_0 - delta_star) ** 2)
        k_0 = k_2 * delta_star**2
        k_1 = 1 / mpmath.mpf(lr) - 2 * k_2 * delta_star
        delta = delta_star + mpmath.mpf(x) * (delta_0 - delta_star)
        expected = delta / (k_0 + k_1 * delta + k_2 * delta**2) / lr

    assert warmup_factor(x, ratio=ratio, div=div) == pytest.approx(float(expected), rel=1e-12)


def test_the_published_constants_give_the_same_factor():
    """Muon at lr 1e-3, loss0 10.95, f* 3.2 and div 100; four digits each, some of which cancel."""
    k_0, k_1, k_2, lr = 1.716e5, -1.369e5, 2.772e4, 1e-3
    delta_0 = 10.95 - 3.2
    ratio = math.sqrt(k_0 / k_2) / delta_0

    for delta in (7.75, 6.0, 4.0):
        x = (delta / delta_0 - ratio) / (1 - ratio)
        published = delta / (k_0 + k_1 * delta + k_2 * delta**2) / lr
        assert warmup_factor(x, ratio=ratio, div=100) == pytest.approx(published, rel=1e-2)


# adaptive-warmup.md 2.7: fraction of the peak by loss; the initial loss is 10.95.
OPERATING_POINTS = [
    (3.2, 2.49, 100, {10.0: 0.013, 8.0: 0.031, 7.0: 0.074, 6.5: 0.153, 6.0: 0.51}),
    (3.5, 0.382, 100, {6.0: 0.036, 5.0: 0.075, 4.5: 0.15, 4.3: 0.24, 4.1: 0.46, 4.0: 0.71}),
    (4.3, 2.22, 5, {10.0: 0.26, 9.0: 0.36, 8.0: 0.55, 7.0: 0.90}),
    (4.2, 3.44, 2, {10.0: 0.63, 8.0: 0.98}),
]


@pytest.mark.parametrize(("f_star", "delta_star", "div", "points"), OPERATING_POINTS)
def test_published_operating_points(f_star, delta_star, div, points):
    plan = AdaptiveWarmupPlan(f_star=f_star, delta_ratio=delta_star / (10.95 - f_star), div=div)
    end_loss, ratio = plan.target(10.95)

    found = {loss: plan.factor((loss - end_loss) / (10.95 - end_loss), ratio=ratio) for loss in points}

    # two digits, of which the last may be off by one: the initial loss behind them is known to 0.05
    assert found == {loss: pytest.approx(value, rel=0.06) for loss, value in points.items()}


@pytest.mark.parametrize(
    ("f_star", "expected"),
    [(0, 3.60), (1, 4.25), (2, 4.91), (3, 5.57), (3.2, 5.69), (3.4, 5.82), (3.6, 5.96), (4, 6.20), (5, 6.84)],
)
def test_published_end_losses_of_the_f_star_ablation(f_star, expected):
    """adaptive-warmup.md 5.3, Muon; kappa is that of its 12 layers with the embedding."""
    plan = AdaptiveWarmupPlan(f_star=f_star, delta_ratio="auto", dual_norm_ratio=46_848)

    end_loss, _ = plan.target(10.95)

    assert end_loss == pytest.approx(expected, abs=0.02)  # the study's grid has steps of up to 0.022


def test_end_loss_alone_fixes_f_star_and_the_gap():
    """f* = (end_loss - r loss0) / (1 - r): the same curve as from f* and r."""
    loss0, end_loss, ratio = 10.0, 5.0, 0.25
    by_end = AdaptiveWarmupPlan(end_loss=end_loss, delta_ratio=ratio)
    by_f_star = AdaptiveWarmupPlan(f_star=(end_loss - ratio * loss0) / (1 - ratio), delta_ratio=ratio)

    assert by_end.target(loss0) == (5.0, 0.25)
    assert by_f_star.target(loss0) == pytest.approx((5.0, 0.25), rel=1e-15)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"f_star": 3.0, "delta_ratio": "muon"}, (3.0 + 0.32 * 8, 0.32)),
        ({"f_star": 3.0, "delta_ratio": "lion"}, (3.0 + 0.05 * 8, 0.05)),
        ({"f_star": 3.0, "delta_ratio": "norm", "div": 5}, (3.0 + 0.33 * 8, 0.33)),
        ({"f_star": 3.0, "delta_ratio": "norm", "div": 2}, (3.0 + 0.51 * 8, 0.51)),
        ({"f_star": 3.0, "delta_ratio": 0.5}, (7.0, 0.5)),
        ({"end_loss": 6.0}, (6.0, 0.32)),
        ({"end_loss": 6.0, "delta_ratio": "lion"}, (6.0, 0.05)),
        ({"end_loss": 11.0}, None),
        ({"end_loss": 12.0}, None),
        ({"f_star": 11.0, "delta_ratio": "muon"}, None),
    ],
)
def test_the_target_at_an_initial_loss_of_11(fields, expected):
    target = AdaptiveWarmupPlan(**fields).target(11.0)

    assert target == (expected and pytest.approx(expected, rel=1e-14))


def test_factors_stay_between_1_over_div_and_1():
    plan = AdaptiveWarmupPlan(end_loss=4.0, div=50.0)

    assert plan.factor(3.0, ratio=0.3) == 1 / 50
    assert plan.factor(0.0, ratio=0.3) == 1.0


def test_a_linear_shape_is_a_straight_line_in_the_loss():
    plan = AdaptiveWarmupPlan(end_loss=4.0, div=10.0, shape="linear")

    assert [plan.factor(x, ratio=0.3) for x in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


# T = 100, warm-up over after 20 updates, floor 0.1; by hand.
@pytest.mark.parametrize(
    ("decay", "points"),
    [
        ("cosine", {20: 1.0, 60: 0.55, 80: 0.55 - 0.45 * math.sqrt(0.5), 100: 0.1, 1000: 0.1}),
        ("linear", {20: 1.0, 40: 0.775, 60: 0.55, 100: 0.1, 1000: 0.1}),
        ("wsd", {20: 1.0, 75: 1.0, 76: 1 - 0.9 / 25, 90: 0.46, 100: 0.1, 1000: 0.1}),
        ("constant", {20: 1.0, 99: 1.0, 100: 1.0, 1000: 1.0}),
    ],
)
def test_decays_by_hand(decay, points):
    plan = AdaptiveWarmupPlan(end_loss=4.0, decay=decay, decay_frac=0.25, final=0.1)

    found = {k: plan.decay_factor(k, handover=20, total_steps=100) for k in points}

    assert found == pytest.approx(points, rel=1e-14)


def test_the_cool_down_of_wsd_starts_at_the_same_update_wherever_the_warm_up_ended():
    plan = AdaptiveWarmupPlan(end_loss=4.0, decay="wsd", decay_frac=0.1)

    starts = {
        h: next(k for k in range(h, 1001) if plan.decay_factor(k, handover=h, total_steps=1000) < 1) - 1
        for h in (0, 100, 600, 900, 950)
    }

    assert starts == {0: 900, 100: 900, 600: 900, 900: 900, 950: 950}


@pytest.mark.parametrize("decay", ["cosine", "linear", "wsd"])
def test_a_decay_is_that_of_a_manual_warm_up_of_the_same_length_and_floor(decay):
    """So a comparison of warm-ups compares nothing else."""
    plan = AdaptiveWarmupPlan(end_loss=4.0, decay=decay, decay_frac=0.2, final=0.05)
    manual = {
        "cosine": Cosine(total_steps=500, warmup_steps=70, final=0.05),
        "linear": Linear(total_steps=500, warmup_steps=70, final=0.05),
        "wsd": WarmupStableDecay(total_steps=500, warmup_steps=70, decay_steps=100, final=0.05),
    }[decay]

    assert [plan.decay_factor(k, handover=70, total_steps=500) for k in range(70, 510)] == [
        manual(k + 1) for k in range(70, 510)
    ]


@pytest.mark.parametrize("handover", [98, 99])
@pytest.mark.parametrize("decay", ["cosine", "linear", "wsd", "constant"])
def test_a_hand_over_on_the_last_updates_is_allowed(decay, handover):
    plan = AdaptiveWarmupPlan(end_loss=4.0, decay=decay)

    assert plan.decay_factor(handover, handover=handover, total_steps=100) == 1.0


def test_the_paper_s_preset_has_no_safeguards_and_the_robust_one_has_all():
    paper = AdaptiveWarmupPlan.preset("paper", f_star=3.5)
    robust = AdaptiveWarmupPlan.preset("robust", end_loss=4.0)

    assert (paper.ema_halflife, paper.patience, paper.ratchet, paper.handover_ramp) == (0, 1, False, 0)
    assert (paper.max_warmup_frac, paper.delta_ratio) == (1, "lion")
    assert paper.target(11.0) == pytest.approx((3.5 + 0.05 * 7.5, 0.05))
    assert 20 <= robust.ema_halflife <= 50
    assert (robust.patience, robust.ratchet, robust.max_warmup_frac) == (3, True, 0.25)
    assert robust.handover_ramp == robust.ema_halflife
    assert robust == AdaptiveWarmupPlan(end_loss=4.0)
    assert AdaptiveWarmupPlan.preset("paper", f_star=3.5, patience=4).patience == 4


PLAN = AdaptiveWarmupPlan(
    f_star=3.0, delta_ratio="auto", dual_norm_ratio=100.0, loss0=11.0, decay="wsd", final=0.1, div=5.0
)


def test_a_plan_survives_a_dict_json_and_pickling():
    data = to_dict(PLAN)

    assert next(iter(data)) == "kind"
    assert data["kind"] == "adaptive_warmup"
    assert set(data) == {"kind", *(f.name for f in dataclasses.fields(PLAN))}
    assert from_dict(Schedule | AdaptiveWarmupPlan, json.loads(json.dumps(data))) == PLAN
    assert pickle.loads(pickle.dumps(PLAN)) == PLAN


def test_a_plan_is_no_schedule():
    """It is no function of t, so no slot of an optimizer takes it."""
    assert not isinstance(PLAN, Schedule)
    with pytest.raises(TypeError, match="must be a Schedule"):
        from_dict(float | Schedule, to_dict(PLAN))
    with pytest.raises(TypeError, match="must be a Schedule"):
        Schedule.from_dict(to_dict(PLAN))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "cosine", "total_steps": 10, "finall": 1}, r"unknown key 'finall'\. Did you mean 'final'"),
        ({"kind": "adaptive_warmup", "end_los": 4.0}, r"unknown key 'end_los'\. Did you mean 'end_loss'"),
        ({"kind": "cosines"}, r"unknown schedule 'cosines'\. Did you mean 'cosine'"),
    ],
)
def test_a_typo_is_answered_for_the_kind_that_was_meant(data, message):
    with pytest.raises((TypeError, ValueError), match=message):
        from_dict(Schedule | AdaptiveWarmupPlan, data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"give end_loss .* or f_star with delta_ratio, got neither\."),
        ({"end_loss": 4.0, "f_star": 3.0}, r"got end_loss and f_star\."),
        ({"f_star": 3.0}, r"delta_ratio must be given with f_star, got None\. 0\.32 fits Muon, 0\.05 Lion\."),
        ({"end_loss": math.nan}, "end_loss must be a finite loss, got nan"),
        ({"f_star": math.inf, "delta_ratio": 0.3}, "f_star must be a finite loss, got inf"),
        ({"end_loss": 4.0, "loss0": math.nan}, "loss0 must be a finite loss, got nan"),
        ({"end_loss": 4.0, "delta_ratio": 1.0}, r"delta_ratio must lie in \(0, 1\), got 1\.0"),
        (
            {"end_loss": 4.0, "delta_ratio": "adam"},
            "delta_ratio must be muon, lion, norm, auto or a number, got 'adam'",
        ),
        ({"end_loss": 4.0, "delta_ratio": "norm"}, r"div must be 5 or 2 for delta_ratio 'norm', got 100\.0\. Give a"),
        (
            {"end_loss": 4.0, "delta_ratio": "auto", "dual_norm_ratio": 9.0},
            "delta_ratio must be a number or a name with end_loss",
        ),
        (
            {"f_star": 3.0, "delta_ratio": "auto"},
            "dual_norm_ratio must be given if delta_ratio is 'auto' and only then, got None",
        ),
        (
            {"end_loss": 4.0, "dual_norm_ratio": 9.0},
            r"dual_norm_ratio must be given if delta_ratio is 'auto' and only then, got 9\.0",
        ),
        ({"f_star": 3.0, "delta_ratio": "auto", "dual_norm_ratio": -1.0}, r"dual_norm_ratio must be > 0, got -1\.0"),
        ({"end_loss": 4.0, "sigma_f": 0.0}, r"sigma_f must be > 0, got 0\.0"),
        ({"end_loss": 4.0, "div": 1.0}, r"div must be > 1, got 1\.0\. It is peak over initial learning rate"),
        ({"end_loss": 4.0, "shape": "round"}, "shape must be 'smoothness' or 'linear', got 'round'"),
        ({"end_loss": 4.0, "loss0_window": 0}, "loss0_window must be >= 1 loss, got 0"),
        ({"end_loss": 4.0, "loss0": 9.0, "loss0_window": 2}, r"loss0_window must be 1 with loss0 = 9\.0, got 2"),
        ({"end_loss": 4.0, "ema_halflife": -1.0}, r"ema_halflife must be >= 0 updates, got -1\.0"),
        ({"end_loss": 4.0, "patience": 0}, "patience must be >= 1 loss, got 0"),
        ({"end_loss": 4.0, "max_warmup_frac": 0.0}, r"max_warmup_frac must lie in \(0, 1\], got 0\.0"),
        ({"end_loss": 4.0, "handover_ramp": -1}, "handover_ramp must be >= 0 updates, got -1"),
        ({"end_loss": 4.0, "decay": "cubic"}, "decay must be one of cosine, linear, wsd, constant, got 'cubic'"),
        ({"end_loss": 4.0, "decay_frac": 0.0}, r"decay_frac must lie in \(0, 1\], got 0\.0"),
        ({"end_loss": 4.0, "final": 2.0}, r"final must lie in \[0, 1\], got 2\.0"),
    ],
)
def test_values_out_of_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveWarmupPlan(**fields)


def test_auto_uses_the_dual_norm_ratio_and_the_scale_of_the_noise():
    """Only their product counts, and it moves the end of the warm-up."""
    small = AdaptiveWarmupPlan(f_star=3.2, delta_ratio="auto", dual_norm_ratio=46_848, sigma_f=1e-4)
    same = AdaptiveWarmupPlan(f_star=3.2, delta_ratio="auto", dual_norm_ratio=4_684.8, sigma_f=1e-3)
    usual = AdaptiveWarmupPlan(
        f_star=3.2, delta_ratio="auto", dual_norm_ratio=dual_norm_ratio({"spectral": [(46_848, 50_000)]})
    )

    assert small.target(10.95) == pytest.approx(same.target(10.95), rel=1e-6)
    assert usual.target(10.95)[1] > 4 * small.target(10.95)[1]  # the jump of adaptive-warmup.md 6.2
