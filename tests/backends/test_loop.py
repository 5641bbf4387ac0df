import pytest
import torch
from backends.layouts import ELEMENTWISE, LAYOUTS, copied, flat, make_operands, spec_of
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.backends import foreach, loop, operands

RULES = ELEMENTWISE
BACKENDS = {"loop": loop.run, "foreach": foreach.run}
SHAPES = [(7,), (3, 5), (), (0, 4), (1,), (2, 1, 3)]


@pytest.fixture(params=sorted(BACKENDS))
def run(request):
    """Both backends that interpret a program."""
    return BACKENDS[request.param]


def assert_same(got, expected):
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def direct(rule, params, grads, states, scalars):
    """Return what the rule gives when it is called on whole tensors."""
    results = [rule(*tensors, **scalars) for tensors in zip(params, grads, *states, strict=True)]
    return [x for column in zip(*results, strict=True) for x in column]


# x, y and z of every operation are 6, 2 and 4, the scalar is 0.5.
OPERATION_VALUES = {
    "add": (2, 8.0),
    "sub": (2, 4.0),
    "mul": (2, 12.0),
    "div": (2, 3.0),
    "add_scaled": (2, 7.0),
    "add_scaled_quotient": (3, 6.25),
    "lerp": (2, 4.0),
    "add_scalar": (1, 6.5),
    "mul_scalar": (1, 3.0),
    "div_scalar": (1, 12.0),
    "neg": (1, -6.0),
    "sqrt": (1, 6**0.5),
    "absolute": (1, 6.0),
    "sign": (1, 1.0),
    "maximum": (1, 6.0),
    "minimum": (1, 0.5),
    "log": (1, 1.791759469228055),
    "exp": (1, 403.4287934927351),
    "copy": (1, 6.0),
    "scalar_div": (1, 0.5 / 6),
    "larger": (2, 6.0),
    "smaller": (2, 2.0),
    "greater": (2, 1.0),
    "greater_equal": (2, 1.0),
    "greater_scalar": (1, 1.0),
    "greater_equal_scalar": (1, 1.0),
    "less_scalar": (1, 0.0),
    "less_equal_scalar": (1, 0.0),
    "where": (3, 2.0),
    "fill": (0, 0.5),
}


@pytest.mark.parametrize("op", sorted(loop.OPERATIONS))
@pytest.mark.parametrize("is_tensor", [False, True])
@pytest.mark.parametrize("output", [0, 1, 2, 3])
def test_every_operation_by_hand_wherever_its_result_goes(op, is_tensor, output):
    num_inputs, expected = OPERATION_VALUES[op]
    scalar = torch.tensor(0.5, dtype=torch.float64) if is_tensor else 0.5
    slots = [torch.tensor([value], dtype=torch.float64) for value in (6.0, 2.0, 4.0, 0.0)]

    loop.OPERATIONS[op](slots[output], scalar, *slots[:num_inputs])

    assert slots[output].item() == pytest.approx(expected, rel=1e-15)
    others = [
        (slot.item(), value) for i, (slot, value) in enumerate(zip(slots, (6, 2, 4, 0), strict=True)) if i != output
    ]
    assert all(got == value for got, value in others)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("t", [1, 100])
def test_a_float64_update_is_the_rule_itself(run, name, t):
    spec = spec_of(name)
    made = make_operands(spec.rule, SHAPES, dtype=torch.float64)
    expected = direct(spec.rule, *copied(made), spec.scalars(t))

    run(spec.rule, *made, spec.scalars(t))

    for got, value in zip(flat(made), expected, strict=True):
        # the program contracts multiply-adds and writes powers as exp(e ln x): a few roundings, of 1.1e-16 each
        torch.testing.assert_close(got, value, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", RULES)
def test_gradients_are_only_read(run, name):
    for dtype in (torch.float32, torch.bfloat16):
        for maximize in (False, True):
            made = make_operands(spec_of(name).rule, SHAPES, dtype=dtype)
            before = [grad.clone() for grad in made[1]]

            run(spec_of(name).rule, *made, spec_of(name).scalars(3), maximize=maximize)

            assert_same(made[1], before)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_maximize_is_the_update_for_the_negated_gradient(run, name, dtype):
    spec = spec_of(name)
    up = make_operands(spec.rule, SHAPES, dtype=dtype, state_dtype=torch.promote_types(dtype, torch.float32))
    down = copied(up)
    for grad in down[1]:
        grad.neg_()

    run(spec.rule, *up, spec.scalars(3), maximize=True)
    run(spec.rule, *down, spec.scalars(3))

    assert_same(flat(up), flat(down))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("state_dtype", [torch.float32, None])
def test_low_precision_is_float32_arithmetic_rounded_once_on_writing(run, name, dtype, state_dtype):
    spec = spec_of(name)
    low = make_operands(spec.rule, SHAPES, dtype=dtype, state_dtype=state_dtype)
    params, grads, states = copied(low)
    high = ([x.float() for x in params], [x.float() for x in grads], [[x.float() for x in c] for c in states])

    run(spec.rule, *low, spec.scalars(3))
    run(spec.rule, *high, spec.scalars(3))

    assert_same(flat(low), [x.to(kept.dtype) for x, kept in zip(flat(high), flat(low), strict=True)])


@pytest.mark.parametrize("grad_dtype", [torch.bfloat16, torch.float64])
def test_gradients_may_have_another_dtype(run, grad_dtype):
    spec = spec_of("adana")
    mixed = make_operands(spec.rule, SHAPES, grad_dtype=grad_dtype)
    plain = copied(mixed)
    plain = (plain[0], [grad.float() for grad in plain[1]], plain[2])

    run(spec.rule, *mixed, spec.scalars(3))
    run(spec.rule, *plain, spec.scalars(3))

    assert_same(flat(mixed), flat(plain))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scalars_as_0_d_tensors_give_the_same_to_rounding(run, name, dtype):
    spec = spec_of(name)
    numbers = make_operands(spec.rule, SHAPES, dtype=dtype)
    tensors = copied(numbers)

    run(spec.rule, *numbers, spec.scalars(3))
    run(spec.rule, *tensors, {k: torch.tensor(v, dtype=dtype) for k, v in spec.scalars(3).items()})

    for one, other in zip(flat(tensors), flat(numbers), strict=True):
        # a product that is not contracted into its sum costs one rounding; values are of the order of 1
        torch.testing.assert_close(one, other, rtol=20 * torch.finfo(dtype).eps, atol=20 * torch.finfo(dtype).eps)


def test_a_learning_rate_alone_may_be_a_tensor(run):
    spec = spec_of("dana-star-mk4")
    numbers, mixed = (make_operands(spec.rule, SHAPES, dtype=torch.float64) for _ in range(2))

    run(spec.rule, *numbers, spec.scalars(3, 0.004))
    run(spec.rule, *mixed, spec.scalars(3, torch.tensor(0.004, dtype=torch.float64)))

    for one, other in zip(flat(mixed), flat(numbers), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("param_layout", LAYOUTS)
@pytest.mark.parametrize("grad_layout", LAYOUTS)
@pytest.mark.parametrize("state_layout", ["contiguous", "reversed", "sliced"])
def test_layouts_do_not_change_the_result(run, param_layout, grad_layout, state_layout):
    spec = spec_of("dana-star")
    shapes = [(4, 6), (2, 3, 4), (5,)]
    plain = make_operands(spec.rule, shapes)
    other = make_operands(spec.rule, shapes, layouts=[(param_layout, grad_layout, state_layout)] * 3)

    run(spec.rule, *plain, spec.scalars(3))
    run(spec.rule, *other, spec.scalars(3))

    assert_same(flat(other), flat(plain))


def test_a_channels_last_parameter_keeps_its_layout(run):
    spec = spec_of("adana")
    shapes = [(2, 3, 4, 5)]
    plain, permuted = make_operands(spec.rule, shapes), make_operands(spec.rule, shapes)
    params, grads, states = permuted
    params = [x.to(memory_format=torch.channels_last) for x in params]
    states = [[torch.zeros_like(params[0]).copy_(column[0])] for column in states]

    run(spec.rule, *plain, spec.scalars(3))
    run(spec.rule, params, grads, states, spec.scalars(3))

    assert_same(flat((params, grads, states)), flat(plain))
    assert params[0].is_contiguous(memory_format=torch.channels_last)


def test_a_parameter_of_several_pieces_is_updated_in_every_element(run):
    spec = spec_of("adana")
    size = 2 * operands.CPU_PIECE + 12_345
    made = make_operands(spec.rule, [(size,), (3,)])
    expected = direct(spec.rule, *copied(made), spec.scalars(3))

    run(spec.rule, *made, spec.scalars(3))

    for got, value in zip(flat(made), expected, strict=True):
        torch.testing.assert_close(got, value, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shapes=st.lists(st.lists(st.integers(0, 9), max_size=3).map(tuple), min_size=1, max_size=4),
    name=st.sampled_from(RULES),
    backend=st.sampled_from(sorted(BACKENDS)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    piece=st.integers(1, 40),
    maximize=st.booleans(),
)
def test_the_size_of_the_pieces_does_not_change_a_bit(shapes, name, backend, dtype, piece, maximize):
    spec = spec_of(name)
    whole = make_operands(spec.rule, shapes, dtype=dtype)
    cut = copied(whole)

    with pytest.MonkeyPatch.context() as patch:
        BACKENDS[backend](spec.rule, *whole, spec.scalars(3), maximize=maximize)
        patch.setattr(operands, "CPU_PIECE", piece)
        BACKENDS[backend](spec.rule, *cut, spec.scalars(3), maximize=maximize)

    # Vector and scalar code of one processor may round powers differently at the end of a piece.
    uses_powers = name.startswith("dana-star")
    for one, other in zip(flat(cut), flat(whole), strict=True):
        if uses_powers:
            torch.testing.assert_close(one, other, rtol=4 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)
        else:
            assert torch.equal(one, other)


def test_lists_of_different_lengths_are_refused(run):
    spec = spec_of("adana")
    params, grads, states = make_operands(spec.rule, [(3,), (4,)])

    with pytest.raises(ValueError, match="zip"):
        run(spec.rule, params, grads[:1], states, spec.scalars(1))


def test_a_missing_scalar_is_an_error(run):
    spec = spec_of("adana")
    scalars = spec.scalars(1)
    del scalars["gain"]

    with pytest.raises(KeyError, match="gain"):
        run(spec.rule, *make_operands(spec.rule, [(3,)]), scalars)
