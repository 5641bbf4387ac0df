"""Do CUDA graphs that were captured once repeat steps with schedules that go on?"""

import math

import pytest
import torch
from contract.cases import CASES, WEIGHT_DECAY
from gpu.steps import DEVICE, give_grads, on_gpu, written

from logclock import ADANA
from logclock.schedules import Cosine

LR_SCHEDULE = Cosine(total_steps=40, warmup_steps=5, warmup_start=0.01, final=0.1)


def captured(optimizer, num_steps):
    """Prepare for some updates and capture one step."""
    optimizer.prepare_replays(num_steps)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    return graph


@pytest.mark.parametrize("name", sorted(name for name, case in CASES.items() if case.is_elementwise))
def test_replays_follow_running_schedules(name):
    case = CASES[name]
    twins = case.params()
    params = on_gpu(twins)
    settings = {"lr": 1e-2, "weight_decay": WEIGHT_DECAY, "lr_schedule": LR_SCHEDULE, **case.settings}
    optimizer = case.build(params, capturable=True, **settings)
    reference = case.build(twins, backend="loop", **settings)
    for step in range(2):
        give_grads(params, twins, step)
        optimizer.step()
        reference.step()

    graph = captured(optimizer, 8)
    for step in range(2, 10):
        give_grads(params, twins, step)
        graph.replay()
        reference.step()

    assert [optimizer.state[p]["step"].item() for p in params] == [10.0] * len(params)
    for ours, theirs in zip(written(optimizer, params), written(reference, twins), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_whole_training_step_is_captured_and_goes_on_after_more_was_prepared():
    nets = [torch.nn.Linear(6, 6, device=DEVICE) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    batch = torch.randn(5, 6, device=DEVICE)
    settings = {"lr": 1e-2, "weight_decay": WEIGHT_DECAY, "lr_schedule": LR_SCHEDULE}
    optimizer = ADANA(nets[0].parameters(), capturable=True, **settings)
    reference = ADANA(nets[1].parameters(), backend="foreach", **settings)

    def step(net, own):
        own.zero_grad(set_to_none=True)
        net(batch).square().sum().backward()
        own.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(nets[0], optimizer)
    torch.cuda.current_stream().wait_stream(side)
    optimizer.prepare_replays(4)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        nets[0](batch).square().sum().backward()
        optimizer.step()
    for number in range(8):
        if number == 4:
            optimizer.prepare_replays(4)
        graph.replay()
    for _ in range(11):
        step(nets[1], reference)

    for ours, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    graph.replay()
    with pytest.raises(RuntimeError, match=r"2 updates of parameters were left out"):
        optimizer.prepare_replays(4)


def test_a_captured_step_skips_gradients_that_are_not_finite():
    twins = [torch.nn.Parameter(torch.randn(30)), torch.nn.Parameter(torch.randn(4, 5))]
    params = on_gpu(twins)
    optimizer = ADANA(params, lr=1e-2, capturable=True, skip_nonfinite="skip")
    give_grads(params, twins, 0)
    optimizer.step()
    graph = captured(optimizer, 5)
    before = [p.detach().clone() for p in params]

    params[1].grad[1, 1] = math.nan
    graph.replay()

    assert all(torch.equal(p.detach(), x) for p, x in zip(params, before, strict=True))
    give_grads(params, twins, 1)
    graph.replay()
    assert [optimizer.state[p]["step"].item() for p in params] == [2.0, 2.0]
    assert optimizer.state_dict()["param_groups"][0]["skipped_steps"] == 1


def test_an_eager_step_without_the_host_does_not_wait_for_the_device():
    twins = [torch.nn.Parameter(torch.randn(30))]
    params = on_gpu(twins)
    optimizer = ADANA(params, lr=1e-2, capturable=True, skip_nonfinite="skip")
    give_grads(params, twins, 0)
    optimizer.step()
    optimizer.prepare_replays(10)

    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert optimizer.state[params[0]]["step"].item() == 2.0


def test_a_step_with_the_host_does_not_go_into_a_graph():
    twins = [torch.nn.Parameter(torch.randn(30))]
    params = on_gpu(twins)
    optimizer = ADANA(params, lr=1e-2)
    give_grads(params, twins, 0)
    optimizer.step()

    with torch.cuda.graph(torch.cuda.CUDAGraph()), pytest.raises(RuntimeError, match="with capturable=True"):
        optimizer.step()
