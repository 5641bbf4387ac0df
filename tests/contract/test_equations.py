"""Is every optimizer the one its paper defines?"""

import numpy as np
import pytest
import torch
from contract.cases import CASES, WEIGHT_DECAY
from contract.runs import make_params, run, set_grads
from reference.adana import adana as adana_reference
from reference.schedules import cooled_weight, newest_weight

from logclock import ADANA, AdamW, DanaMK4, DanaStarMK4, log_time_decay
from logclock.optim import SGD
from logclock.rules import Spec
from logclock.schedules import Cosine, MemoryCooldown, log_time_ema

PEAK = 1e-2
TOTAL_STEPS = 40


def test_every_optimizer_has_a_case():
    assert sorted(CASES) == sorted(Spec.family)


def test_equals_the_reference_under_running_schedules(case):
    params = case.params(dtype=torch.float64, determined=True)
    start = [p.detach().clone() for p in params]
    schedule = Cosine(total_steps=TOTAL_STEPS, warmup_steps=5, warmup_start=0.01, final=0.1)
    optimizer = case.build(params, lr=PEAK, weight_decay=WEIGHT_DECAY, **case.settings)
    grads = [[] for _ in params]

    for step in range(1, TOTAL_STEPS + 1):
        set_grads(params, step, scale=0.1 + 1 / step)
        for history, param in zip(grads, params, strict=True):
            history.append(param.grad.numpy().copy())
        optimizer.param_groups[0]["lr"] = PEAK * schedule(step)
        optimizer.step()

    def lr(t):
        return PEAK * schedule(t)

    def decay(t):
        return (lr(t) if case.coupled else schedule(t)) * 0.5 / (4.0 + t)

    arrays = [first.numpy() for first in start]
    if case.is_joint:
        references = case.reference(arrays, grads, lr=lr, decay=decay)
    else:
        pairs = enumerate(zip(arrays, grads, strict=True))
        references = [case.reference(*pair, lr=lr, decay=decay, **case.placed(i)) for i, pair in pairs]
    for param, expected in zip(params, references, strict=True):
        ours = {"param": param.detach()} | {k: v for k, v in optimizer.state[param].items() if k != "step"}
        for (name, mine), reference in zip(ours.items(), expected, strict=True):
            pair = (mine.numpy(), reference)
            pair = tuple(map(np.abs, pair)) if name in case.free_signs else pair
            # float64 rounding of 40 updates in another order of operations
            np.testing.assert_allclose(*pair, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_adamw_equals_torch(dtype, tolerance):
    ours, theirs = make_params(dtype=dtype), make_params(dtype=dtype)
    settings = {"lr": 3e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}

    run(AdamW(ours, **settings), ours, range(100))
    run(torch.optim.AdamW(theirs, **settings), theirs, range(100))

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_adamw_defaults_are_those_of_torch():
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)

    run(AdamW(ours), ours, range(20))
    run(torch.optim.AdamW(theirs), theirs, range(20))

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
def test_sgd_equals_torch(settings):
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)

    run(SGD(ours, lr=0.1, **settings), ours, range(30))
    run(torch.optim.SGD(theirs, lr=0.1, **settings), theirs, range(30))

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_dana_mk4_without_clip_is_adana_with_the_plus_one():
    one, other = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    shared = {"lr": 1e-2, "kappa": 0.8, "weight_decay": WEIGHT_DECAY, "decay_order": "after"}

    run(DanaMK4(one, clip_snr=None, **shared), one, range(50))
    run(ADANA(other, gain_offset=1.0, **shared), other, range(50))

    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_dana_mk4_without_the_plus_one_and_clip_is_the_papers_adana():
    one, other = make_params(dtype=torch.float64), make_params(dtype=torch.float64)

    run(DanaMK4(one, clip_snr=None, gain_offset=0.0, decay_order="before"), one, range(50))
    run(ADANA(other), other, range(50))

    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_adana_with_a_momentum_cooldown_equals_the_reference_with_the_same_weights():
    params = make_params(dtype=torch.float64)
    start = [p.detach().clone() for p in params]
    cooldown = MemoryCooldown(base=log_time_ema(6.0), total_steps=TOTAL_STEPS, fraction=0.25, final=0.1)
    optimizer = ADANA(params, lr=PEAK, kappa=0.8, delta=6.0, ema1=cooldown)
    grads = [[] for _ in params]

    for step in range(1, TOTAL_STEPS + 11):  # ten updates more than planned: the memory stays where it is, relatively
        set_grads(params, step)
        for history, param in zip(grads, params, strict=True):
            history.append(param.grad.numpy().copy())
        optimizer.step()

    def weight(t):
        return cooled_weight(t, newest_weight(t, 6.0), total=TOTAL_STEPS, start=30, left=0.1)

    for param, first, history in zip(params, start, grads, strict=True):
        settings = {
            "lr": lambda t: PEAK,
            "decay": lambda t: 0.0,
            "kappa": 0.8,
            "delta": 6.0,
            "plus_one": 0,
            "eps": 1e-8,
        }
        theta, m, v = adana_reference(first.numpy(), history, momentum_weight=weight, **settings)
        plain, *_ = adana_reference(first.numpy(), history, **settings)
        assert np.abs(plain - theta).max() > 1e-3  # the cooldown matters here
        for mine, expected in zip(
            (param.detach(), *list(optimizer.state[param].values())[1:]), (theta, m, v), strict=True
        ):
            # float64 rounding of 50 updates in another order of operations
            np.testing.assert_allclose(mine.numpy(), expected, rtol=1e-12, atol=1e-13)


def test_a_small_clip_bounds_the_amplified_momentum():
    params = make_params(dtype=torch.float64)
    start = [p.detach().clone() for p in params]
    optimizer = DanaMK4(params, lr=1.0, clip_snr=1e-3, gain_offset=0.0)

    run(optimizer, params, range(1))

    # first update: |g| / sqrt(v) = sqrt(9/8), plus at most the clip
    for param, first in zip(params, start, strict=True):
        assert ((param - first).abs() <= (9 / 8) ** 0.5 + 1e-3 + 1e-6).all()
        assert ((param - first).abs() >= (9 / 8) ** 0.5 - 1e-6).all()


def test_adana_with_constant_averages_and_no_gain_is_rmsprop():
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)

    run(ADANA(ours, lr=1e-3, ema2=0.1, gain=0.0), ours, range(30))
    run(torch.optim.RMSprop(theirs, lr=1e-3, alpha=0.9), theirs, range(30))

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_adana_converges_on_a_quadratic_with_gradients_that_are_often_zero():
    """The rows that are active once in 20 steps must not blow up under Dana-Star-MK4."""
    target = torch.ones(40, dtype=torch.float64)
    param = torch.nn.Parameter(torch.zeros(40, dtype=torch.float64))
    optimizer = DanaStarMK4([param], lr=3e-3)
    generator = torch.Generator().manual_seed(0)

    for _ in range(4000):
        active = torch.rand(40, generator=generator) < torch.linspace(0.05, 1, 40)
        param.grad = (param.detach() - target) * active
        optimizer.step()

    assert (param.detach() - target).abs().max() < 0.1


def descended(case, start, loss, steps, *, lr):
    """Return the loss at the end of a run of `steps` updates under a cosine, from a point in the plane."""
    param = torch.nn.Parameter(start.double().reshape(1, 2) if case.matrices_only else start.double())
    schedule = Cosine(total_steps=steps)
    optimizer = case.build([param], lr=lr, weight_decay=0.0, **case.settings)

    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss(param.flatten()).backward()
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["peak_lr"] * schedule(step)
        optimizer.step()

    return loss(param.flatten()).item()


def test_descends_a_parabola(case):
    start, scales = torch.tensor([3.0, -2.0]), torch.tensor([1.0, 10.0])

    assert descended(case, start, lambda x: (x**2 * scales).sum(), 1200, lr=case.descent_lr) < 0.1


@pytest.mark.slow
def test_descends_the_valley_of_rosenbrock(case):
    if case.runs_away:
        pytest.skip("steps that grow faster than gradients leave the valley over its walls")
    if case.only_falls:
        pytest.skip(
            "without momentum and at rates that only fall, a curved valley takes more updates than this test has"
        )
    start = torch.tensor([-1.0, 1.5])

    lr = case.valley_lr or case.descent_lr
    assert descended(case, start, lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2, 2500, lr=lr) < 0.1


def test_the_gain_is_a_value_of_one_optimizer():
    paper = ADANA(make_params()).spec(ADANA(make_params()).param_groups[0])
    released = ADANA(make_params(), gain_offset=1.0)

    # specs/adana.md 1.2: 3.98 against 4.98 at t = 1e4
    assert paper.scalars(10_000)["gain"] == pytest.approx(3.98, abs=5e-3)
    assert released.spec(released.param_groups[0]).scalars(10_000)["gain"] == pytest.approx(4.98, abs=5e-3)


def test_the_studys_adamw_decay_is_a_value_of_one_rule():
    """Independent decay omega / T after the update: 1 - prod(1 - s omega / T) of a weight without gradient is gone."""
    total = 1000
    param = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = AdamW([param], lr=1e-3, weight_decay=4.0 / total, decay_coupling="independent", decay_order="after")
    schedule = Cosine(total_steps=total, warmup_steps=total // 50, warmup_start=0.01, final=0.1)

    for step in range(1, total + 1):
        param.grad = torch.zeros(1, dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = 1e-3 * schedule(step)
        optimizer.step()

    # specs/adana.md 2.3: the exponent sums to 2.20
    assert -np.log(param.item()) == pytest.approx(2.20, abs=0.01)


def test_the_log_time_decay_removes_three_times_as_much():
    total = 1000
    param = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = ADANA([param], lr=1e-3, weight_decay=log_time_decay(4.0, offset=total / 10))
    schedule = Cosine(total_steps=total, warmup_steps=total // 50, warmup_start=0.01, final=0.1)

    for step in range(1, total + 1):
        param.grad = torch.zeros(1, dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = 1e-3 * schedule(step)
        optimizer.step()

    # specs/adana.md 2.3: sum of s(t) lambda(t) is 6.84; a product of (1 - x) removes slightly more
    assert -np.log(param.item()) == pytest.approx(6.84, abs=0.1)
