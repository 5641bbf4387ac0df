import pytest
import torch

from logclock.backends import stacked
from logclock.rules import whole_tensor


@whole_tensor
def centred(param, grad, total, *, lr):
    """A rule that needs the whole tensor."""
    total = total + grad
    mean = total.flatten(1).mean(1).reshape(-1, *[1] * (total.dim() - 1)) if total.dim() > 1 else total
    return param - lr * (total - mean), total


def operands(shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)

    def tensors():
        return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]

    return tensors(), tensors(), [tensors()]


def expected(params, grads, states, lr, sign=1):
    totals = [state + sign * grad for state, grad in zip(states[0], grads, strict=True)]
    return [p - lr * (total - total.mean()) for p, total in zip(params, totals, strict=True)], totals


@pytest.mark.parametrize("run", [stacked.run_stacked, stacked.run_one_by_one])
@pytest.mark.parametrize("maximize", [False, True])
def test_every_tensor_is_updated_by_itself_and_the_gradients_stay(run, maximize):
    params, grads, states = operands([(3, 4), (2, 5), (3, 4), (6,), (), (3, 4), (0, 2)])
    wanted, totals = expected(params, grads, states, 0.5, sign=-1 if maximize else 1)
    before = [grad.clone() for grad in grads]

    run(centred, params, grads, states, {"lr": 0.5}, maximize=maximize)

    for param, want in zip(params, wanted, strict=True):
        torch.testing.assert_close(param, want)
    for total, want in zip(states[0], totals, strict=True):
        torch.testing.assert_close(total, want)
    assert all(torch.equal(grad, old) for grad, old in zip(grads, before, strict=True))


def test_tensors_of_one_shape_share_a_call(monkeypatch):
    sizes = []

    @whole_tensor
    def counting(param, grad, *, lr):
        sizes.append(tuple(param.shape))
        return (param - lr * grad,)

    params, grads, _ = operands([(3, 4), (2, 5), (3, 4), (3, 4)])
    stacked.run_stacked(counting, params, grads, [], {"lr": 0.1})
    assert sizes == [(3, 3, 4), (1, 2, 5)]

    sizes.clear()
    monkeypatch.setattr(stacked, "STACK_BYTES", 2 * 12 * 4)
    stacked.run_stacked(counting, params, grads, [], {"lr": 0.1})
    assert sizes == [(2, 3, 4), (1, 3, 4), (1, 2, 5)]


def test_arithmetic_is_float32_and_results_keep_their_dtypes():
    dtypes = []

    @whole_tensor
    def noting(param, grad, total, *, lr):
        dtypes.append({param.dtype, grad.dtype, total.dtype})
        return param - lr * grad, total + grad

    params, grads, _ = operands([(3, 4)], torch.bfloat16)
    states = [[torch.zeros(3, 4)]]
    stacked.run_stacked(noting, params, grads, states, {"lr": 0.1})

    assert dtypes == [{torch.float32}]
    assert params[0].dtype == torch.bfloat16
    assert states[0][0].dtype == torch.float32


def test_strided_tensors_are_written_in_place():
    params, grads, states = operands([(4, 3)])
    strided = torch.empty(3, 4).T.copy_(params[0])
    address = strided.data_ptr()

    stacked.run_stacked(centred, [strided], grads, states, {"lr": 0.5})

    wanted, _ = expected(params, grads, [[torch.zeros(4, 3)]], 0.0)
    assert strided.data_ptr() == address
    assert not torch.equal(strided, wanted[0])


def test_a_function_without_a_rules_signature_is_refused():
    with pytest.raises(ValueError, match="must take param, grad, states"):
        whole_tensor(lambda weight, grad, *, lr: weight)
