import pytest
import torch
from backends.layouts import LAYOUTS, laid_out
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.backends.operands import (
    CPU_PIECE,
    SCRATCH_BYTES,
    compute_dtype,
    flat_operands,
    local,
    piece_size,
    pieces,
    write_back,
)
from logclock.backends.program import trace
from logclock.rules import Spec

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_arithmetic_is_float32_except_for_float64_parameters(dtype, expected):
    assert compute_dtype(torch.zeros(1, dtype=dtype)) == expected


def test_an_ordinary_tensor_is_its_own_local_part():
    tensor = torch.zeros(3)

    assert local(tensor) is tensor


@pytest.mark.parametrize(
    ("numel", "size", "expected"),
    [(0, 4, []), (3, 4, [(0, 3)]), (4, 4, [(0, 4)]), (9, 4, [(0, 4), (4, 8), (8, 9)])],
)
def test_pieces_by_hand(numel, size, expected):
    assert [(piece.start, piece.stop) for piece in pieces(numel, size)] == expected


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 200), st.integers(1, 50))
def test_pieces_cover_everything_once(numel, size):
    covered = [i for piece in pieces(numel, size) for i in range(numel)[piece]]

    assert covered == list(range(numel))


def test_pieces_stay_in_cache_on_a_cpu_and_in_the_scratch_elsewhere():
    program = trace(Spec.family.get("adana")().rule)

    assert piece_size(torch.device("cpu"), program) == CPU_PIECE
    in_flight = 4 * piece_size(torch.device("meta"), program) * (program.num_temporaries + program.num_operands)
    assert 0.25 * SCRATCH_BYTES < in_flight <= SCRATCH_BYTES


def test_contiguous_operands_become_views():
    operands = [torch.zeros(2, 3) for _ in range(3)]

    flats = flat_operands(operands[0], operands)

    assert [flat.shape for flat in flats] == [(6,)] * 3
    assert [flat.data_ptr() for flat in flats] == [operand.data_ptr() for operand in operands]


def test_operands_with_the_strides_of_a_transposed_parameter_become_views():
    param = torch.arange(6.0).view(2, 3).t()
    grad = torch.zeros_like(param)
    state = torch.zeros_like(param, dtype=torch.float64)

    flats = flat_operands(param, [param, grad, state])

    assert [flat.data_ptr() for flat in flats] == [x.data_ptr() for x in (param, grad, state)]
    assert flats[0].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_gradient_of_other_strides_is_copied_in_the_order_of_the_parameter():
    param = torch.zeros(3, 2).t()
    grad = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    flats = flat_operands(param, [param, grad])

    assert flats[1].tolist() == [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(SHAPES, st.lists(st.sampled_from(LAYOUTS), min_size=4, max_size=4), st.permutations(range(4)))
def test_flat_operands_pair_equal_positions_whatever_the_layout(shape, layouts, order):
    # Every operand holds the number of the position, so that pairs can be seen.
    numbers = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    operands = [laid_out(numbers, layouts[i]) for i in order]

    flats = flat_operands(operands[0], operands)

    assert all(flat.dim() == 1 and torch.equal(flat, flats[0]) for flat in flats)
    assert sorted(flats[0].tolist()) == numbers.flatten().tolist()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(SHAPES, st.lists(st.sampled_from(LAYOUTS), min_size=3, max_size=3))
def test_write_back_brings_changes_home_and_to_no_other_operand(shape, layouts):
    numbers = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    param, grad, state = (laid_out(numbers, layout) for layout in layouts)

    flats = flat_operands(param, [param, grad, state])
    flats[0].mul_(2)
    flats[2].add_(1)
    if flats[1].data_ptr() != grad.data_ptr():
        flats[1].mul_(-1)  # a copy: may be changed, must not come back
    for operand, flat in ((param, flats[0]), (state, flats[2])):
        write_back(param, operand, flat)

    assert torch.equal(param, numbers * 2)
    assert torch.equal(grad, numbers)
    assert torch.equal(state, numbers + 1)


def test_write_back_leaves_the_memory_around_a_slice_alone():
    whole = torch.zeros(4, 6)
    param = whole[1:3, ::2]

    flats = flat_operands(param, [param, torch.ones(2, 3)])
    flats[0].fill_(5.0)
    write_back(param, param, flats[0])

    assert param.tolist() == [[5.0] * 3] * 2
    assert whole.sum() == 30.0
