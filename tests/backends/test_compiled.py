import pytest
import torch
from backends.layouts import copied, flat, make_operands, spec_of

from logclock.backends import compiled, loop
from logclock.rules import elementwise
from logclock.rules.ops import maximum, sqrt

# Packed and not, 0-d, empty, one element, several dimensions.
SHAPES = [(300,), (7, 11), (), (0,), (1,), (3, 1, 2), (compiled.PACKED_ELEMENTS + 3,), (2, compiled.PACKED_ELEMENTS)]


@elementwise
def own_rule(param, grad, exp_avg, exp_avg_sq, *, lr, ema, floor, decay):
    """A rule of this file alone, so that no other test has compiled it before."""
    exp_avg = exp_avg + ema * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema * (grad * grad - exp_avg_sq)
    return param - lr * exp_avg / maximum(sqrt(exp_avg_sq), floor) - decay * param, exp_avg, exp_avg_sq


def scalars_at(t):
    """Return scalars of which each differs from update to update."""
    return {"lr": 0.01 / t, "ema": 8 / (8 + t), "floor": 0.1 * t, "decay": 0.1 / (10 + t)}


@pytest.fixture
def num_graphs():
    """Return a function that gives the number of graphs compiled since the test began."""
    counters = torch._dynamo.utils.counters
    before = counters["stats"]["unique_graphs"]
    return lambda: counters["stats"]["unique_graphs"] - before


def test_one_graph_serves_all_shapes_and_all_updates_and_only_rounds_differently(num_graphs):
    expected = make_operands(own_rule, SHAPES)
    made = copied(expected)

    for t in range(1, 21):
        compiled.run(own_rule, *made, scalars_at(t))
        loop.run(own_rule, *expected, scalars_at(t))
    for number in (0, 2, 4):  # alone: a pack of one element, then a parameter in a call of its own
        single = ([made[0][number]], [made[1][number]], [[column[number]] for column in made[2]])
        compiled.run(own_rule, *single, scalars_at(21))
        single = ([expected[0][number]], [expected[1][number]], [[column[number]] for column in expected[2]])
        loop.run(own_rule, *single, scalars_at(21))

    assert num_graphs() == 1
    for one, other in zip(flat(made), flat(expected), strict=True):
        # 21 updates of about 0.01, each a few roundings of float32 apart, on values of the order of 1
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_nothing_is_compiled_for_no_elements(num_graphs):
    spec = spec_of("dana-star")

    compiled.run(spec.rule, *make_operands(spec.rule, [(0,), (2, 0)]), spec.scalars(1))
    compiled.run(spec.rule, [], [], [[], [], []], spec.scalars(1))

    assert num_graphs() == 0


def test_small_parameters_are_packed_without_exceeding_a_pack(monkeypatch):
    monkeypatch.setattr(compiled, "LARGEST_PACK", 10)
    small = [[torch.zeros(size)] for size in (4, 5, 2, 9, 10, 1)]

    packs = [[flats[0].numel() for flats in pack] for pack in compiled._packs(small)]

    assert packs == [[4, 5], [2], [9], [10], [1]]


def test_scalars_are_one_tensor_whether_they_are_numbers_or_tensors():
    rule = spec_of("adana").rule
    numbers = dict(zip(rule.scalar_names, (0.5, 0.25, 2.0, 3.0, 1.0, 0.125), strict=True))
    device = torch.device("cpu")

    packed = compiled._pack_scalars(rule, numbers, torch.float32, device)
    mixed = compiled._pack_scalars(rule, numbers | {"lr": torch.tensor(0.5)}, torch.float32, device)

    assert packed.tolist() == mixed.tolist() == [0.5, 0.25, 2.0, 3.0, 1.0, 0.125]
    assert packed.dtype == mixed.dtype == torch.float32


def test_a_switched_off_compiler_is_an_error():
    spec = spec_of("adana")
    message = r"backend 'compiled' needs torch\.compile, which TORCH_COMPILE_DISABLE or"

    with torch._dynamo.config.patch(disable=True), pytest.raises(RuntimeError, match=message):
        compiled.run(spec.rule, *make_operands(spec.rule, [(3,)]), spec.scalars(1))
