"""Do steps without the host follow their schedules, in a graph that is replayed and outside of one?"""

import copy
import math

import numpy as np
import pytest
import torch

from logclock import ADANA, AdamW, log_time_decay
from logclock.backends import gpu, triton_module
from logclock.optim import Muon, ScheduledOptimizer
from logclock.schedules import Cosine

pytest.importorskip("triton", reason="Triton is made for Linux; `capturable` says itself that it needs it")

from optim.graphs import Graph

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU tests/gpu captures real graphs")

SHAPES = [(5, 3), (4,), ()]
SETTINGS = {
    "lr": 1e-2,
    "weight_decay": log_time_decay(0.5, offset=4.0),
    "lr_schedule": Cosine(total_steps=40, warmup_steps=5, warmup_start=0.01, final=0.1),
}


@pytest.fixture(autouse=True)
def quiet_numbers():
    """The interpreter computes with numpy, which warns of what IEEE 754 defines."""
    with np.errstate(all="ignore"):
        yield


def make_params(shapes=SHAPES):
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def fill_grads(params, step):
    """Write gradients into the same memory at every step, as a captured backward pass does."""
    generator = torch.Generator().manual_seed(1000 + step)
    for param in params:
        if param.grad is None:
            param.grad = torch.zeros_like(param)
        param.grad.copy_(torch.randn(param.shape, generator=generator))


def run(optimizer, params, steps):
    for step in steps:
        fill_grads(params, step)
        optimizer.step()


def written(optimizer, params):
    return [x.detach() for p in params for x in (p, *(v for k, v in optimizer.state[p].items() if k != "step"))]


def assert_close(ours, theirs):
    """Within a dozen units in the last place: sums and products are fused in other places (test_triton.py)."""
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=2e-6, atol=2e-6)


def clocks(optimizer, params):
    return [optimizer.state[p]["step"].item() for p in params]


@pytest.mark.parametrize(
    ("build", "more"),
    [
        (ADANA, {}),
        (ADANA, {"wrappers": ["schedule_free"]}),
        (AdamW, {"wrappers": ["clip_rms"]}),
    ],
)
def test_a_step_without_the_host_is_a_step(build, more):
    ours, theirs = make_params(), make_params()
    settings = SETTINGS | more
    optimizer, reference = build(ours, capturable=True, **settings), build(theirs, backend="loop", **settings)

    run(optimizer, ours, range(7))
    run(reference, theirs, range(7))

    assert_close(written(optimizer, ours), written(reference, theirs))
    assert clocks(optimizer, ours) == [7.0] * len(ours)
    assert optimizer.backends() == ["fused"]
    assert optimizer.current_scalars() == reference.current_scalars()


def captured(monkeypatch, optimizer, params, num_steps, *, warmup=2):
    """Make steps, prepare for more of them, and capture one."""
    run(optimizer, params, range(warmup))
    optimizer.prepare_replays(num_steps)
    graph = Graph()
    before = [x.clone() for x in written(optimizer, params)]
    with graph.capture(monkeypatch):
        optimizer.step()
    assert all(torch.equal(x, y) for x, y in zip(written(optimizer, params), before, strict=True))
    return graph


def test_replays_go_on_with_running_schedules(monkeypatch):
    ours, theirs = make_params(), make_params()
    optimizer, reference = ADANA(ours, capturable=True, **SETTINGS), ADANA(theirs, backend="loop", **SETTINGS)
    graph = captured(monkeypatch, optimizer, ours, 6)

    for step in range(2, 8):
        fill_grads(ours, step)
        graph.replay()
    run(reference, theirs, range(8))

    assert_close(written(optimizer, ours), written(reference, theirs))
    assert clocks(optimizer, ours) == [8.0] * len(ours)


def test_replays_go_on_after_more_were_prepared_and_a_learning_rate_was_moved(monkeypatch):
    ours, theirs = make_params(), make_params()
    optimizer, reference = ADANA(ours, capturable=True, **SETTINGS), ADANA(theirs, backend="loop", **SETTINGS)
    graph = captured(monkeypatch, optimizer, ours, 3)

    for step in range(2, 8):
        if step == 5:
            optimizer.param_groups[0]["lr"] = 2e-2
            optimizer.prepare_replays(3)
        fill_grads(ours, step)
        graph.replay()
    run(reference, theirs, range(5))
    reference.param_groups[0]["lr"] = 2e-2
    run(reference, theirs, range(5, 8))

    assert_close(written(optimizer, ours), written(reference, theirs))


def test_eager_steps_may_follow_replays(monkeypatch):
    ours, theirs = make_params(), make_params()
    optimizer, reference = ADANA(ours, capturable=True, **SETTINGS), ADANA(theirs, backend="loop", **SETTINGS)
    graph = captured(monkeypatch, optimizer, ours, 4)

    for step in range(2, 5):
        fill_grads(ours, step)
        graph.replay()
    run(optimizer, ours, range(5, 6))
    run(reference, theirs, range(6))

    assert_close(written(optimizer, ours), written(reference, theirs))


@pytest.mark.parametrize("hear", ["prepare_replays", "state_dict"])
def test_replays_beyond_what_was_prepared_change_nothing_and_are_reported(monkeypatch, hear):
    params = make_params()
    optimizer = ADANA(params, capturable=True, **SETTINGS)
    graph = captured(monkeypatch, optimizer, params, 2)
    for _ in range(2):
        graph.replay()
    after_two = [x.clone() for x in written(optimizer, params)]

    for _ in range(3):
        graph.replay()

    assert all(torch.equal(x, y) for x, y in zip(written(optimizer, params), after_two, strict=True))
    assert clocks(optimizer, params) == [4.0] * len(params)
    with pytest.raises(RuntimeError, match=r"9 updates of parameters were left out.*Call prepare_replays\(num_steps\)"):
        optimizer.prepare_replays(2) if hear == "prepare_replays" else optimizer.state_dict()
    optimizer.prepare_replays(2)
    graph.replay()
    assert clocks(optimizer, params) == [5.0] * len(params)


def test_parameters_with_clocks_of_their_own_each_follow_their_own(monkeypatch):
    ours, theirs = make_params(), make_params()
    optimizer, reference = ADANA(ours, capturable=True, **SETTINGS), ADANA(theirs, backend="loop", **SETTINGS)
    run(optimizer, ours[:2], range(3))
    run(reference, theirs[:2], range(3))
    graph = captured(monkeypatch, optimizer, ours, 4, warmup=1)
    run(reference, theirs, range(1))

    for step in range(1, 5):
        fill_grads(ours, step)
        graph.replay()
    run(reference, theirs, range(1, 5))

    assert clocks(optimizer, ours) == [8.0, 8.0, 5.0]
    assert_close(written(optimizer, ours), written(reference, theirs))


def test_stochastic_rounding_goes_on_in_replays_with_the_bits_of_each_update(monkeypatch):
    """With weight 1 for the new sample, the average is the gradient, rounded: no arithmetic to differ in."""
    shape = (40, 40)
    ours, theirs = make_params([shape]), make_params([shape])
    settings = {"lr": 1e-2, "ema1": 1.0, "ema2": 1.0, "state_dtype": "bfloat16_stochastic", "rounding_seed": 5}
    optimizer = AdamW(ours, capturable=True, **settings)
    reference = AdamW(theirs, backend="loop", **settings)
    graph = captured(monkeypatch, optimizer, ours, 3)

    for step in range(2, 5):
        fill_grads(ours, step)
        graph.replay()
    run(reference, theirs, range(5))

    assert torch.equal(optimizer.state[ours[0]]["exp_avg"], reference.state[theirs[0]]["exp_avg"])


def test_a_group_with_an_algorithm_of_its_own_has_schedules_of_its_own(monkeypatch):
    ours, theirs = make_params(), make_params()

    def build(params, **settings):
        groups = [{"params": params[:1]}, {"params": params[1:], "algorithm": "adamw", "lr": 3e-3}]
        return ScheduledOptimizer(groups, "adana", **settings)

    optimizer, reference = build(ours, capturable=True, **SETTINGS), build(theirs, backend="loop", **SETTINGS)
    graph = captured(monkeypatch, optimizer, ours, 3)
    for step in range(2, 5):
        fill_grads(ours, step)
        graph.replay()
    run(reference, theirs, range(5))

    assert_close(written(optimizer, ours), written(reference, theirs))


def test_gradients_may_get_new_memory_in_the_capture(monkeypatch):
    shapes = [(3,)] * 70  # more addresses than one launch writes
    ours, theirs = make_params(shapes), make_params(shapes)
    optimizer, reference = ADANA(ours, capturable=True, **SETTINGS), ADANA(theirs, backend="loop", **SETTINGS)
    run(optimizer, ours, range(1))
    optimizer.prepare_replays(3)
    before = [param.grad for param in ours]  # kept, so that their memory is not given away again
    optimizer.zero_grad(set_to_none=True)
    fill_grads(ours, 1)
    graph = Graph()
    with graph.capture(monkeypatch):
        optimizer.step()
    for old in before:
        old.fill_(math.nan)

    for step in range(1, 4):
        fill_grads(ours, step)
        graph.replay()
    run(reference, theirs, range(4))

    assert [kernel.fn.__name__ for kernel, *_ in graph.launches] == ["place"] * 2 + ["segment_0", "finish"]
    assert_close(written(optimizer, ours), written(reference, theirs))


def test_a_capture_of_another_kind_of_step_than_was_made_before_is_refused(monkeypatch):
    params = make_params([(6,)])
    optimizer = ADANA(params, capturable=True, **SETTINGS)
    run(optimizer, params, range(1))
    optimizer.prepare_replays(3)
    optimizer.found_inf = torch.zeros(())

    with Graph().capture(monkeypatch), pytest.raises(RuntimeError, match="Make a step of the same kind before"):
        optimizer.step()


def test_a_capture_reads_no_counter_on_the_host(monkeypatch):
    params = make_params([(6,)])
    optimizer = ADANA(params, capturable=True, lr=1e-2, apply="hyperball")
    run(optimizer, params, range(1))
    optimizer.prepare_replays(3)
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: pytest.fail("the host waits for the device"))
    monkeypatch.setattr(gpu, "is_capturing", lambda: True)

    optimizer._check_step()


def test_the_norm_of_the_gradient_is_bounded_on_the_device():
    params, twins = make_params(), make_params()
    ours = ADANA(params, capturable=True, clip_norm=0.5, **SETTINGS)
    theirs = ADANA(twins, backend="loop", clip_norm=0.5, **SETTINGS)

    run(ours, params, range(3))
    run(theirs, twins, range(3))

    assert torch.equal(ours.grad_norm, theirs.grad_norm)
    assert_close(written(ours, params), written(theirs, twins))


# ---- steps that must change nothing


def test_a_gradient_scaler_unscales_and_skips_on_the_device():
    ours, theirs = make_params(), make_params()
    optimizer, reference = ADANA(ours, capturable=True, **SETTINGS), ADANA(theirs, backend="loop", **SETTINGS)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    assert optimizer._step_supports_amp_scaling
    assert not reference._step_supports_amp_scaling

    for step in range(5):
        fill_grads(ours, step)
        fill_grads(theirs, step)
        if step == 2:
            ours[1].grad[1] = math.inf
        else:
            reference.step()
        scale = scaler.scale(torch.ones(())).item()
        for param in ours:
            param.grad *= scale
        scaler.step(optimizer)
        scaler.update()

    assert clocks(optimizer, ours) == [4.0] * len(ours)
    assert_close(written(optimizer, ours), written(reference, theirs))
    assert scaler.get_scale() == 16.0  # doubled after two steps, halved at the third, doubled after two more


def test_a_gradient_that_is_not_finite_is_skipped_on_the_device_and_counted():
    params = make_params()
    optimizer = ADANA(params, capturable=True, skip_nonfinite="skip", **SETTINGS)
    run(optimizer, params, range(2))
    before = [x.clone() for x in written(optimizer, params)]

    fill_grads(params, 3)
    params[0].grad[1, 1] = math.nan
    optimizer.step()

    assert all(torch.equal(x, y) for x, y in zip(written(optimizer, params), before, strict=True))
    assert clocks(optimizer, params) == [2.0] * len(params)
    assert optimizer.state_dict()["param_groups"][0]["skipped_steps"] == 1
    assert optimizer.state_dict()["param_groups"][0]["skipped_steps"] == 1
    run(optimizer, params, range(3, 4))
    assert clocks(optimizer, params) == [3.0] * len(params)


# ---- checkpoints


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_a_run_may_go_on_with_and_without_the_host(first, second):
    ours, theirs = make_params(), make_params()
    reference = ADANA(theirs, backend="loop", **SETTINGS)
    before = ADANA(ours, capturable=first, **SETTINGS)
    run(before, ours, range(3))
    run(reference, theirs, range(6))

    after = ADANA(ours, capturable=second, **SETTINGS)
    after.load_state_dict(before.state_dict())
    run(after, ours, range(3, 6))

    assert_close(written(after, ours), written(reference, theirs))
    assert "capturable" not in before.state_dict()["param_groups"][0]


def test_a_copy_goes_on_by_itself():
    params = make_params()
    optimizer = ADANA(params, capturable=True, **SETTINGS)
    run(optimizer, params, range(2))

    twin = copy.deepcopy(optimizer)
    theirs = twin.param_groups[0]["params"]
    run(optimizer, params, range(2, 4))
    run(twin, theirs, range(2, 4))

    assert all(torch.equal(x, y) for x, y in zip(written(optimizer, params), written(twin, theirs), strict=True))


def test_a_host_that_asks_for_the_state_before_the_first_step_changes_nothing():
    params = make_params()
    optimizer = ADANA(params, capturable=True, **SETTINGS)
    before = [p.detach().clone() for p in params]
    optimizer.param_groups[0]["lr"] = 0.0
    for param in params:
        param.grad = torch.zeros_like(param)

    optimizer.step()

    assert clocks(optimizer, params) == [0.0] * len(params)
    assert all(torch.equal(p.detach(), x) for p, x in zip(params, before, strict=True))


# ---- what is refused


def test_a_capture_without_prepared_schedules_says_what_to_call(monkeypatch):
    params = make_params()
    optimizer = ADANA(params, capturable=True, **SETTINGS)
    fill_grads(params, 0)
    with Graph().capture(monkeypatch), pytest.raises(RuntimeError, match="has no state yet"):
        optimizer.step()
    run(optimizer, params, range(2))
    with Graph().capture(monkeypatch), pytest.raises(RuntimeError, match=r"Call optimizer\.prepare_replays\(num_steps"):
        optimizer.step()
    optimizer.prepare_replays(5)
    optimizer.param_groups[0]["lr"] = 1e-3
    with Graph().capture(monkeypatch), pytest.raises(RuntimeError, match="after the last change of the group"):
        optimizer.step()
    run(optimizer, params, range(2, 3))  # a step outside takes the new rate over, for itself alone
    with Graph().capture(monkeypatch), pytest.raises(RuntimeError, match="after the last change of the group"):
        optimizer.step()


def test_a_step_with_the_host_does_not_go_into_a_graph(monkeypatch):
    params = make_params()
    optimizer = ADANA(params, **SETTINGS)
    run(optimizer, params, range(2))

    with Graph().capture(monkeypatch), pytest.raises(RuntimeError, match="Build the optimizer with capturable=True"):
        optimizer.step()
    with pytest.raises(RuntimeError, match="was built without capturable=True"):
        optimizer.prepare_replays(3)


def test_a_captured_table_is_not_moved_for_more_rows(monkeypatch):
    params = make_params()
    optimizer = ADANA(params, capturable=True, **SETTINGS)
    captured(monkeypatch, optimizer, params, 2)

    with pytest.raises(RuntimeError, match=r"group 0: 3 rows of schedules are needed.*captured graph reads has 2"):
        optimizer.prepare_replays(3)


@pytest.mark.parametrize("num_steps", [0, -1, 2.0, True])
def test_the_number_of_replays_is_a_whole_number(num_steps):
    with pytest.raises(ValueError, match="num_steps must be a whole number >= 1, got"):
        ADANA(make_params(), capturable=True).prepare_replays(num_steps)


def test_replays_end_where_counters_stop_counting():
    params = make_params()
    optimizer = ADANA(params, capturable=True)
    optimizer.materialize_state()
    for param in params:
        optimizer.state[param]["step"].fill_(2**24 - 3)

    optimizer.prepare_replays(2)
    with pytest.raises(RuntimeError, match="3 updates after 16777213 pass 16777216"):
        optimizer.prepare_replays(3)


def test_other_rules_backends_devices_and_policies_are_refused(monkeypatch):
    matrix = [torch.nn.Parameter(torch.randn(4, 4))]
    fill_grads(matrix, 0)
    with pytest.raises(RuntimeError, match="'muon' works on whole matrices"):
        Muon(matrix, capturable=True).step()
    with pytest.raises(RuntimeError, match="runs with backend 'fused', not 'foreach'"):
        ADANA(matrix, capturable=True, backend="foreach").step()
    with pytest.raises(ValueError, match="skip_nonfinite='raise' reads every gradient on the host"):
        ADANA(matrix, capturable=True, skip_nonfinite="raise")
    with pytest.raises(TypeError, match="capturable must be True or False, got 1"):
        ADANA(matrix, capturable=1)
    with pytest.raises(TypeError, match="It is of the whole optimizer, not of a group"):
        ADANA([{"params": matrix, "capturable": True}])
    monkeypatch.setattr(triton_module, "is_interpreted", lambda: False)
    with pytest.raises(RuntimeError, match=r"capturable=True needs backend 'fused' on a CUDA device: .*not on cpu"):
        ADANA(matrix, capturable=True).step()
    assert gpu.unavailable_reason(torch.device("cpu")) is not None
