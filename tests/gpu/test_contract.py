"""Does every optimizer do on a GPU what it does on the host, on every backend?"""

import warnings

import numpy as np
import pytest
import torch
from contract.cases import CASES, WEIGHT_DECAY
from gpu.steps import DEVICE, give_grads, on_gpu, written

from logclock import ADANA
from logclock.optim import LowPrecisionWarning
from logclock.schedules import Cosine

PEAK = 1e-2
TOTAL_STEPS = 40
BACKENDS = ("loop", "foreach", "fused")


@pytest.fixture(params=sorted(CASES))
def case(request):
    """Every registered optimizer in turn."""
    return CASES[request.param]


@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_the_reference_under_running_schedules(case, backend):
    twins = case.params(dtype=torch.float64, determined=True)
    start = [p.detach().clone() for p in twins]
    params = on_gpu(twins)
    schedule = Cosine(total_steps=TOTAL_STEPS, warmup_steps=5, warmup_start=0.01, final=0.1)
    optimizer = case.build(params, lr=PEAK, weight_decay=WEIGHT_DECAY, backend=backend, **case.settings)
    grads = [[] for _ in params]

    for step in range(1, TOTAL_STEPS + 1):
        give_grads(params, twins, step, scale=0.1 + 1 / step)
        for history, twin in zip(grads, twins, strict=True):
            history.append(twin.grad.numpy().copy())
        optimizer.param_groups[0]["lr"] = PEAK * schedule(step)
        optimizer.step()

    def lr(t):
        return PEAK * schedule(t)

    def decay(t):
        return (lr(t) if case.coupled else schedule(t)) * 0.5 / (4.0 + t)

    for param, first, history in zip(params, start, grads, strict=True):
        expected = case.reference(first.numpy(), history, lr=lr, decay=decay)
        ours = [param.detach(), *(v for k, v in optimizer.state[param].items() if k != "step")]
        for mine, reference in zip(ours, expected, strict=True):
            # float64 rounding of 40 updates in another order of operations; per-tensor sums of `loop` and `foreach`
            # are in the arithmetic's type there
            np.testing.assert_allclose(mine.cpu().numpy(), reference, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_six_steps_are_those_of_the_host(case, backend, dtype):
    twins = case.params(((300,), (7, 11), (513, 301), (), (0,), (6, 6)), dtype, determined=True)
    params = on_gpu(twins)
    settings = {"lr": PEAK, "weight_decay": WEIGHT_DECAY, **case.settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LowPrecisionWarning)
        optimizer = case.build(params, backend=backend, **settings)
        reference = case.build(twins, backend="loop", **settings)
        for step in range(6):
            give_grads(params, twins, step)
            optimizer.step()
            reference.step()

    for ours, theirs in zip(written(optimizer, params), written(reference, twins), strict=True):
        # as in the contract's test of `foreach`: 6 updates of 1e-2 on parameters near 1
        tolerance = {torch.float32: 2e-4, torch.bfloat16: 2e-2, torch.float16: 4e-3}[dtype]
        apart = (ours.double() - theirs.double()).abs() > tolerance * (1 + theirs.double().abs())
        assert apart.sum() <= (0.001 * ours.numel() if case.jumps else 0)  # a sign of 0 may fall to the other side


@pytest.mark.parametrize("backend", BACKENDS)
def test_stochastic_rounding_has_the_bits_of_the_host(backend):
    """With weight 1 for the new sample, the averages are the gradient and its square: no arithmetic to differ in."""
    twins = [torch.nn.Parameter(torch.randn(200, 300))]
    params = on_gpu(twins)
    settings = {"lr": PEAK, "ema1": 1.0, "ema2": 1.0, "state_dtype": "bfloat16_stochastic", "rounding_seed": 5}
    optimizer = CASES["adamw"].build(params, backend=backend, **settings)
    reference = CASES["adamw"].build(twins, backend="loop", **settings)
    for step in range(3):
        give_grads(params, twins, step)
        optimizer.step()
        reference.step()

    assert torch.equal(optimizer.state[params[0]]["exp_avg"].cpu(), reference.state[twins[0]]["exp_avg"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_strided_parameters_are_updated_in_place(backend):
    twins = [torch.nn.Parameter(torch.randn(6, 4)), torch.nn.Parameter(torch.randn(2, 3, 4, 5))]
    params = [
        torch.nn.Parameter(twins[0].detach().to(DEVICE).T.contiguous().T),
        torch.nn.Parameter(twins[1].detach().to(DEVICE).contiguous(memory_format=torch.channels_last)),
    ]
    addresses = [p.data_ptr() for p in params]
    optimizer, reference = ADANA(params, lr=PEAK, backend=backend), ADANA(twins, lr=PEAK, backend="loop")
    for step in range(4):
        give_grads(params, twins, step)
        if step % 2:
            params[0].grad = params[0].grad.contiguous()
        optimizer.step()
        reference.step()

    assert [p.data_ptr() for p in params] == addresses
    for ours, theirs in zip(written(optimizer, params), written(reference, twins), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_grad_scaler_skips_the_step_on_overflow_and_goes_on(case, backend):
    params = on_gpu(case.params())
    optimizer = case.build(params, lr=PEAK, backend=backend, **case.settings)
    scaler = torch.amp.GradScaler("cuda", init_scale=8.0)
    scaler.scale(sum(p.sum() for p in params)).backward()
    params[0].grad[0, 0] = float("inf")
    before = [p.detach().clone() for p in params]
    scaler.step(optimizer)
    scaler.update()

    assert all(torch.equal(p.detach(), x) for p, x in zip(params, before, strict=True))
    assert scaler.get_scale() == 4.0
    optimizer.zero_grad()
    scaler.scale(sum(p.sum() for p in params)).backward()
    scaler.step(optimizer)
    assert optimizer.state[params[0]]["step"].item() == 1


def test_a_learning_rate_on_the_device_is_not_read():
    params, twins = on_gpu([torch.nn.Parameter(torch.ones(50))]), [torch.nn.Parameter(torch.ones(50))]
    optimizer = ADANA(params, lr=torch.tensor(PEAK, device=DEVICE), peak_lr=PEAK, backend="fused")
    reference = ADANA(twins, lr=PEAK, backend="loop")
    for step in range(2):
        give_grads(params, twins, step)
        torch.cuda.set_sync_debug_mode("error" if step else "default")  # the first step compiles
        try:
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        reference.step()

    torch.testing.assert_close(params[0].detach().cpu(), twins[0].detach(), rtol=1e-5, atol=1e-6)
