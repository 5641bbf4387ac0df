"""What must hold for every optimizer, or for two that are one with other values?"""

import pytest
import torch
from contract.cases import CASES
from contract.runs import assert_bitwise, make_params, run

from logclock import ADANA, AdamW, AdEMAMix, LaProp, Lion, NAdamW, Signum
from logclock.schedules import Constant, PowerGrowth, log_time_ema

SIGNS = ["lion", "signum"]
RATIOS = ["adamw", "nadamw", "ademamix", "laprop", "adana", "dana-mk4", "dana-star", "dana-star-mk4"]


def test_from_a_fresh_state_zero_gradients_change_nothing_but_the_decay(case):
    params = case.params(dtype=torch.float64)
    before = [p.detach().clone() for p in params]
    optimizer = case.build(params, lr=0.5, weight_decay=Constant(value=0.25), **case.settings)

    run(optimizer, params, range(3), scale=0.0)

    removed = 0.5 * 0.25 if case.coupled else 0.25
    spec = optimizer.spec(optimizer.param_groups[0])
    num_updates = sum(spec.makes_update(t) for t in (1, 2, 3))
    for param, first in zip(params, before, strict=True):
        left = 1 - removed * case.decay_at_rest(first.shape)
        torch.testing.assert_close(param.detach(), first * left**num_updates, rtol=1e-14, atol=0)
    # what is decomposed from averages, a basis or a root, is whole on its owner and no average itself
    states = spec.rule.states.items()
    sums = [k for k, s in states if s.init == "zeros" and (s.weight or s.place == "shard") and k not in case.drifts]
    assert all((optimizer.state[p][name] == 0).all() for p in params for name in sums)


@pytest.mark.parametrize("name", RATIOS + SIGNS)
def test_the_size_of_the_gradient_does_not_matter(name):
    """A power of 2 scales averages and roots without rounding; eps would break it and is 0."""
    case, results = CASES[name], []
    no_eps = {"eps": 0.0} if name in RATIOS else {}
    for scale in (1.0, 2.0**-12):
        params = make_params(dtype=torch.float64)
        run(case.build(params, lr=1e-2, **case.settings | no_eps), params, range(20), scale)
        results.append(params)

    assert_bitwise(*results)


@pytest.mark.parametrize("name", SIGNS)
def test_a_sign_moves_every_coordinate_by_the_learning_rate(name):
    params = make_params(dtype=torch.float64)
    before = [p.detach().clone() for p in params]

    run(CASES[name].build(params, lr=0.125, **CASES[name].settings), params, range(1))

    for param, first in zip(params, before, strict=True):
        torch.testing.assert_close((param.detach() - first).abs(), torch.full_like(first, 0.125))


# Two optimizers that are one: class, settings, the other class, its settings, tolerance (None: bitwise).
E1, NO_BIAS = 0.05, {"bias_correction": False}
TWINS = {
    "AdEMAMix with gain 0 is AdamW": (AdEMAMix, {"gain": 0.0, "eps": 1e-8}, AdamW, {}, 1e-12),
    "AdEMAMix with two equal averages is AdamW with another rate": (
        AdEMAMix,
        {"lr": 1e-3, "gain": 4.0, "ema_slow": 0.1, **NO_BIAS, "weight_decay": 0.5},
        AdamW,
        {"lr": 5e-3, "weight_decay": 0.1, **NO_BIAS},
        1e-12,
    ),
    "AdEMAMix with the gradient in place of its fast average is ADANA": (
        AdEMAMix,
        {
            "ema1": 1.0,
            "ema2": log_time_ema(6.0),
            "ema_slow": log_time_ema(6.0),
            "gain": PowerGrowth(kappa=0.8),
            "decay_coupling": "independent",
            **NO_BIAS,
        },
        ADANA,
        {"kappa": 0.8, "delta": 6.0},
        1e-12,
    ),
    "AdEMAMix takes a constant schedule for a number": (
        AdEMAMix,
        {"gain": Constant(value=3.0), "ema_slow": Constant(value=0.01)},
        AdEMAMix,
        {"gain": 3.0, "ema_slow": 0.01},
        None,
    ),
    "NAdamW without momentum is AdamW without it": (NAdamW, {"ema1": 1.0}, AdamW, {"ema1": 1.0}, 1e-12),
    "LaProp without momentum is AdamW without it": (
        LaProp,
        {"ema1": 1.0, "eps": 1e-8},
        AdamW,
        {"ema1": 1.0},
        1e-12,
    ),
    "Lion with equal averages is Signum": (Lion, {"ema1": E1, "ema2": E1}, Signum, {"ema1": E1}, None),
    "Lion with a log-time average is Signum with it": (
        Lion,
        {"ema1": log_time_ema(), "ema2": log_time_ema()},
        Signum,
        {"ema1": log_time_ema()},
        None,
    ),
    "Nesterov's Signum counts the gradient as Lion does with 1 - (1 - ema1)^2": (
        Signum,
        {"ema1": E1, "nesterov": True},
        Lion,
        {"ema1": E1 * (2 - E1), "ema2": E1},
        1e-12,
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_one_optimizer_is_another_with_other_values(name):
    one, settings, other, other_settings, tolerance = TWINS[name]
    shared = {"lr": 1e-2, "weight_decay": Constant(value=0.1)}
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)

    run(one(ours, **shared | settings), ours, range(40))
    run(other(theirs, **shared | other_settings), theirs, range(40))

    if tolerance is None:
        assert_bitwise(ours, theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance or 0, atol=tolerance or 0)
