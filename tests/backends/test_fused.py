"""Does emitted C++ compute what `loop` computes, on any tensors, with any number of threads?"""

import copy
import math
import re
import sys

import numpy as np
import pytest
import torch
from backends.operations import (
    ALL,
    COMPOSITIONS,
    EPS,
    EXPECTED,
    NUM_INPUTS,
    ROUNDED,
    SPECS,
    assert_rounds_alike,
    operands,
    spec_of,
    ulps_apart,
    written,
)

from logclock.backends import fused, loop, native, storage
from logclock.backends.emit import Signature, source_of
from logclock.backends.program import OPERATIONS, Instruction, Program, Reduction, Segment, plan_of, trace
from logclock.backends.scalars import constant, named

CPU = torch.device("cpu")
SHAPES = [(300,), (7, 11), (), (0,), (1,), (3, 1, 2), (fused.PIECE + 5,)]

pytestmark = pytest.mark.skipif(
    fused.unavailable_reason(CPU) is not None, reason="no C++ compiler, which `fused` says itself"
)


def both(spec, made, t=3, **options):
    """Run fused on the operands and loop on copies; return what each has written."""
    other = copy.deepcopy(made)
    fused.run(spec.rule, *made, spec.scalars(t), **options)
    loop.run(spec.rule, *other, spec.scalars(t), **options)
    return written(made), written(other)


@pytest.mark.parametrize("data", SPECS, ids=lambda data: "+".join([data["name"], *data.get("wrappers", [])]))
def test_every_algorithm_only_rounds_differently_than_loop(data):
    spec = spec_of(data)
    if not spec.rule.is_elementwise:
        shapes = [(6, 4), (3, 3), (4, 6), (6, 4)]
        if any(spec.state_shape(name, (6, 4)) != (6, 4) for name in spec.rule.state_names):
            pytest.skip("states of shapes of their own are the contract suite's")
    else:
        shapes = SHAPES

    ours, theirs = both(spec, operands(spec.rule, shapes))

    # a product of stacked matrices may be summed in another order than one by one, and Newton-Schulz amplifies it
    assert_rounds_alike(ours, theirs, eps=EPS if spec.rule.is_elementwise else 100 * EPS)


@pytest.mark.parametrize("t", [1, 2, 100_000])
def test_running_scalars_and_other_shapes_need_no_new_source(t):
    spec = spec_of("adana")
    fused.run(spec.rule, *operands(spec.rule, SHAPES), spec.scalars(5))
    before = native.library.cache_info().misses

    ours, theirs = both(spec, operands(spec.rule, [(t % 7 + 1, 5), (2,)]), t)

    assert native.library.cache_info().misses == before
    assert_rounds_alike(ours, theirs)


@pytest.mark.parametrize("name", ["adana", "dana-star-mk4"])
def test_float64_parameters_are_computed_in_float64(name):
    spec = spec_of(name)

    ours, theirs = both(spec, operands(spec.rule, SHAPES, dtype=torch.float64))

    assert_rounds_alike(ours, theirs, eps=torch.finfo(torch.float64).eps)


@pytest.mark.parametrize(
    ("dtype", "grad_dtype", "state_dtype"),
    [
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float32, torch.float32),
        (torch.float32, torch.float64, torch.float16),
    ],
)
def test_low_precision_is_rounded_as_torch_rounds(dtype, grad_dtype, state_dtype):
    spec = spec_of("adana")

    ours, theirs = both(spec, operands(spec.rule, SHAPES, dtype=dtype, grad_dtype=grad_dtype, state_dtype=state_dtype))

    for x, y in zip(ours, theirs, strict=True):
        if x.dtype == torch.float32:
            assert_rounds_alike([x], [y])
            continue
        # the float32 results are neighbors; one in 2^13 (bfloat16: 2^16) of such pairs has a border between them
        assert (x != y).sum() <= 1 + 0.002 * x.numel()
        torch.testing.assert_close(x, y, rtol=torch.finfo(x.dtype).eps, atol=1e-6)


def test_each_tensor_may_have_formats_of_its_own():
    spec = spec_of("adana")
    params, grads, (exp_avg, exp_avg_sq) = operands(spec.rule, [(50,), (60,), (70,), (80,)])
    exp_avg = [x.to(torch.bfloat16) if i % 2 else x for i, x in enumerate(exp_avg)]
    exp_avg_sq[3] = exp_avg_sq[3].to(torch.float16)
    grads[0] = grads[0].to(torch.float8_e5m2)  # not one that kernels read

    ours, theirs = both(spec, (params, grads, [exp_avg, exp_avg_sq]))

    assert [x.dtype for x in ours] == [x.dtype for x in theirs]
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=torch.finfo(x.dtype).eps, atol=1e-6)


def test_any_layout_is_updated_in_place_and_nothing_around_it():
    spec = spec_of({"name": "adana", "wrappers": ["cautious"]})
    plain = operands(spec.rule, [(4, 6)] * 4)
    holders = []

    def laid_out(x, i):
        if i == 0:
            return x.t().contiguous().t()  # dense, transposed
        holder = torch.full((6, 16), 7.0)
        holders.append((holder, i))
        view = holder[1:5, 2:14:2] if i == 1 else holder[:4, :6]
        return view.copy_(x)

    params, grads, states = plain
    made = (
        [laid_out(x, i % 3) for i, x in enumerate(params)],
        [laid_out(x, (i + 1) % 3) for i, x in enumerate(grads)],
        [[laid_out(x, (i + 2) % 3) for i, x in enumerate(column)] for column in states],
    )
    addresses = [x.data_ptr() for x in written(made)]
    grads_before = [x.clone() for x in made[1]]

    fused.run(spec.rule, *made, spec.scalars(3))
    fused.run(spec.rule, *plain, spec.scalars(3))

    assert [x.data_ptr() for x in written(made)] == addresses
    # the mean of the mask is a sum over elements in another order, exact here: they are ones and zeros
    assert all(torch.equal(x, y) for x, y in zip(written(made), written(plain), strict=True))
    assert all(torch.equal(x, y) for x, y in zip(made[1], grads_before, strict=True))
    for holder, i in holders:
        inside = torch.zeros_like(holder, dtype=torch.bool)
        (inside[1:5, 2:14:2] if i == 1 else inside[:4, :6]).fill_(True)
        assert (holder[~inside] == 7.0).all()


@pytest.mark.parametrize("shapes", [[], [(0,)], [(0,), (2, 0)], [()]])
def test_no_tensors_no_elements_and_single_numbers(shapes):
    spec = spec_of(COMPOSITIONS[0])

    ours, theirs = both(spec, operands(spec.rule, shapes)) if shapes else ([], [])
    fused.run(spec.rule, [], [], [[] for _ in spec.rule.state_names], spec.scalars(1))

    assert_rounds_alike(ours, theirs)


def test_maximizing_is_minimizing_the_negated_gradient():
    spec = spec_of("adana")
    made = operands(spec.rule, SHAPES)
    params, grads, states = copy.deepcopy(made)

    fused.run(spec.rule, *made, spec.scalars(3), maximize=True)
    fused.run(spec.rule, params, [-grad for grad in grads], states, spec.scalars(3))

    assert all(torch.equal(x, y) for x, y in zip(written(made), written((params, grads, states)), strict=True))


def test_autograd_sees_that_parameters_and_states_changed():
    spec = spec_of("adana")
    params, grads, states = operands(spec.rule, [(3,), (4,)])
    made = ([torch.nn.Parameter(x) for x in params], grads, states)
    before = [x._version for x in written(made)]

    fused.run(spec.rule, *made, spec.scalars(1))

    assert all(x._version > old for x, old in zip(written(made), before, strict=True))
    assert all(x._version == 0 for x in grads)


@pytest.mark.parametrize("has_openmp", [True, False])
def test_the_number_of_threads_changes_no_bit(monkeypatch, has_openmp):
    spec = spec_of(COMPOSITIONS[0])
    made = operands(spec.rule, [(3 * fused.PIECE + 17,), (300, 301), (5,)])
    if not has_openmp:
        monkeypatch.setattr(fused, "_openmp", lambda: None)
    results = []

    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        own = copy.deepcopy(made)
        for t in range(1, 4):
            fused.run(spec.rule, *own, spec.scalars(t))
        results.append(written(own))

    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(other, results[0], strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kernels_use_the_openmp_runtime_of_torch_and_bring_no_other():
    def runtimes():
        with open("/proc/self/maps") as file:
            return set(re.findall(r"/\S*lib(?:g|i)?omp\S*\.so\S*", file.read()))

    spec = spec_of("adana")
    torch.set_num_threads(2)
    torch.ones(1000, 1000).exp()  # torch's threads are running
    before = runtimes()

    fused.run(spec.rule, *operands(spec.rule, [(400, 400)]), spec.scalars(1))

    assert runtimes() == before
    assert (fused._openmp() is not None) == ("ATen parallel backend: OpenMP" in torch.__config__.parallel_info())


def test_a_tensor_of_another_size_type_or_device_is_refused():
    spec = spec_of("adana")
    params, grads, states = operands(spec.rule, [(4,)])

    with pytest.raises(RuntimeError, match=r"exp_avg of parameter 0 has 3 elements on cpu; it must have 4"):
        fused.run(spec.rule, params, grads, [[torch.zeros(3)], states[1]], spec.scalars(1))
    with pytest.raises(
        RuntimeError, match=r"float32 and float64, got parameters of torch\.complex64\. Use backend='loop'"
    ):
        fused.run(spec.rule, [params[0].to(torch.complex64)], grads, states, spec.scalars(1))
    with pytest.raises(RuntimeError, match=r"runs on CPUs and CUDA devices, not on meta\. Use backend='foreach'"):
        fused.run(spec.rule, [torch.zeros(4, device="meta")], grads, states, spec.scalars(1))


# ---- operations, one by one


def run_program(program, columns, scalars=None, rounding=None):
    params = columns["param"]
    fused._run_program(program, params, columns, scalars or {}, maximize=False, rounding=rounding)


def run_all_operations(x, y, z, scalar):
    columns = {"param": [x], "grad": [y], "new_grad": [z]}
    columns |= {name: [torch.full_like(x, math.nan)] for name in ALL.written}
    run_program(ALL, columns, {"s": scalar})
    return {op: columns[f"out_{op}"][0] for op in OPERATIONS}


@pytest.mark.parametrize("scalar", [0.25, 0.75, -1.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_operation_against_numpy(dtype, scalar):
    x, y, z = (torch.rand(331, dtype=dtype) * 4 + 0.25 for _ in range(3))
    x[::3], y[1::4] = 1.0, 1.0  # ties
    arrays = [t.double().numpy() for t in (x, y, z)]

    results = run_all_operations(x, y, z, scalar)

    eps = torch.finfo(dtype).eps
    for op, result in results.items():
        expected = EXPECTED[op](*arrays, scalar)
        # products and sums of numbers below 5, each rounded once or twice; a quotient of them below 40; e^4.25 = 70
        np.testing.assert_allclose(result.double().numpy(), expected, rtol=2 * eps, atol=32 * eps, err_msg=op)


@pytest.mark.parametrize("scalar", [0.5, 0.0, -0.0, math.inf, math.nan])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_infinity_and_signed_zero_propagate_as_in_loop(dtype, scalar):
    special = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -2.0, 1e-310, 1e-40, 3e38], dtype=dtype)
    x, y, z = (t.reshape(-1).contiguous() for t in torch.meshgrid(special, special, special, indexing="ij"))

    results = run_all_operations(x, y, z, scalar)

    eps, tiny = torch.finfo(dtype).eps, torch.finfo(dtype).tiny  # eps * tiny is a unit of subnormal numbers
    for op, result in results.items():
        if op == "fill":
            expected = torch.full_like(x, scalar)
        else:
            expected = torch.empty_like(x)
            loop.OPERATIONS[op](expected, scalar, *(x, y, z)[: NUM_INPUTS[op]])
        assert torch.equal(result.isnan(), expected.isnan()), op
        assert torch.equal(result.isinf(), expected.isinf()), op
        known = ~expected.isnan()
        assert torch.equal(result[known].signbit(), expected[known].signbit()), op
        torch.testing.assert_close(result[known], expected[known], rtol=2 * eps, atol=4 * eps * tiny, msg=op)


def test_exp_and_log_are_within_two_ulps_on_the_whole_range():
    """Measured over all float32 numbers: exp 1.02, log 0.83; without fused products and sums a little more."""
    bits = np.arange(0, 2**32, 2053, dtype=np.uint64).astype(np.uint32)  # every exponent, 4000 mantissas each
    near = np.linspace(-104.5, 89.5, 200_001, dtype=np.float32).view(np.uint32)  # where exp is neither 0 nor infinite
    x = np.concatenate([bits, near]).view(np.float32)
    tensor = torch.from_numpy(x.copy())

    results = run_all_operations(tensor, tensor, tensor, 1.0)

    for op, function in (("exp", np.exp), ("log", np.log)):
        with np.errstate(all="ignore"):
            exact = function(x.astype(np.float64))
            rounded = exact.astype(np.float32)
        got = results[op].numpy()
        special = ~np.isfinite(rounded)
        np.testing.assert_array_equal(got[special], rounded[special])
        assert ulps_apart(got[~special], exact[~special]).max() <= 2.0


@pytest.mark.parametrize("raised", [None, constant(0.5)])
def test_a_logarithm_of_a_bounded_number_keeps_its_accuracy_and_nan(raised):
    raise_it = () if raised is None else (Instruction("add_scalar", (2,), raised, 2),)
    code = (Instruction("maximum", (0,), constant(1.0), 2), *raise_it, Instruction("log", (2,), None, 1))
    program = Program(("param", "update"), ("update",), (Segment(code),), (), 1)
    x = torch.cat([torch.logspace(-40, 38, 5000), torch.tensor([0.0, -1.0, math.inf, -math.inf, math.nan])])
    columns = {"param": [x], "update": [torch.zeros_like(x)]}

    run_program(program, columns)

    lowest = 1.0 if raised is None else 1.5
    argument = np.maximum(x.numpy(), np.float32(1.0)) + np.float32(lowest - 1)
    got, exact = columns["update"][0].numpy(), np.log(argument.astype(np.float64))
    assert "logarithm_of_positive(s" in source_of(program, Signature(torch.float32, (torch.float32,) * 2, ()))
    assert ulps_apart(got[:-5], exact[:-5]).max() <= 2.0
    assert got[-5:-1].tolist() == pytest.approx([math.log(lowest)] * 2 + [math.inf, math.log(lowest)], rel=2 * EPS)
    assert math.isnan(got[-1])


@pytest.mark.parametrize(
    ("op", "number"), [("add_scalar", constant(-1.0)), ("add_scalar", named("floor")), ("mul_scalar", constant(0.0))]
)
def test_a_bounded_number_that_was_lowered_again_is_not_taken_for_positive(op, number):
    code = (
        Instruction("maximum", (0,), constant(1.0), 2),
        Instruction(op, (2,), number, 2),
        Instruction("log", (2,), None, 1),
    )
    program = Program(("param", "update"), ("update",), (Segment(code),), (), 1)
    columns = {"param": [torch.tensor([0.5, 1.0])], "update": [torch.zeros(2)]}

    run_program(program, columns, {"floor": -1.0})

    assert columns["update"][0].tolist() == [-math.inf] * 2


@pytest.mark.parametrize("bound", [constant(0.0), constant(1e-40), named("floor")])
def test_a_logarithm_of_a_number_that_may_be_0_or_subnormal_takes_care(bound):
    code = (Instruction("maximum", (0,), bound, 2), Instruction("log", (2,), None, 1))
    program = Program(("param", "update"), ("update",), (Segment(code),), (), 1)
    columns = {"param": [torch.tensor([0.0, 1e-40, 1.0])], "update": [torch.zeros(3)]}

    run_program(program, columns, {"floor": 0.0})

    lowest = -math.inf if bound != constant(1e-40) else math.log(1e-40)
    assert columns["update"][0].tolist() == pytest.approx([lowest, math.log(1e-40), 0.0], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_value_of_a_format_is_read_and_rounded_as_torch_does(dtype):
    program = Program(("param", "update"), ("update",), (Segment((Instruction("copy", (0,), None, 1),)),), (), 0)
    values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    bits = np.arange(0, 2**32, 2053, dtype=np.uint64).astype(np.uint32)
    exact = torch.from_numpy(bits.view(np.float32).copy())
    between = (values.float()[:-1] + values.float()[1:]) / 2  # ties
    exact = torch.cat([exact, between])
    read = {"param": [values], "update": [torch.zeros(len(values))]}
    rounded = {"param": [exact], "update": [torch.zeros(len(exact), dtype=dtype)]}

    run_program(program, read)
    run_program(program, rounded)

    for got, expected in ((read["update"][0], values.float()), (rounded["update"][0], exact.to(dtype))):
        assert torch.equal(got.isnan(), expected.isnan())
        known = ~expected.isnan()
        assert torch.equal(got[known], expected[known])
        assert torch.equal(got[known].signbit(), expected[known].signbit())


def test_an_operand_that_is_only_written_is_not_read():
    source = source_of(ALL, Signature(torch.float32, (torch.float32,) * ALL.num_operands, ()))

    assert set(re.findall(r"loaded\(p(\d+)\[", source)) == {"0", "1", "2"}


def test_long_segments_run_in_phases_with_the_same_result(monkeypatch):
    """A cut after every instruction gives the bits of no cut at all."""
    from logclock.backends import emit

    spec = spec_of("dana-star-mk4")
    program = trace(spec.rule)
    made = operands(spec.rule, [(1000,)])
    results = []
    for longest in (1, 10**6):
        monkeypatch.setattr(emit, "LONGEST_PHASE", longest)
        monkeypatch.setattr(fused, "_kernels", {})
        own = copy.deepcopy(made)
        fused.run(spec.rule, *own, spec.scalars(3))
        results.append(written(own))

    assert len(program.segments) == 1
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_sums_over_a_tensor_are_those_of_float64_whatever_its_size():
    code = (Reduction("total", 0, "#0"), Reduction("total_square", 0, "#1"))
    last = (Instruction("fill", (), named("#0"), 1), Instruction("add_scalar", (1,), named("#1"), 1))
    program = Program(("param", "update"), ("update",), (Segment(code), Segment(last)), (), 0)
    params = [torch.randn(size) for size in (1, 5, 1000, 2 * fused.PIECE + 3, 0)]
    columns = {"param": params, "update": [torch.zeros(x.shape) for x in params]}

    run_program(program, columns)

    for param, result in zip(params, columns["update"], strict=True):
        values = param.double().tolist()
        expected = math.fsum(values) + math.fsum(x * x for x in values)
        assert result.tolist() == pytest.approx([expected] * len(values), rel=2 * EPS)


# ---- stochastic rounding


@pytest.mark.parametrize("is_transposed", [False, True])
def test_stochastic_rounding_has_the_bits_of_storage(is_transposed):
    shapes = [(40, 50), (7,), (), (2 * fused.PIECE + 1,), (0,)]
    rounding = storage.Rounding(2**63 + 11, 17, (5, 0, 3, 8, 2), frozenset({"exp_avg", "other"}))
    params = [torch.zeros(shape) for shape in shapes]
    grads = [torch.randn(shape) for shape in shapes]
    grads[1] = torch.tensor([math.nan, math.inf, -math.inf, 3.3e38, -3.39e38, 1e-40, -0.0])
    if is_transposed:
        params[0], grads[0] = params[0].t(), grads[0].t()
    states = {name: [torch.zeros_like(x, dtype=torch.bfloat16) for x in params] for name in ROUNDED.written}
    expected = {name: [x.clone() for x in column] for name, column in states.items()}
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        for name, values in (("exp_avg", grad), ("other", -grad)):
            storage.write(expected[name][i], values, rounding.keys(i, name), storage.element_numbers(param))

    run_program(ROUNDED, {"param": params, "grad": grads, **states}, rounding=rounding)

    for name, column in states.items():
        for got, want in zip(column, expected[name], strict=True):
            assert got.stride() == want.stride()
            assert torch.equal(got.isnan(), want.isnan())
            assert torch.equal(got.nan_to_num(), want.nan_to_num())


def test_only_the_named_states_are_rounded_stochastically():
    grad = torch.full((10_000,), 1.0 + 2**-9)  # a quarter of the way to the next bfloat16
    states = {name: [torch.zeros(10_000, dtype=torch.bfloat16)] for name in ROUNDED.written}
    rounding = storage.Rounding(1, 1, (0,), frozenset({"exp_avg"}))

    run_program(ROUNDED, {"param": [torch.zeros(10_000)], "grad": [grad], **states}, rounding=rounding)

    assert (states["other"][0] == -1.0).all()
    share_up = (states["exp_avg"][0] > 1.0).float().mean().item()
    assert share_up == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 10_000) ** 0.5)


def test_every_elementwise_plan_is_one_program():
    """Otherwise most of the tests above would pass matrices by."""
    assert all(len(plan_of(spec_of(data).rule).parts) == 1 for data in COMPOSITIONS)
