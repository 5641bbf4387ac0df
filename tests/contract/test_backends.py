"""Do all backends run the same optimizer?"""

import pytest
import torch
from contract.cases import WEIGHT_DECAY
from contract.runs import assert_bitwise, make_params, run, set_grads

from logclock.optim import ADANA

ODD_SHAPES = ((300,), (7, 11), (513, 301), (), (0,), (1,), (33, 1, 2), (6, 6), (6, 6))


def states(optimizer, params):
    return [v for p in params for k, v in optimizer.state[p].items() if k != "step"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 2])
def test_foreach_equals_loop(case, dtype, threads):
    """Bit for bit where the rule is elementwise; matrix products of a stack may be summed in another order."""
    torch.set_num_threads(threads)
    results = []
    for backend in ("loop", "foreach"):
        params = case.params(ODD_SHAPES, dtype, determined=True)
        optimizer = case.build(params, lr=1e-2, weight_decay=WEIGHT_DECAY, backend=backend, **case.settings)
        run(optimizer, params, range(6))
        results.append([*params, *states(optimizer, params)])

    if case.is_elementwise:
        assert_bitwise(*results)
        return
    for ours, theirs in zip(*results, strict=True):
        # 6 updates of 1e-2 on parameters near 1; a basis is rotated by the rounding of the matrices it comes from
        tolerance = {torch.float32: 2e-4, torch.float64: 1e-10, torch.bfloat16: 2e-2}[dtype]
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_wrapping_step_in_torch_compile_does_not_recompile(case):
    params = case.params()
    optimizer = case.build(params, lr=1e-2, weight_decay=WEIGHT_DECAY, **case.settings)
    step = torch.compile(optimizer.step)
    for t in range(2):
        set_grads(params, t)
        step()

    with torch._dynamo.config.patch(error_on_recompile=True):
        for t in range(2, 8):
            set_grads(params, t)
            optimizer.param_groups[0]["lr"] = 1e-2 / t
            step()

    assert optimizer.state[params[0]]["step"].item() == 8


@pytest.mark.parametrize("backend", ["loop", "foreach"])
def test_states_of_different_dtypes_run_together(backend):
    """As a checkpoint leaves them that was written with another state_dtype for some of the parameters."""
    mixed, plain = make_params(((50,), (60,), (40_000,))), make_params(((50,), (60,), (40_000,)))
    optimizer, reference = ADANA(mixed, lr=1e-2, backend=backend), ADANA(plain, lr=1e-2, backend=backend)
    optimizer.materialize_state()
    optimizer.state[mixed[1]]["exp_avg"] = optimizer.state[mixed[1]]["exp_avg"].to(torch.bfloat16)
    run(optimizer, mixed, range(3))
    run(reference, plain, range(3))

    assert_bitwise([mixed[0], mixed[2]], [plain[0], plain[2]])
    assert optimizer.state[mixed[1]]["exp_avg"].dtype == torch.bfloat16
    torch.testing.assert_close(mixed[1], plain[1], rtol=0, atol=1e-3)  # bfloat16 rounds an average to 3 digits


@pytest.mark.parametrize("backend", ["loop", "foreach"])
def test_strided_parameters_and_gradients_are_updated_in_place(case, backend):
    """A transposed parameter, a channels-last one, and gradients with strides of their own."""
    contiguous = case.params(((6, 4), (2, 3, 4, 5)))
    strided = [
        torch.nn.Parameter(contiguous[0].detach().T.contiguous().T),
        *[torch.nn.Parameter(p.detach().contiguous(memory_format=torch.channels_last)) for p in contiguous[1:]],
    ]
    storages = [p.data_ptr() for p in strided]
    ours = case.build(strided, lr=1e-2, backend=backend, **case.settings)
    reference = case.build(contiguous, lr=1e-2, backend=backend, **case.settings)

    for step in range(4):
        set_grads(contiguous, step)
        for param, twin in zip(strided, contiguous, strict=True):
            # on odd steps the gradient is laid out like the parameter, on even ones it is not
            param.grad = twin.grad.clone() if step % 2 == 0 else torch.empty_like(param).copy_(twin.grad)
        ours.step()
        reference.step()

    assert [p.data_ptr() for p in strided] == storages
    assert_bitwise([p.contiguous() for p in strided], contiguous)


def test_a_slice_of_a_larger_tensor_is_updated_and_its_neighbours_are_not(case):
    whole = torch.arange(12.0).reshape(6, 2)
    param = torch.nn.Parameter(whole[::2], requires_grad=True)
    assert param.data_ptr() == whole.data_ptr()
    twin = torch.nn.Parameter(whole[::2].clone())
    optimizer, reference = case.build([param], lr=0.1, **case.settings), case.build([twin], lr=0.1, **case.settings)
    param.grad, twin.grad = torch.ones(3, 2), torch.ones(3, 2)

    optimizer.step()
    reference.step()

    assert_bitwise([whole[::2]], [twin.detach()])
    assert torch.equal(whole[1::2], torch.arange(12.0).reshape(6, 2)[1::2])
