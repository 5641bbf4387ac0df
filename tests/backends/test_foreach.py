import pytest
import torch
from backends.layouts import ELEMENTWISE, LAYOUTS, flat, make_operands, spec_of
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.backends import foreach, loop, operands
from logclock.backends.parts import Batch
from logclock.backends.program import trace

PROPERTY = settings(max_examples=120, deadline=None, derandomize=True)
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@st.composite
def cases(draw):
    """Return a spec, operands for it, t and maximize."""
    spec = spec_of(draw(st.sampled_from(ELEMENTWISE)))
    shapes = draw(st.lists(st.lists(st.integers(0, 6), max_size=3).map(tuple), min_size=1, max_size=5))
    layouts = [tuple(draw(st.sampled_from(LAYOUTS)) for _ in range(3)) for _ in shapes]
    made = make_operands(
        spec.rule,
        shapes,
        dtype=draw(st.sampled_from(DTYPES)),
        grad_dtype=draw(st.none() | st.sampled_from(DTYPES)),
        state_dtype=draw(st.none() | st.just(torch.float32)),
        layouts=layouts,
    )
    return spec, made, draw(st.sampled_from([1, 2, 100, 100_000])), draw(st.booleans())


def as_laid_out(made):
    """Return copies that keep strides and holes."""
    params, grads, states = made

    def again(x):
        holder = torch.zeros(x.untyped_storage().nbytes() // x.itemsize, dtype=x.dtype)
        return holder.as_strided(x.shape, x.stride(), x.storage_offset()).copy_(x)

    return [again(x) for x in params], [again(x) for x in grads], [[again(x) for x in column] for column in states]


@PROPERTY
@given(cases())
def test_foreach_equals_loop_bitwise(case):
    spec, made, t, maximize = case
    other = as_laid_out(made)

    loop.run(spec.rule, *made, spec.scalars(t), maximize=maximize)
    foreach.run(spec.rule, *other, spec.scalars(t), maximize=maximize)

    for one, two in zip(flat(other), flat(made), strict=True):
        assert one.dtype == two.dtype
        assert one.stride() == two.stride()
        assert torch.equal(one, two)


@PROPERTY
@given(cases(), st.integers(1, 400))
def test_small_batches_give_the_bits_of_large_ones(case, budget):
    spec, made, t, maximize = case
    other = as_laid_out(made)

    foreach.run(spec.rule, *made, spec.scalars(t), maximize=maximize)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreach, "SCRATCH_BYTES", budget)
        foreach.run(spec.rule, *other, spec.scalars(t), maximize=maximize)

    for one, two in zip(flat(other), flat(made), strict=True):
        assert torch.equal(one, two)


def test_temporaries_stay_within_the_budget(monkeypatch):
    spec = spec_of("dana-star-mk4")
    budget = 4 * 1000 * 10
    monkeypatch.setattr(foreach, "SCRATCH_BYTES", budget)
    monkeypatch.setattr(operands, "CPU_PIECE", 100)
    params, grads, states = make_operands(spec.rule, [(1000,), (70,), (3, 500)])
    program = trace(spec.rule)
    columns = {"param": params, "grad": grads, **dict(zip(spec.rule.state_names, states, strict=True))}
    flats = [[columns[name][i].view(-1) for name in program.operands] for i in range(len(params))]
    batch = Batch(program, params, flats, {}, spec.scalars(1), (False,) * program.num_operands)

    groups = list(foreach._groups(batch))

    sizes = [sum(piece.stop - piece.start for _, piece in group) for group in groups]
    assert sum(sizes) == 1000 + 70 + 1500
    assert len(sizes) > 1
    assert all(4 * program.num_temporaries * size <= budget for size in sizes)


# As in test_loop.py: x, y and z are 6, 2 and 4, the scalar is 0.5.
@pytest.mark.parametrize("is_tensor", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    ("op", "num_inputs", "expected"),
    [
        ("add", 2, 8.0),
        ("sub", 2, 4.0),
        ("mul", 2, 12.0),
        ("div", 2, 3.0),
        ("add_scaled", 2, 7.0),
        ("add_scaled_quotient", 3, 6.25),
        ("lerp", 2, 4.0),
        ("add_scalar", 1, 6.5),
        ("mul_scalar", 1, 3.0),
        ("div_scalar", 1, 12.0),
        ("neg", 1, -6.0),
        ("sqrt", 1, 6**0.5),
        ("absolute", 1, 6.0),
        ("sign", 1, 1.0),
        ("maximum", 1, 6.0),
        ("minimum", 1, 0.5),
        ("log", 1, 1.791759469228055),
        ("exp", 1, 403.4287934927351),
        ("copy", 1, 6.0),
        ("larger", 2, 6.0),
        ("smaller", 2, 2.0),
    ],
)
def test_every_operation_by_hand(op, num_inputs, expected, is_tensor, in_place):
    scalar = torch.tensor(0.5, dtype=torch.float64) if is_tensor else 0.5
    lists = [[torch.tensor([value, value], dtype=torch.float64)] for value in (6.0, 2.0, 4.0)][:num_inputs]
    before = [values[0].clone() for values in lists]

    result = foreach.OPERATIONS[op](scalar, *lists, in_place=in_place)

    assert result[0].tolist() == pytest.approx([expected] * 2, rel=1e-15)
    assert (result is lists[0]) == (in_place or op == "copy")
    changed = [not torch.equal(values[0], old) for values, old in zip(lists, before, strict=True)]
    assert changed[1:] == [False] * (num_inputs - 1)
    assert not changed[0] or in_place
