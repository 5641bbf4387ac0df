import copy
import io

import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise, make_params, set_grads
from contract.runs import run as take_steps
from contract.test_oracles import require
from reference.prodigy import prodigy as reference

from logclock import Prodigy
from logclock.algorithms import ProdigySpec
from logclock.backends import fused

NO_FUSED = fused.unavailable_reason(torch.device("cpu"))
BACKENDS = [
    "loop",
    "foreach",
    pytest.param("fused", marks=pytest.mark.skipif(NO_FUSED is not None, reason=str(NO_FUSED))),
]
SHAPES = ((5, 3), (4,), (7, 2), (6,))


def distance(optimizer, param):
    return optimizer.state[param]["growth"].item() * optimizer.param_groups[0]["initial_distance"]


def descend(optimizer, params, steps):
    """Take gradients of a parabola around 1, of other curvature in every tensor."""
    for _ in range(steps):
        for k, param in enumerate(params):
            param.grad = (k + 1.0) * (param.detach() - 1)
        optimizer.step()


# Our settings, and theirs.
SETTINGS = [
    ({}, {}),
    ({"weight_decay": 0.1}, {"weight_decay": 0.1}),
    ({"bias_correction": True, "coefficient": 0.5}, {"bias_correction": True, "d_coef": 0.5}),
    ({"growth_rate": 1.3}, {"growth_rate": 1.3}),
    ({"safeguard_warmup": True, "lr": 0.5}, {"safeguard_warmup": True, "lr": 0.5}),
    ({"betas": (0.8, 0.95), "ema3": 0.05}, {"betas": (0.8, 0.95), "beta3": 0.95}),
]


@pytest.mark.parametrize(("settings", "theirs"), SETTINGS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_pytorch_optimizer_over_two_groups(settings, theirs, backend, monkeypatch):
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    params, twins = make_params(SHAPES, torch.float64), make_params(SHAPES, torch.float64)
    ours = Prodigy([{"params": params[:2]}, {"params": params[2:]}], backend=backend, **settings)
    torch.set_default_dtype(torch.float64)  # its sums have the default dtype
    try:
        other = package.Prodigy([{"params": twins[:2]}, {"params": twins[2:]}], foreach=False, **theirs)
        descend(ours, params, 40)
        descend(other, twins, 40)
    finally:
        torch.set_default_dtype(torch.float32)

    assert distance(ours, params[0]) == pytest.approx(other.param_groups[0]["d"], rel=1e-10)
    assert distance(ours, params[0]) > 1e4 * 1e-6
    for mine, twin in zip(params, twins, strict=True):
        torch.testing.assert_close(mine, twin, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_distance_is_one_for_all_tensors(backend):
    """Two halves of a tensor are updated as the whole is, where AdamW with a ratio for each would not."""
    (whole,) = make_params(((12,),), torch.float64)
    halves = [torch.nn.Parameter(part.clone()) for part in whole.detach().split(6)]
    one, two = Prodigy([whole], backend=backend), Prodigy([{"params": [half]} for half in halves], backend=backend)
    slopes = torch.linspace(0.1, 3, 12, dtype=torch.float64)
    for _ in range(30):
        whole.grad = slopes * (whole.detach() - 1)
        for half, own in zip(halves, slopes.split(6), strict=True):
            half.grad = own * (half.detach() - 1)
        one.step()
        two.step()

    assert distance(two, halves[0]) == distance(two, halves[1]) > 1e-5
    torch.testing.assert_close(torch.cat(halves), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_of_other_dtypes_and_clocks_count_too(backend):
    params = [*make_params(((4, 2),)), *make_params(((3,),), torch.float64), *make_params(((5,),), torch.bfloat16)]
    optimizer = Prodigy(params, backend=backend, initial_distance=1e-3)
    for step in range(12):
        for param in params:
            param.grad = param.detach() - 1
        if step < 4:
            params[1].grad = None
        optimizer.step()

    assert optimizer.state[params[1]]["step"].item() == 8
    assert len({distance(optimizer, param) for param in params}) == 1
    assert distance(optimizer, params[0]) > 1e-3


def test_a_late_tensor_and_one_without_gradients_have_the_distance_of_the_others():
    early, resting, late = make_params(((4,), (4,), (4,)))
    optimizer = Prodigy([early, resting, late])
    descend(optimizer, [early, resting], 3)
    resting.grad = None
    for _ in range(10):
        early.grad = early.detach() - 1
        optimizer.step()

    assert distance(optimizer, resting) == distance(optimizer, early) > 1e-6
    late.grad = late.detach() - 1
    optimizer.step()
    assert distance(optimizer, late) == distance(optimizer, early)
    assert torch.equal(optimizer.state[late]["start"], make_params(((4,), (4,), (4,)))[2].detach())


def test_a_group_that_is_added_has_the_distance_of_the_others():
    first, added = make_params(((4,), (3,)))
    optimizer = Prodigy([first])
    descend(optimizer, [first], 10)
    optimizer.add_param_group({"params": [added], "weight_decay": 0.1})
    reached = distance(optimizer, first)
    optimizer.materialize_state()

    assert distance(optimizer, added) == reached > 1e-6


def test_another_algorithm_of_the_optimizer_does_not_count():
    param, other = make_params(((4,), (4,)), torch.float64)
    twin = torch.nn.Parameter(param.detach().clone())
    mixed = Prodigy([{"params": [param]}, {"params": [other], "algorithm": "adamw", "lr": 1e-3}])
    alone = Prodigy([twin])
    for _ in range(10):
        param.grad, other.grad, twin.grad = param.detach() - 1, 100 * other.detach(), twin.detach() - 1
        mixed.step()
        alone.step()

    assert_bitwise([param], [twin])


@pytest.mark.parametrize("backend", BACKENDS)
def test_resume_and_copies_in_the_middle_of_growth_are_bitwise(backend):
    params = make_params(SHAPES)
    optimizer = Prodigy([{"params": params[:1]}, {"params": params[1:]}], backend=backend)
    descend(optimizer, params[:3], 6)  # the last one comes late
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    again = [torch.nn.Parameter(p.detach().clone()) for p in params]
    resumed = Prodigy([{"params": again[:1]}, {"params": again[1:]}], backend=backend)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    copied = copy.deepcopy(optimizer)
    twins = [param for group in copied.param_groups for param in group["params"]]

    for own, members in ((optimizer, params), (resumed, again), (copied, twins)):
        descend(own, members, 6)

    assert_bitwise(again, params)
    assert_bitwise(twins, params)


def test_a_growing_distance_equals_the_reference():
    params = make_params(SHAPES, torch.float64)
    starts, histories = [p.detach().numpy().copy() for p in params], [[] for _ in params]
    optimizer = Prodigy(params, weight_decay=0.05, bias_correction=True, growth_rate=1.2)
    for _ in range(25):
        for k, param in enumerate(params):
            param.grad = (k + 1.0) * (param.detach() - 1)
            histories[k].append(param.grad.numpy().copy())
        optimizer.step()

    settings = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "d0": 1e-6, "growth_rate": 1.2, "correct": True}
    expected = reference(starts, histories, lr=lambda t: 1.0, decay=lambda t: 0.05, **settings)
    for param, (theta, *_, largest) in zip(params, expected, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), theta, rtol=1e-11, atol=1e-13)
        assert optimizer.state[param]["largest_growth"].item() == pytest.approx(largest, rel=1e-10)


def test_it_finds_the_bottom_without_a_learning_rate():
    (param,) = make_params(((50,),), torch.float64)
    param.data *= 10
    optimizer = Prodigy([param])
    for _ in range(400):
        param.grad = param.detach() - 3
        optimizer.step()

    assert (param.detach() - 3).abs().max() < 0.5
    assert 1 < distance(optimizer, param) < 40  # the largest coordinate starts about 25 from the bottom


def test_decay_grows_with_the_distance_in_both_orders():
    for order in ("before", "after"):
        param = torch.nn.Parameter(torch.full((1,), 2.0, dtype=torch.float64))
        settings = {"ema1": 1.0, "ema2": 1.0, "eps": 0.0, "initial_distance": 0.5, "weight_decay": 0.5}
        optimizer = Prodigy([param], lr=0.5, decay_order=order, **settings)
        param.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step()

        # a step of lr d = 0.25 and a decay of lr d lambda = 0.125: together, or the decay of what the step has left
        expected = 2 - 0.25 - 0.125 * 2 if order == "before" else (2 - 0.25) * 0.875
        assert param.item() == pytest.approx(expected, rel=1e-14)


def test_the_memory_of_the_sums_follows_the_second_moment_unless_given():
    assert ProdigySpec(ema2=0.19).scalars(5)["ema3"] == pytest.approx(0.1, rel=1e-14)  # 0.9^2 = 0.81
    assert ProdigySpec(ema2=1.0).scalars(5)["ema3"] == 1.0
    assert ProdigySpec(ema3=0.25).scalars(5)["ema3"] == 0.25


def test_gradients_of_zero_keep_the_distance():
    params = make_params(SHAPES)
    optimizer = Prodigy(params)
    take_steps(optimizer, params, range(3), scale=0.0)
    assert {distance(optimizer, param) for param in params} == {1e-6}
    set_grads(params, 4)
    optimizer.step()
    assert all(param.isfinite().all() for param in params)
