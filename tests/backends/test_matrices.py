import pytest
import torch

from logclock.backends import foreach, loop, matrices
from logclock.rules import Rule, State, Step, elementwise, matrix


@elementwise
def accumulated(grad, total, *, weight):
    total = total + weight * grad
    return total, total


@matrix
def centred(update):
    """Return the update without its mean, with shape legend: update (n, ...)."""
    mean = update.flatten(1).mean(1).reshape(-1, *[1] * (update.dim() - 1)) if update.dim() > 1 else update
    return update - mean


@elementwise
def stepped(param, update, *, lr):
    return param - lr * update


def rule_of(*stages):
    steps = [Step(stage, output, states=(State(),) * len(stage.state_names)) for stage, output in stages]
    return Rule("test", tuple(steps))


CENTRED = rule_of((accumulated, "update"), (centred, "update"), (stepped, "moved"))
SCALARS = {"weight": 2.0, "lr": 0.5}


def operands(shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)

    def tensors():
        return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]

    return tensors(), tensors(), [tensors()]


def expected(params, grads, states, sign=1):
    totals = [state + 2.0 * sign * grad for state, grad in zip(states[0], grads, strict=True)]
    return [p - 0.5 * (total - total.mean()) for p, total in zip(params, totals, strict=True)], totals


@pytest.mark.parametrize("run", [loop.run, foreach.run])
@pytest.mark.parametrize("maximize", [False, True])
def test_every_tensor_is_updated_by_itself_and_the_gradients_stay(run, maximize):
    params, grads, states = operands([(3, 4), (2, 5), (3, 4), (6,), (), (3, 4), (0, 2)])
    wanted, totals = expected(params, grads, states, sign=-1 if maximize else 1)
    before = [grad.clone() for grad in grads]

    run(CENTRED, params, grads, states, SCALARS, maximize=maximize)

    for param, want in zip(params, wanted, strict=True):
        torch.testing.assert_close(param, want)
    for total, want in zip(states[0], totals, strict=True):
        torch.testing.assert_close(total, want)
    assert all(torch.equal(grad, old) for grad, old in zip(grads, before, strict=True))


def counting(sizes):
    @matrix
    def direction(grad):
        sizes.append(tuple(grad.shape))
        return grad

    return rule_of((direction, "update"), (stepped, "moved"))


def test_tensors_of_one_shape_share_a_call(monkeypatch):
    sizes = []
    rule = counting(sizes)
    params, grads, _ = operands([(3, 4), (2, 5), (3, 4), (3, 4)])
    foreach.run(rule, params, grads, [], {"lr": 0.1})
    assert sizes == [(3, 3, 4), (1, 2, 5)]

    sizes.clear()
    monkeypatch.setattr(matrices, "STACK_BYTES", {"cpu": 2 * 12 * 4})
    foreach.run(rule, params, grads, [], {"lr": 0.1})
    assert sizes == [(2, 3, 4), (1, 3, 4), (1, 2, 5)]

    sizes.clear()
    loop.run(rule, params, grads, [], {"lr": 0.1})
    assert sizes == [(1, 3, 4), (1, 3, 4), (1, 3, 4), (1, 2, 5)]


def test_arithmetic_is_float32_and_results_keep_their_dtypes():
    dtypes = []

    @matrix
    def noting(grad, total):
        dtypes.append({grad.dtype, total.dtype})
        return grad, total + grad

    params, grads, _ = operands([(3, 4)], torch.bfloat16)
    states = [[torch.zeros(3, 4)]]
    foreach.run(rule_of((noting, "update"), (stepped, "moved")), params, grads, states, {"lr": 0.1})

    assert dtypes == [{torch.float32}]
    assert params[0].dtype == torch.bfloat16
    assert states[0][0].dtype == torch.float32


@pytest.mark.parametrize("run", [loop.run, foreach.run])
def test_strided_tensors_are_written_in_place(run):
    params, grads, states = operands([(4, 3), (4, 3)])
    wanted, _ = expected(params, grads, states)
    strided = [torch.empty(3, 4).T.copy_(params[0]), params[1]]
    addresses = [x.data_ptr() for x in strided]

    run(CENTRED, strided, grads, states, SCALARS)

    assert [x.data_ptr() for x in strided] == addresses
    for param, want in zip(strided, wanted, strict=True):
        torch.testing.assert_close(param, want)


def test_a_matrix_stage_may_keep_states_of_other_shapes():
    @matrix
    def rows_summed(grad, rows):
        rows = rows + grad.sum(-1)
        return grad - rows[..., None], rows

    rule = Rule(
        "test",
        (Step(rows_summed, "update", states=(State(shape=("rows",)),)), Step(stepped, "moved")),
    )
    params, grads, _ = operands([(3, 4), (5, 2)])
    before = [p.clone() for p in params]
    states = [[torch.ones(3), torch.ones(5)]]

    foreach.run(rule, params, grads, states, {"lr": 1.0})

    for param, old, grad, rows in zip(params, before, grads, states[0], strict=True):
        torch.testing.assert_close(rows, 1 + grad.sum(-1))
        torch.testing.assert_close(param, old - (grad - rows[:, None]))


def test_an_elementwise_stage_with_a_state_of_another_shape_is_refused():
    rule = Rule("odd", (Step(accumulated, "update", states=(State(shape=("rows",)),)), Step(stepped, "moved")))
    params, grads, _ = operands([(3, 4)])

    with pytest.raises(ValueError, match=r"rule 'odd': the state 'total'.*shaped like the parameter.*@matrix stage"):
        loop.run(rule, params, grads, [[torch.zeros(3)]], SCALARS)
