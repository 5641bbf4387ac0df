import types

import pytest
import torch

from logclock import SOAP, ScheduledOptimizer
from logclock.rules import State


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("param", (6, 4)),
        ("number", ()),
        (("rows",), (6,)),
        (("cols",), (4,)),
        (("rows", "rows"), (6, 6)),
        (("cols", "rows"), (4, 6)),
        (("short", "long"), (4, 6)),
        (("cols", "rank"), (4, 3)),
        (("rows", "many"), (6, 4)),  # at most the shorter side
    ],
)
def test_shapes_of_a_state_by_hand(declared, expected):
    state = State(shape=declared)

    assert state.shape_for((6, 4), types.SimpleNamespace(rank=3, many=64)) == expected
    assert state.is_number == (declared == "number")


@pytest.mark.parametrize(
    ("shape", "rank", "expected"), [((6, 4), 3, (6, 3)), ((4, 6), 3, (6, 3)), ((6, 4), 9, (6, 4)), ((5, 5), 1, (5, 1))]
)
def test_a_rank_is_at_most_the_shorter_side(shape, rank, expected):
    spec = types.SimpleNamespace(rank=rank)

    assert State(shape=("long", "rank")).shape_for(shape, spec) == expected
    assert State(shape=("short", "rank")).shape_for(shape, spec) == (min(shape), expected[1])


def test_a_rank_that_nobody_gives_is_an_error():
    with pytest.raises(ValueError, match=r"shape \('long', 'rank'\) needs a rank\. Give its spec a field `rank`"):
        State(shape=("long", "rank")).shape_for((6, 4))


def test_a_state_can_start_at_the_identity():
    optimizer = ScheduledOptimizer([torch.nn.Parameter(torch.randn(3, 4))], "psgd-kron", max_factor_size=3)
    optimizer.materialize_state()

    (state,) = optimizer.state.values()
    assert torch.equal(state["row_factor"], torch.eye(3))
    assert state["col_factor"].shape == (0, 0)


def test_a_state_shaped_like_the_parameter_takes_any_shape():
    assert [State().shape_for(shape) for shape in ((), (3,), (2, 3, 4))] == [(), (3,), (2, 3, 4)]


def test_a_state_is_empty_where_a_side_is_too_long():
    spec = SOAP([torch.nn.Parameter(torch.zeros(2, 2))], max_basis_size=4).spec
    group = SOAP([torch.nn.Parameter(torch.zeros(2, 2))], max_basis_size=4).param_groups[0]

    assert spec(group).state_shape("row_gram", (6, 4)) == (0, 0)
    assert spec(group).state_shape("col_gram", (6, 4)) == (4, 4)


def test_states_start_as_declared():
    """Schedule-free's z is a copy of the parameter, the raw gains are ln(e - 1), everything else is zero."""
    param = torch.nn.Parameter(torch.randn(3, 4))
    optimizer = ScheduledOptimizer([param], "lion", apply="magnitude_direction", wrappers=["schedule_free"])
    optimizer.materialize_state()

    state = optimizer.state[param]
    assert torch.equal(state["schedule_free_z"], param.detach())
    assert state["schedule_free_z"].data_ptr() != param.data_ptr()
    assert state["magnitude_direction_row_gain"].tolist() == pytest.approx([0.541324854612918] * 3)
    assert state["magnitude_direction_col_gain"].shape == (4,)
    assert not state["exp_avg"].any()
    assert state["schedule_free_weight_sum"].shape == ()


def test_a_state_of_one_kind_of_parameter_is_empty_for_the_others():
    rows, full = State(shape=("rows",), only="matrices"), State(only="others")

    assert [rows.shape_for(shape) for shape in ((6, 4), (6,), (2, 3, 4), ())] == [(6,), (0,), (0,), (0,)]
    assert [full.shape_for(shape) for shape in ((6, 4), (6,), (2, 3, 4), ())] == [(0,), (6,), (2, 3, 4), ()]


def test_a_state_may_have_a_number_for_each_block():
    spec = types.SimpleNamespace(num_blocks=lambda shape: 3)

    assert [State(shape=("blocks",)).shape_for(shape, spec) for shape in ((6, 4), (6,), (), (2, 3, 4))] == [(3,)] * 4
