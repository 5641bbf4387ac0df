"""Do apply stages and wrappers do what their equations say, around any direction and on any backend?"""

import functools

import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise, make_params, run, set_grads
from reference import options as reference

from logclock import ADANA, SGD, AdamW, Lion, Muon
from logclock.schedules import Cosine, LinearRamp, log_time_decay

PEAK, STEPS = 0.05, 14
SHAPES = ((4, 6), (5, 5), (7, 2))
SCHEDULE = Cosine(total_steps=STEPS, warmup_steps=4, warmup_start=0.1, final=0.2)

BASES = {
    "adamw": (AdamW, {"betas": (0.9, 0.98)}, reference.Adamw),
    "adana": (ADANA, {"kappa": 0.8, "delta": 6.0}, reference.Adana),
    "muon": (Muon, {"ema1": 0.1, "iteration_dtype": "float32"}, reference.Muon),
}
RAMP = LinearRamp(start=0.0, end=0.8, steps=10)

# Settings of ours, and of the reference: the apply function, wrappers of the update, and makers from the start.
APPLY = {
    "decay": ({}, {}),
    "cautious_decay": ({"apply": "cautious"}, {"apply": reference.cautious_decay}),
    "huber_decay": (
        {"apply": {"name": "huber_decay", "bound": 0.3}},
        {"apply": functools.partial(reference.huber_decay, bound=0.3)},
    ),
    "trust_ratio": ({"wrappers": ["trust_ratio"]}, {"update": [reference.trust_ratio]}),
    "bounded trust_ratio": (
        {"wrappers": [{"name": "trust_ratio", "largest": 1.5}]},
        {"update": [functools.partial(reference.trust_ratio, largest=1.5)]},
    ),
}
WRAPPERS = {
    "cautious": ({"wrappers": ["cautious"]}, {"update": [reference.cautious]}),
    "grams": ({"wrappers": ["grams"]}, {"update": [reference.grams]}),
    "clip_rms": (
        {"wrappers": [{"name": "clip_rms", "bound": 0.4}]},
        {"update": [functools.partial(reference.clip_rms, bound=0.4)]},
    ),
    "schedule_free": ({"wrappers": ["schedule_free"]}, {"path": reference.ScheduleFree}),
    "ema_nesterov": (
        {"wrappers": [{"name": "ema_nesterov", "memory_weight": 0.1}]},
        {"path": reference.EmaNesterov},
    ),
    "ema_nesterov with a schedule": (
        {"wrappers": [{"name": "ema_nesterov", "memory_weight": 0.25, "lookahead": RAMP.to_dict()}]},
        {"path": lambda theta: reference.EmaNesterov(theta, gamma=0.75, lookahead=lambda t: min(0.8, 0.08 * t))},
    ),
    "two of the update, one of the path, cautious decay": (
        {"wrappers": ["cautious", {"name": "clip_rms", "bound": 0.4}, "schedule_free"], "apply": "cautious_decay"},
        {
            "apply": reference.cautious_decay,
            "update": [reference.cautious, functools.partial(reference.clip_rms, bound=0.4)],
            "path": reference.ScheduleFree,
        },
    ),
    "the same two the other way round": (
        {"wrappers": [{"name": "clip_rms", "bound": 0.4}, "cautious"]},
        {"update": [functools.partial(reference.clip_rms, bound=0.4), reference.cautious]},
    ),
}
UNDECAYED = {
    "hyperball": ({"apply": "hyperball"}, {"apply": lambda theta: reference.hyperball}),
    "cautious hyperball that looks ahead": (
        {"apply": "hyperball", "wrappers": ["cautious", {"name": "ema_nesterov", "memory_weight": 0.1}]},
        {"apply": lambda theta: reference.hyperball, "update": [reference.cautious], "path": reference.EmaNesterov},
    ),
    "initial_decay": ({"apply": "soda"}, {"apply": reference.InitialDecay}),
    "magnitude_direction": (
        {"apply": {"name": "magnitude_direction", "gain_lr": 1e-2}},
        {"apply": reference.MagnitudeDirection},
    ),
    "magnitude_direction under schedule_free": (
        {"apply": {"name": "magnitude_direction", "gain_lr": 1e-2}, "wrappers": ["grams"]},
        {"apply": reference.MagnitudeDirection, "update": [reference.grams]},
    ),
}


def check(base, ours, theirs, backend, *, coupling="coupled", order="before", decays=True):
    build, settings, direction = BASES[base]
    params = make_params(SHAPES, torch.float64)
    start = [p.detach().numpy().copy() for p in params]
    weight_decay = log_time_decay(0.5, offset=4.0) if decays else 0.0
    options = {"weight_decay": weight_decay, "decay_coupling": coupling, "decay_order": order}
    optimizer = build(params, lr=PEAK, backend=backend, **settings, **options, **ours)
    grads = [[] for _ in params]
    for t in range(1, STEPS + 1):
        set_grads(params, t)
        for history, param in zip(grads, params, strict=True):
            history.append(param.grad.numpy().copy())
        optimizer.param_groups[0]["lr"] = PEAK * SCHEDULE(t)
        optimizer.step()

    def fraction(t):
        return (PEAK if coupling == "coupled" else 1.0) * SCHEDULE(t) * (0.5 / (4.0 + t) if decays else 0.0)

    trained = [p.detach().numpy().copy() for p in params]
    with optimizer.evaluated():
        evaluated = [p.detach().numpy().copy() for p in params]
    for i, theta in enumerate(start):
        made = dict(theirs)
        for name in ("path", "apply"):
            if name in made and (name == "path" or not decays):
                made[name] = made[name](theta)
        expected = reference.composed(
            theta,
            grads[i],
            direction=direction(),
            lr=lambda t: PEAK * SCHEDULE(t),
            multiplier=SCHEDULE,
            k=fraction,
            k_per_lr=lambda t: fraction(t) / (PEAK * SCHEDULE(t)),
            is_after=order == "after",
            **made,
        )
        # float64 rounding of 14 updates in another order of operations
        np.testing.assert_allclose(trained[i], expected[0], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(evaluated[i], expected[1], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("backend", ["loop", "foreach"])
@pytest.mark.parametrize(("coupling", "order"), [("coupled", "before"), ("independent", "after")])
@pytest.mark.parametrize("option", APPLY)
@pytest.mark.parametrize("base", BASES)
def test_decay_equals_its_equation(base, option, coupling, order, backend):
    check(base, *APPLY[option], backend, coupling=coupling, order=order)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("coupling", ["coupled", "independent"])
@pytest.mark.parametrize("option", APPLY)
def test_decay_equals_its_equation_under_every_convention(option, coupling, order):
    check("adana", *APPLY[option], "foreach", coupling=coupling, order=order)


@pytest.mark.parametrize("backend", ["loop", "foreach"])
@pytest.mark.parametrize("option", WRAPPERS)
@pytest.mark.parametrize("base", BASES)
def test_a_wrapper_equals_its_equation(base, option, backend):
    check(base, *WRAPPERS[option], backend)


@pytest.mark.parametrize("backend", ["loop", "foreach"])
@pytest.mark.parametrize("option", UNDECAYED)
@pytest.mark.parametrize("base", BASES)
def test_an_apply_stage_that_keeps_norms_equals_its_equation(base, option, backend):
    check(base, *UNDECAYED[option], backend, decays=False)


# ----- identities


def pair(build, ours, theirs, *, lr=0.05, steps=20, dtype=torch.float64):
    one, other = make_params(SHAPES, dtype), make_params(SHAPES, dtype)
    run(build(one, lr=lr, **ours), one, range(steps))
    run(build(other, lr=lr, **theirs), other, range(steps))
    return one, other


@pytest.mark.parametrize(
    "option",
    [
        {"wrappers": [{"name": "clip_rms", "bound": 1e30}]},
        {"wrappers": [{"name": "ema_nesterov", "lookahead": 0.0}]},
        {"apply": {"name": "huber_decay", "bound": 1e30}},
    ],
)
@pytest.mark.parametrize("build", [AdamW, Lion, ADANA])
def test_an_option_at_its_limit_is_none(option, build):
    ours, theirs = pair(build, {"weight_decay": 4e-3, **option}, {"weight_decay": 4e-3})

    if build is Lion:  # the quotient of the others is contracted into the step, or not
        assert_bitwise(ours, theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-14)


def test_cautious_decay_of_a_step_along_the_weights_is_decay():
    results = []
    for apply in ("decay", "cautious_decay"):
        (param,) = make_params(((6, 4),), torch.float64)
        optimizer = SGD([param], lr=0.1, weight_decay=0.5, apply=apply)
        for _ in range(5):
            param.grad = 0.25 * param.detach()
            optimizer.step()
        results.append(param.detach())

    torch.testing.assert_close(*results, rtol=1e-15, atol=0)


def test_cautious_decay_leaves_weights_alone_that_the_step_makes_larger():
    param = torch.nn.Parameter(torch.tensor([2.0, -2.0, 2.0, -2.0, 2.0]))
    param.grad = torch.tensor([1.0, 1.0, -1.0, -1.0, 0.0])
    SGD([param], lr=0.5, weight_decay=0.5, apply="cautious_decay").step()

    # decay is 0.25 of 2, where grad * param >= 0
    assert param.tolist() == [1.0, -2.5, 2.5, -1.0, 1.5]


def test_hyperball_keeps_the_norm_of_every_tensor():
    params = make_params(SHAPES)
    norms = [p.norm().item() for p in params]
    run(AdamW(params, lr=0.3, weight_decay=0.0, apply="hyperball"), params, range(50))

    # a step rounds by half a unit of float32
    assert [p.norm().item() for p in params] == pytest.approx(norms, rel=50 * 6e-8)


@pytest.mark.parametrize("lr", [1e-3, 0.5, 3.0])
def test_hyperball_turns_by_the_arc_tangent_of_the_learning_rate(lr):
    (param,) = make_params(((6, 4),), torch.float64)
    start, grad = param.detach().clone(), torch.randn(6, 4, dtype=torch.float64)
    param.grad = grad - (grad * start).sum() / (start * start).sum() * start
    SGD([param], lr=lr, apply="hyperball").step()

    cosine = (param.detach() * start).sum() / (start.norm() * param.detach().norm())
    assert torch.arccos(cosine).item() == pytest.approx(np.arctan(lr), rel=1e-9)


def test_hyperball_scales_with_the_weights():
    results = []
    for factor in (1.0, 8.0):
        (param,) = make_params(((6, 4),), torch.float64)
        param.data *= factor
        run(AdamW([param], lr=0.1, weight_decay=0.0, apply="hyperball"), [param], range(10))
        results.append(param.detach() / factor)

    assert_bitwise(*[[result] for result in results])  # a power of 2


@pytest.mark.parametrize("apply", ["hyperball", "magnitude_direction"])
def test_a_parameter_that_could_never_leave_zero_is_refused(apply):
    params = [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.zeros(3, 2))]
    optimizer = AdamW(params, weight_decay=0.0, apply=apply)
    for param in params:
        param.grad = torch.ones_like(param)

    with pytest.raises(ValueError, match=rf"apply='{apply}' keeps the norm.*shape \(3, 2\) is all zeros.*small random"):
        optimizer.step()
    assert torch.equal(params[0].detach(), torch.ones(2, 2))
    assert not optimizer.state.get(params[0])


def test_the_gradients_of_the_gains_are_those_of_autograd():
    (param,) = make_params(((5, 3),), torch.float64)
    settings = {"name": "magnitude_direction", "ema1": 1.0, "ema2": 1.0}
    optimizer = SGD([param], lr=0.05, apply=settings)
    run(optimizer, [param], range(3))
    state = optimizer.state[param]
    raw = [state[f"magnitude_direction_{side}_gain"].clone().requires_grad_() for side in ("row", "col")]
    rows, cols = (torch.nn.functional.softplus(x) for x in raw)
    factor = param.detach() / (rows[:, None] * cols[None, :]).detach()
    set_grads([param], 3)
    ((rows[:, None] * factor * cols[None, :]) * param.grad).sum().backward()

    optimizer.step()

    for side, expected in zip(("row", "col"), raw, strict=True):
        got = state[f"magnitude_direction_{side}_avg"]  # with a weight of 1 the average is the latest gradient
        torch.testing.assert_close(got, expected.grad, rtol=1e-12, atol=1e-14)


def test_magnitude_direction_puts_back_what_it_took_apart():
    (param,) = make_params(((5, 3),), torch.float64)
    optimizer = SGD([param], lr=0.05, apply="magnitude_direction")
    optimizer.materialize_state()
    for side in ("row", "col"):
        gain = optimizer.state[param][f"magnitude_direction_{side}_gain"]
        gain.copy_(torch.randn(gain.shape, generator=torch.Generator().manual_seed(1)) * 3)
    before = param.detach().clone()
    param.grad = torch.zeros_like(param)
    optimizer.step()

    torch.testing.assert_close(param.detach(), before, rtol=1e-14, atol=0)


@pytest.mark.parametrize("gain", [-40.0, -10.0, 25.0, 90.0])
def test_gains_far_from_one_stay_finite(gain):
    (param,) = make_params(((5, 3),), torch.float64)
    optimizer = SGD([param], lr=0.05, apply="magnitude_direction")
    optimizer.materialize_state()
    optimizer.state[param]["magnitude_direction_row_gain"].fill_(gain)
    run(optimizer, [param], range(3))

    assert param.isfinite().all()
    assert all(value.isfinite().all() for value in optimizer.state[param].values())


# ----- weights to evaluate


@pytest.mark.parametrize("wrapper", ["schedule_free", "ema_nesterov"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_weights_of_training_come_back_bit_by_bit(wrapper, dtype):
    params = make_params(SHAPES, dtype)
    optimizer = AdamW(params, lr=0.05, wrappers=[wrapper])
    run(optimizer, params, range(5))
    before = [p.detach().clone() for p in params]

    with optimizer.evaluated():
        assert not any(torch.equal(p.detach(), old) for p, old in zip(params, before, strict=True))

    assert_bitwise([p.detach() for p in params], before)


def test_the_weights_of_training_come_back_after_an_error_too():
    params = make_params(SHAPES)
    optimizer = AdamW(params, lr=0.05, wrappers=["schedule_free"])
    run(optimizer, params, range(5))
    before = [p.detach().clone() for p in params]

    with pytest.raises(KeyError), optimizer.evaluated():
        raise KeyError("interrupted")

    assert_bitwise([p.detach() for p in params], before)
    run(optimizer, params, range(5, 6))


def test_a_step_or_a_second_swap_at_the_weights_to_evaluate_raises():
    params = make_params(SHAPES)
    optimizer = AdamW(params, lr=0.05, wrappers=["schedule_free"])
    run(optimizer, params, range(2))
    saved = optimizer.state_dict()

    with optimizer.evaluated():
        set_grads(params, 2)
        with pytest.raises(RuntimeError, match=r"those to evaluate.*optimizer\.train\(\)"):
            optimizer.step()
        with pytest.raises(RuntimeError, match="already"), optimizer.evaluated():
            pass
        with pytest.raises(RuntimeError, match=r"those to evaluate.*state_dict\(\)"):
            optimizer.state_dict()
        with pytest.raises(RuntimeError, match=r"those to evaluate.*load_state_dict\(\)"):
            optimizer.load_state_dict(saved)
    optimizer.step()


def test_without_such_a_wrapper_or_before_the_first_update_nothing_changes():
    for settings in ({}, {"wrappers": ["schedule_free"]}, {"wrappers": ["cautious"]}):
        params = make_params(SHAPES)
        before = [p.detach().clone() for p in params]
        with AdamW(params, **settings).evaluated():
            assert_bitwise([p.detach() for p in params], before)


def test_train_and_eval_are_the_two_halves_and_may_be_repeated():
    params = make_params(SHAPES, torch.float64)
    optimizer = AdamW(params, lr=0.05, wrappers=["schedule_free"])
    run(optimizer, params, range(4))
    with optimizer.evaluated():
        expected = [p.detach().clone() for p in params]
    trained = [p.detach().clone() for p in params]

    optimizer.train()
    optimizer.eval()
    optimizer.eval()
    assert_bitwise([p.detach() for p in params], expected)
    optimizer.train()
    assert_bitwise([p.detach() for p in params], trained)
