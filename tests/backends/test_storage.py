"""Are states kept in the formats that they say, with rounding that depends on nothing but its place?"""

import copy
import io

import pytest
import torch
from contract.cases import CASES, WEIGHT_DECAY
from contract.runs import assert_bitwise, make_params, run

from logclock import ADANA, SOAP, AdamW, Lion, ScheduledOptimizer
from logclock.backends.storage import FORMATS as KNOWN
from logclock.backends.storage import Rounding, element_numbers, smallest_weight, write
from logclock.rules.random import random_bits

STOCHASTIC = {"state_dtype": "bfloat16_stochastic"}
SHAPES = ((5, 3), (400,), (2, 3, 2), (), (0,), (6, 4))
KEYS = (0x12345678, 0x9ABCDEF0)


def states(optimizer, params):
    return [v for p in params for k, v in optimizer.state[p].items() if k != "step"]


def rounded(values, keys=KEYS):
    target = torch.empty_like(values, dtype=torch.bfloat16)
    write(target, values, keys, element_numbers(values))
    return target


# ----- the rounding itself


@pytest.mark.parametrize("value", [1.0, -3.0, 0.0, 2.0**100, 1.5, -0.0])
def test_what_bfloat16_holds_is_kept(value):
    assert torch.equal(rounded(torch.full((1000,), value)), torch.full((1000,), value, dtype=torch.bfloat16))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_stays_what_it_is(value):
    result = rounded(torch.full((1000,), value))

    assert torch.equal(result.isnan(), torch.full((1000,), value).isnan())
    assert torch.equal(result.nan_to_num(), torch.full((1000,), value, dtype=torch.bfloat16).nan_to_num())


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.999])
@pytest.mark.parametrize("size", [1.0, -1.0, 2.0**-40, 3e30])
def test_rounding_is_right_on_average_and_goes_to_one_of_the_two_neighbours(fraction, size):
    low = torch.tensor(size).bfloat16().float()
    unit = abs(low.item()) * 2.0**-7 if size == 3e30 else abs(size) * 2.0**-7
    unit = (torch.nextafter(low.bfloat16(), torch.tensor(float("inf") * size).bfloat16()).float() - low).abs().item()
    value = low + (1 if size > 0 else -1) * fraction * unit
    count = 40_000

    result = rounded(value.expand(count).clone()).double()

    neighbours = {low.item(), low.item() + (1 if size > 0 else -1) * unit}
    assert set(result.unique().tolist()) <= neighbours
    share = ((result - low.double()).abs() / unit).mean().item()
    # five standard deviations of a binomial share, and 2^-16 because 16 bits decide
    assert abs(share - fraction) < 5 * (fraction * (1 - fraction) / count) ** 0.5 + 2.0**-16


def test_the_bits_are_uniform_and_not_correlated_between_elements_steps_and_states():
    elements = torch.arange(100_000)
    draws = []
    for step, state in ((1, "exp_avg"), (2, "exp_avg"), (1, "exp_avg_sq")):
        keys = Rounding(0, step, (0,), frozenset()).keys(0, state)
        draws.append((random_bits(elements, keys) & 0xFFFF).double() / 2**16)
    draws.append(torch.roll(draws[0], 1))

    for i, one in enumerate(draws):
        assert one.min() >= 0
        assert one.max() < 1
        # 5 standard deviations of a mean of uniform numbers
        assert abs(one.mean() - 0.5) < 5 * (1 / 12 / 1e5) ** 0.5
        histogram = torch.histc(one, 64, 0, 1)
        assert ((histogram - 1e5 / 64) ** 2 / (1e5 / 64)).sum() < 63 + 5 * (2 * 63) ** 0.5
        for other in draws[:i]:
            correlation = ((one - 0.5) * (other - 0.5)).mean() * 12
            assert abs(correlation) < 5 / 1e5**0.5


@pytest.mark.parametrize(
    "other", [(1, 3, (7,)), (0, 4, (7,)), (0, 3, (8,))], ids=["another seed", "another step", "another parameter"]
)
def test_the_keys_depend_on_seed_step_parameter_and_state(other):
    keys = Rounding(0, 3, (7,), frozenset()).keys(0, "exp_avg")

    assert Rounding(*other, frozenset()).keys(0, "exp_avg") != keys
    assert Rounding(0, 3, (7,), frozenset()).keys(0, "exp_avg_sq") != keys
    assert Rounding(0, 3, (5, 7), frozenset()).keys(1, "exp_avg") == keys


def test_elements_beyond_32_bits_get_bits_of_their_own():
    elements = torch.tensor([5, 5 + 2**32, 5 + 2**33, 2**31 + 5])

    assert len(set(random_bits(elements, KEYS).tolist())) == 4


def test_element_numbers_count_in_the_order_of_the_dimensions_whatever_the_strides():
    assert element_numbers(torch.zeros(2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert element_numbers(torch.zeros(3, 2).T).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert element_numbers(torch.zeros(())).tolist() == 0


# ----- in an optimizer


def dtype_of(state):
    """Of a state that is rounded if it may be; numbers are exact."""
    if state.is_number:
        return torch.float64
    return torch.bfloat16 if state.keeps == "any" else torch.float32


def stochastic(case):
    """Stochastic rounding of every state that may be rounded."""
    optimizer = case.build(case.params(), **case.settings)
    declared = optimizer.spec(optimizer.param_groups[0]).rule.states
    if all(state.keeps == "any" for state in declared.values()):
        return STOCHASTIC
    formats = {name: STOCHASTIC["state_dtype"] for name, s in declared.items() if s.keeps == "any" and not s.is_number}
    return STOCHASTIC | {"state_dtype": formats}


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loop_and_foreach_round_alike(name, dtype):
    case, results = CASES[name], []
    for backend in ("loop", "foreach"):
        params = case.params(((4, 4), (5, 5)) if case.matrices_only else SHAPES, dtype)
        optimizer = case.build(
            params, lr=1e-2, weight_decay=WEIGHT_DECAY, backend=backend, **stochastic(case), **case.settings
        )
        run(optimizer, params, range(4))
        declared = optimizer.spec(optimizer.param_groups[0]).rule.states
        for param in params:
            dtypes = {name: optimizer.state[param][name].dtype for name in declared}
            assert dtypes == {name: dtype_of(state) for name, state in declared.items()}
        results.append([*params, *states(optimizer, params)])

    if case.is_elementwise:
        assert_bitwise(*results)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("layout", ["transposed", "sliced"])
def test_the_layout_of_a_parameter_does_not_change_a_bit(layout):
    (plain,) = make_params(((40, 30),))
    whole = torch.zeros(40, 60)
    whole[:, ::2] = plain.detach()
    other = torch.nn.Parameter(plain.detach().T.contiguous().T if layout == "transposed" else whole[:, ::2])
    one, two = (ADANA([param], lr=1e-2, **STOCHASTIC) for param in (plain, other))

    run(one, [plain], range(4))
    run(two, [other], range(4))

    assert_bitwise([*states(two, [other]), other.detach().contiguous()], [*states(one, [plain]), plain.detach()])


def test_the_size_of_the_pieces_does_not_change_a_bit(monkeypatch):
    results = []
    for piece in (10, 10**6):
        monkeypatch.setattr("logclock.backends.operands.CPU_PIECE", piece)
        params = make_params(SHAPES)
        optimizer = ADANA(params, **STOCHASTIC)
        run(optimizer, params, range(3))
        results.append([*params, *states(optimizer, params)])

    assert_bitwise(*results)


@pytest.mark.parametrize("build", [ADANA, Lion])
def test_a_resumed_or_copied_run_repeats_the_bits(build):
    params = make_params(SHAPES)
    optimizer = build(params, lr=1e-2, rounding_seed=3, **STOCHASTIC)
    run(optimizer, params, range(4))
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    again = [torch.nn.Parameter(p.detach().clone()) for p in params]
    resumed = build(again, lr=1e-2)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    twin = copy.deepcopy(optimizer)

    run(optimizer, params, range(4, 8))
    run(resumed, again, range(4, 8))
    run(twin, twin.param_groups[0]["params"], range(4, 8))

    assert resumed.param_groups[0]["rounding_seed"] == 3
    assert_bitwise(states(resumed, again), states(optimizer, params))
    assert_bitwise(states(twin, twin.param_groups[0]["params"]), states(optimizer, params))


def test_another_seed_gives_other_bits():
    results = []
    for seed in (0, 1):
        params = make_params(((400,),))
        optimizer = ADANA(params, rounding_seed=seed, **STOCHASTIC)
        run(optimizer, params, range(3))
        results.append(optimizer.state[params[0]]["exp_avg"])

    assert 0.1 < (results[0] != results[1]).float().mean() < 0.9


def test_parameters_with_the_same_gradients_are_rounded_independently():
    params = [torch.nn.Parameter(torch.ones(400)) for _ in range(2)]
    optimizer = ADANA(params, **STOCHASTIC)
    for step in range(3):
        for param in params:
            param.grad = torch.randn(400, generator=torch.Generator().manual_seed(step))
        optimizer.step()

    one, other = (optimizer.state[param]["exp_avg"] for param in params)
    assert 0.1 < (one != other).float().mean() < 0.9


def drift(state_dtype):
    """Return an average of 1 that must follow its target to 2 with weights near 1e-3, as ADANA's are at t = 8000."""
    param = torch.nn.Parameter(torch.zeros(1000))
    optimizer = ScheduledOptimizer([param], "lion", lr=1e-6, ema2=0.01, state_dtype=state_dtype)
    optimizer.materialize_state()
    optimizer.param_groups[0]["ema2"] = 1e-3
    optimizer.state[param]["exp_avg"].fill_(1.0)
    for _ in range(1500):
        param.grad = torch.full((1000,), 2.0)
        optimizer.step()
    return optimizer.state[param]["exp_avg"].float()


def test_a_stochastic_average_follows_a_target_where_bfloat16_stops():
    expected = 2 - 0.999**1500

    assert torch.equal(drift("bfloat16"), torch.ones(1000))  # a change of 1e-3 is below half a unit of 2^-7
    result = drift("bfloat16_stochastic")
    # a rounding of 2^-7 has a deviation below 2^-8, an average of 1000 updates adds up sqrt(500) of them, the mean of
    # 1000 elements divides by sqrt(1000): below 0.003; five of that
    assert result.mean().item() == pytest.approx(expected, abs=0.015)
    assert drift("float32").mean().item() == pytest.approx(expected, abs=1e-3)


def test_an_adana_run_with_a_stochastic_momentum_ends_where_float32_does():
    ends = {}
    for name in ("float32", "bfloat16_stochastic"):
        param = torch.nn.Parameter(torch.zeros(200))
        optimizer = ADANA([param], lr=3e-3, state_dtype={"exp_avg": name})
        generator = torch.Generator().manual_seed(0)
        for step in range(600):
            target = step / 600
            param.grad = param.detach() - target + 0.1 * torch.randn(200, generator=generator)
            optimizer.step()
        assert optimizer.state[param]["exp_avg"].dtype == KNOWN[name].dtype
        assert optimizer.state[param]["exp_avg_sq"].dtype == torch.float32
        ends[name] = param.detach()

    assert ends["float32"].mean() > 0.8
    assert ends["bfloat16_stochastic"].mean() == pytest.approx(ends["float32"].mean().item(), abs=0.01)


# ----- what is refused


def test_the_smallest_weights_by_hand():
    # half of eps: 2^-8, 2^-24, 2^-11
    assert smallest_weight(KNOWN["bfloat16"]) == 2.0**-8
    assert smallest_weight(KNOWN["float32"]) == 2.0**-24
    assert smallest_weight(KNOWN["float16"]) == 2.0**-11
    assert smallest_weight(KNOWN["bfloat16_stochastic"]) == 0


@pytest.mark.parametrize(
    ("build", "settings", "message"),
    [
        (
            ADANA,
            {"state_dtype": "bfloat16"},
            r"'bfloat16' cannot keep exp_avg: .*falls to 5e-07.*'bfloat16_stochastic'",
        ),
        (AdamW, {"state_dtype": "bfloat16"}, r"cannot keep exp_avg_sq: .*falls to 0\.001.*state_dtype=\{'exp_avg_sq'"),
        (AdamW, {"state_dtype": {"exp_avg_sq": "float16"}, "ema2": 1e-4}, r"'float16' cannot keep exp_avg_sq"),
        (AdamW, {"state_dtype": "int8"}, r"state_dtype must be None or one of float32, bfloat16, bfloat16_stochastic"),
        (AdamW, {"state_dtype": {"exp_avg": "int8"}}, r"state_dtype must be None or one of float32.*got 'int8'"),
        (AdamW, {"state_dtype": {"exp_av": "float32"}}, r"names the state 'exp_av', which there is not\. Did you mean"),
        (
            AdamW,
            {"state_dtype": "bfloat16_stochastic", "wrappers": ["schedule_free"]},
            r"schedule_free_z must be kept in float32, got 'bfloat16_stochastic'\. Give a dict",
        ),
        (AdamW, {"rounding_seed": -1}, r"rounding_seed must be a whole number >= 0, got -1"),
        (AdamW, {"rounding_seed": 0.5}, r"rounding_seed must be a whole number >= 0, got 0\.5"),
        (AdamW, {"rounding_seed": True}, r"rounding_seed must be a whole number >= 0, got True"),
    ],
)
def test_a_format_that_cannot_hold_a_state_is_refused(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build(make_params(), **settings)
    with pytest.raises(ValueError, match=message):
        build([{"params": make_params(), **settings}])


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (AdamW, {"state_dtype": "bfloat16", "ema2": 0.05}),
        (AdamW, {"state_dtype": {"exp_avg": "bfloat16"}}),
        (AdamW, {"state_dtype": {"exp_avg": "bfloat16_stochastic"}, "wrappers": ["schedule_free"]}),
        (ADANA, {"state_dtype": "float32"}),
        (ADANA, {"state_dtype": {"exp_avg": "bfloat16_stochastic", "exp_avg_sq": None}}),
    ],
)
def test_formats_that_can_hold_their_states_are_taken(build, settings):
    params = make_params()
    optimizer = build(params, **settings)
    run(optimizer, params, range(2))

    wanted = settings["state_dtype"]
    for name, value in optimizer.state[params[0]].items():
        chosen = wanted.get(name) if isinstance(wanted, dict) else wanted
        if name != "step" and "schedule_free" not in name:
            assert value.dtype == (torch.float32 if chosen is None else KNOWN[chosen].dtype)


def test_soap_may_keep_its_bases_in_another_format():
    params = make_params(((4, 4), (5, 3)))
    optimizer = SOAP(params, state_dtype={"row_basis": "bfloat16", "row_gram": "bfloat16_stochastic"})
    run(optimizer, params, range(4))

    assert optimizer.state[params[0]]["row_basis"].dtype == torch.bfloat16
    assert optimizer.state[params[0]]["col_basis"].dtype == torch.float32
    assert all(p.isfinite().all() for p in params)


def test_a_group_of_another_algorithm_does_not_inherit_a_dict_that_names_other_states():
    matrices, rest = make_params(((4, 4),)), make_params(((4,),))
    optimizer = ADANA(
        [{"params": matrices, "algorithm": "muon"}, {"params": rest}],
        state_dtype={"exp_avg": "bfloat16_stochastic"},
    )
    run(optimizer, [*matrices, *rest], range(2))

    assert optimizer.state[matrices[0]]["momentum_buffer"].dtype == torch.float32
    assert optimizer.state[rest[0]]["exp_avg"].dtype == torch.bfloat16
