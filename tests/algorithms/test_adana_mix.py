import pytest
import torch
from contract.runs import make_params, run

from logclock import ADANA, AdamW, AdEMAMix, log_time_decay, log_time_ema, matrix_param_groups
from logclock.algorithms import AdanaMixSpec
from logclock.optim import ADANAMix
from logclock.recipes import get_variant
from logclock.schedules import LinearRamp


def test_one_update_by_hand():
    # m = 2 + 0.5 (4 - 2) = 3, v = 0.25 * 16 = 4, n = 8 + 0.25 (4 - 8) = 7; gain 6 (1 - 1 + 0.5) = 3:
    # (2 * 3 + 3 * 7) / (2 * 1.5 + 1)
    grad, fast, square, long = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 2.0, 0.0, 8.0))
    scalars = {"ema1": 0.5, "ema2": 0.25, "ema_long": 0.25, "gain": 6.0, "cooldown": 1.0, "lr_multiplier": 0.5}
    scalars |= {"correction1": 2.0, "correction2": 1.5, "eps": 1.0}
    (direction,) = AdanaMixSpec.direction

    assert [x.item() for x in direction(grad, fast, square, long, **scalars)] == [6.75, 3.0, 4.0, 7.0]


@pytest.mark.parametrize(
    ("settings", "t", "gain"),
    [
        ({"kappa": 0.5, "delta": 8.0}, 8, 2.0),  # (8 + 8) / 8, below 9^0.5 = 3
        ({"kappa": 0.5, "delta": 2.0}, 8, 3.0),  # 9^0.5, below (2 + 8) / 2 = 5
        ({"kappa": 0.5, "delta": 2.0, "gain_factor": 0.5}, 8, 1.5),
        ({"kappa": 0.5, "delta": 2.0, "gain_factor": 4.0}, 8, 5.0),
        ({"gain_factor": 0.0}, 1000, 0.0),
        ({"gain": 100.0, "gain_factor": 0.0}, 1, 100.0),  # as it stands
    ],
)
def test_the_gain_is_adanas_times_a_factor_below_what_counts_every_gradient_alike(settings, t, gain):
    assert AdanaMixSpec(**settings).scalars(t)["gain"] == pytest.approx(gain, rel=1e-15)


def test_at_the_cap_the_long_term_weighs_each_of_the_gradients_since_the_first_about_alike():
    spec = AdanaMixSpec(delta=1.0, gain_factor=1e9)
    average, weights = 0.0, []
    for s in range(1, 6):  # with delta 1 the weight 1 / (1 + t) makes n the plain mean of t gradients and a zero
        average = 0.0
        for t in range(1, 6):
            average += spec.scalars(t)["ema_long"] * ((t == s) - average)
        weights.append(spec.scalars(5)["gain"] * average)

    assert weights == pytest.approx([1.0] * 5, rel=1e-14)


# What it is with other values: its settings, the other class, and that one's settings.
LOG_TIME = {"ema2": log_time_ema(6.0), "bias_correction": False}
TWINS = {
    "AdamW without the long average": ({"gain_factor": 0.0, "decay_coupling": "coupled"}, AdamW, {}),
    "AdamW with another memory": ({"gain": 0.0, "betas": (0.7, 0.95)}, AdamW, {"betas": (0.7, 0.95)}),
    "ADANA without the fast average": (
        {"ema1": 1.0, "kappa": 0.85, "delta": 6.0, **LOG_TIME},
        ADANA,
        {"kappa": 0.85, "delta": 6.0},
    ),
    "AdEMAMix with a constant memory": (
        {"ema_long": 0.01, "gain": LinearRamp(start=0.0, end=3.0, steps=20)},
        AdEMAMix,
        {"ema_slow": 0.01, "gain": LinearRamp(start=0.0, end=3.0, steps=20)},
    ),
    "log-time AdEMAMix": (
        {"delta": 6.0, "gain": 2.0},
        AdEMAMix,
        {"ema_slow": log_time_ema(6.0), "gain": 2.0},
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_it_contains(name):
    settings, other, other_settings = TWINS[name]
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    shared = {"lr": 1e-2, "weight_decay": log_time_decay(0.5, offset=4.0), "decay_coupling": "independent", "eps": 1e-8}

    run(ADANAMix(ours, **shared | settings), ours, range(40))
    coupling = {key: settings[key] for key in ("decay_coupling",) if key in settings}
    run(other(theirs, **shared | other_settings | coupling), theirs, range(40))

    for one, twin in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, twin, rtol=1e-13, atol=1e-14)  # float64 rounding of 40 updates


def test_with_a_cooldown_the_gain_ends_as_the_learning_rate_does():
    one, other = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    schedule = LinearRamp(start=1.0, end=0.0, steps=20)

    run(ADANAMix(one, gain_cooldown=True, gain=3.0, lr_schedule=schedule), one, range(20))
    run(ADANAMix(other, gain=LinearRamp(start=3.0, end=0.0, steps=20), lr_schedule=schedule), other, range(20))

    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)


def test_the_cooldown_follows_a_rate_that_is_set_from_outside():
    # the peak of the group is 1e-2; at half of it the gain is half of 4
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    cooled, plain = ADANAMix(ours, lr=1e-2, gain_cooldown=True, gain=4.0), ADANAMix(theirs, lr=1e-2, gain=2.0)
    for optimizer in (cooled, plain):
        optimizer.param_groups[0]["lr"] = 5e-3

    run(cooled, ours, range(5))
    run(plain, theirs, range(5))

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)


def test_a_class_of_parameters_may_have_a_gain_of_its_own():
    model = torch.nn.Sequential(
        torch.nn.Embedding(8, 4), torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 8, bias=False)
    )
    groups = matrix_param_groups(model, matrices={"gain_factor": 4.0}, rest={})

    optimizer = ADANAMix(groups, kappa=0.5, delta=1.0)

    # t = 8: 9^0.5 = 3 for the rest, and 4 times that is above the cap (1 + 8) / 1
    gains = {g["param_names"][0]: optimizer.spec(g).scalars(8)["gain"] for g in optimizer.param_groups}
    assert gains == {"1.weight": 9.0, "2.weight": 3.0, "0.weight": 3.0}


@pytest.mark.parametrize(("steps", "memory"), [(40, 1.0), (220, 4.4), (500, 10.0), (9000, 10.0)])
def test_in_recipes_the_fast_average_remembers_a_fiftieth_of_the_run(steps, memory):
    assert get_variant("adana-mix").build(steps, lr=1e-3).hidden.ema1 == pytest.approx(1 / memory)
