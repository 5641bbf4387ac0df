"""Does emitted Triton compute what `loop` computes? Interpreted on the host, or on a GPU where there is one."""

import copy
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from backends import random_rules
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
from backends.random_rules import SCALARS, rules
from contract.cases import CASES, WEIGHT_DECAY
from contract.runs import set_grads
from hypothesis import HealthCheck, given, settings

from logclock.backends import BACKENDS, emit_triton, fused, gpu, loop, storage, triton_module
from logclock.backends.emit import Signature
from logclock.backends.program import OPERATIONS, Instruction, Program, Reduction, Segment, trace
from logclock.backends.scalars import Scalar, constant, named
from logclock.schedules import Cosine

pytest.importorskip("triton", reason="Triton is made for Linux; `fused` on a GPU says itself that it needs it")

ROOT = Path(__file__).parents[2]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPES = [(300,), (7, 11), (), (0,), (1029,)]


@pytest.fixture(autouse=True)
def quiet_numbers():
    """The interpreter computes with numpy, which warns of what IEEE 754 defines."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture
def small_pieces(monkeypatch):
    """Several pieces and several blocks for tensors of a thousand elements."""
    monkeypatch.setattr(gpu, "PIECE", 512)
    monkeypatch.setattr(gpu, "BLOCK", 128)
    gpu._layout.cache_clear()
    yield
    gpu._layout.cache_clear()


@pytest.fixture
def large_blocks(monkeypatch):
    """For millions of elements, one by one in Python otherwise."""
    monkeypatch.setattr(gpu, "PIECE", 2**16)
    monkeypatch.setattr(gpu, "BLOCK", 2**16)
    gpu._layout.cache_clear()
    yield
    gpu._layout.cache_clear()


def moved(x, device=DEVICE):
    """Return a copy with the same strides on another device."""
    if isinstance(x, list | tuple):
        return type(x)(moved(item, device) for item in x)
    if isinstance(x, dict):
        return {key: moved(item, device) for key, item in x.items()}
    return x.to(device, copy=True)


def both(spec, made, t=3, **options):
    """Run on the operands here and `loop` on the host; return what each has written."""
    ours = moved(made)
    gpu.run(spec.rule, *ours, spec.scalars(t), **options)
    loop.run(spec.rule, *made, spec.scalars(t), **options)
    return moved(written(ours), "cpu"), written(made)


def run_program(program, columns, scalars=None, rounding=None):
    ours = moved(columns)
    gpu._run_program(program, ours["param"], ours, scalars or {}, maximize=False, rounding=rounding)
    for name, column in columns.items():
        for x, y in zip(column, ours[name], strict=True):
            x.copy_(y)


def run_all_operations(x, y, z, scalar):
    columns = {"param": [x], "grad": [y], "new_grad": [z]}
    columns |= {name: [torch.full_like(x, math.nan)] for name in ALL.written}
    run_program(ALL, columns, {"s": scalar})
    return {op: columns[f"out_{op}"][0] for op in OPERATIONS}


# ---- rules


@pytest.mark.parametrize("data", SPECS, ids=lambda data: "+".join([data["name"], *data.get("wrappers", [])]))
def test_every_algorithm_only_rounds_differently_than_loop(data, small_pieces):
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


def test_float64_parameters_are_computed_in_float64():
    spec = spec_of("dana-star-mk4")

    ours, theirs = both(spec, operands(spec.rule, [(50,), ()], dtype=torch.float64))

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
    plain = moved(operands(spec.rule, [(4, 6)] * 4))
    holders = []

    def laid_out(x, i):
        if i == 0:
            return x.t().contiguous().t()  # dense, transposed
        holder = torch.full((6, 16), 7.0, device=DEVICE)
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

    gpu.run(spec.rule, *made, spec.scalars(3))
    gpu.run(spec.rule, *plain, spec.scalars(3))

    assert [x.data_ptr() for x in written(made)] == addresses
    # the mean of the mask is a sum over elements in another order, exact here: they are ones and zeros
    assert all(torch.equal(x, y) for x, y in zip(written(made), written(plain), strict=True))
    assert all(torch.equal(x, y) for x, y in zip(made[1], grads_before, strict=True))
    for holder, i in holders:
        inside = torch.zeros_like(holder, dtype=torch.bool)
        (inside[1:5, 2:14:2] if i == 1 else inside[:4, :6]).fill_(True)
        assert (holder[~inside] == 7.0).all()


def test_memory_that_is_not_aligned_is_read_and_written_where_it_is():
    spec = spec_of("adana")
    whole = torch.full((3, 400), 7.0, device=DEVICE)
    made, twin = moved(operands(spec.rule, [(398,)])), moved(operands(spec.rule, [(398,)]))
    views = [row[1:399].copy_(x[0]) for row, x in zip(whole, [made[0], *made[2]], strict=True)]
    assert views[0].data_ptr() % 16 != 0

    gpu.run(spec.rule, [views[0]], made[1], [[views[1]], [views[2]]], spec.scalars(3))
    gpu.run(spec.rule, *twin, spec.scalars(3))

    assert all(torch.equal(x, y) for x, y in zip(views, written(twin), strict=True))
    assert (whole[:, [0, 399]] == 7.0).all()


@pytest.mark.parametrize("shapes", [[(0,)], [(0,), (2, 0)], [()]])
def test_no_tensors_no_elements_and_single_numbers(shapes):
    spec = spec_of(COMPOSITIONS[0])

    ours, theirs = both(spec, operands(spec.rule, shapes))
    gpu.run(spec.rule, [], [], [[] for _ in spec.rule.state_names], spec.scalars(1))

    assert_rounds_alike(ours, theirs)


def test_maximizing_is_minimizing_the_negated_gradient():
    spec = spec_of("adana")
    made = moved(operands(spec.rule, SHAPES))
    params, grads, states = copy.deepcopy(made)

    gpu.run(spec.rule, *made, spec.scalars(3), maximize=True)
    gpu.run(spec.rule, params, [-grad for grad in grads], states, spec.scalars(3))

    assert all(torch.equal(x, y) for x, y in zip(written(made), written((params, grads, states)), strict=True))


def test_autograd_sees_that_parameters_and_states_changed():
    spec = spec_of("adana")
    params, grads, states = moved(operands(spec.rule, [(3,), (4,)]))
    made = ([torch.nn.Parameter(x) for x in params], grads, states)
    before = [x._version for x in written(made)]

    gpu.run(spec.rule, *made, spec.scalars(1))

    assert all(x._version > old for x, old in zip(written(made), before, strict=True))


def test_scalars_may_be_tensors_on_the_device():
    spec = spec_of("adana")
    made, twin = moved(operands(spec.rule, [(30,)])), moved(operands(spec.rule, [(30,)]))

    gpu.run(spec.rule, *made, spec.scalars(3, torch.tensor(0.25, dtype=torch.float64, device=DEVICE)))
    gpu.run(spec.rule, *twin, spec.scalars(3, 0.25))

    assert all(torch.equal(x, y) for x, y in zip(written(made), written(twin), strict=True))


@pytest.mark.parametrize(("data", "launches"), [("adana", 1), (COMPOSITIONS[0], None)])
def test_all_tensors_of_a_dtype_are_one_launch_a_segment(monkeypatch, data, launches):
    spec = spec_of(data)
    names = []
    launch = gpu._Launch._launch
    monkeypatch.setattr(
        gpu._Launch, "_launch", lambda self, name, *rest: (names.append(name), launch(self, name, *rest))
    )

    gpu.run(spec.rule, *moved(operands(spec.rule, [(30,), (2, 3)])), spec.scalars(3))

    assert names == [f"segment_{k}" for k in range(launches or len(trace(spec.rule).segments))] + (
        ["finish"] if trace(spec.rule).numbers else []
    )


def test_a_tensor_of_another_size_type_or_device_is_refused():
    spec = spec_of("adana")
    params, grads, states = moved(operands(spec.rule, [(4,)]))

    with pytest.raises(RuntimeError, match=r"exp_avg of parameter 0 has 3 elements on .*; it must have 4 on"):
        gpu.run(spec.rule, params, grads, [[torch.zeros(3, device=DEVICE)], states[1]], spec.scalars(1))
    with pytest.raises(RuntimeError, match=r"float32 and float64, got parameters of torch\.complex64\. Use"):
        gpu.run(spec.rule, [params[0].to(torch.complex64)], grads, states, spec.scalars(1))
    with pytest.raises(RuntimeError, match=r"runs on CPUs and CUDA devices, not on meta\. Use backend='foreach'"):
        gpu.run(spec.rule, [torch.zeros(4, device="meta")], grads, states, spec.scalars(1))


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rules(from_anywhere=True))
def test_random_rules_give_the_numbers_of_direct_evaluation(tmp_path_factory, rule):
    tensors = random_rules.operands(rule)
    expected = rule(*[tensor.clone() for tensor in tensors], **SCALARS)
    param, grad, *states = moved(tensors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGCLOCK_CACHE", str(tmp_path_factory.getbasetemp()))  # nobody asks for these rules again
        gpu.run(rule, [param], [grad], [[state] for state in states], SCALARS)

    assert torch.equal(grad.cpu(), tensors[1])
    assert all(torch.equal(x.cpu(), y) for x, y in zip([param, *states], expected, strict=True))


# ---- what is missing is said


def test_without_a_gpu_or_triton_it_says_what_is_missing(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "finds no CUDA device here" in fused.unavailable_reason(cuda)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert fused.unavailable_reason(cuda) is None

    monkeypatch.setattr(triton_module.importlib.util, "find_spec", lambda name: None)
    assert "needs Triton on cuda, which is not installed. Run `pip install triton`" in fused.unavailable_reason(cuda)


def test_tensors_of_a_cpu_are_taken_by_the_interpreter_alone(monkeypatch):
    spec = spec_of("adana")
    monkeypatch.setattr(triton_module, "is_interpreted", lambda: False)

    with pytest.raises(RuntimeError, match=r"runs on CPUs and CUDA devices|cannot run on cpu"):
        gpu.run(spec.rule, *operands(spec.rule, [(4,)]), spec.scalars(1))


@pytest.mark.parametrize(
    "code",
    [
        Instruction("erf", (0,), None, 1),
        Instruction("mul_scalar", (0,), Scalar("gamma", (named("s"),)), 1),
        Reduction("largest", 0, "#0"),
    ],
)
def test_an_operation_that_nobody_has_written_for_triton_is_an_error(code):
    steps = (code, Instruction("fill", (), constant(1.0), 1))
    program = Program(("param", "update"), ("update",), (Segment(steps),), (), 0)

    with pytest.raises(NotImplementedError, match=r"cannot write the operation '(erf|gamma|largest)'.* or add it"):
        emit_triton.source_of(program, Signature(torch.float32, (torch.float32,) * 2, ()))


def test_every_operation_is_written():
    assert set(emit_triton.OPERATIONS) >= set(OPERATIONS)


# ---- operations, one by one


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


@pytest.mark.parametrize("scalar", [0.5, -0.0, math.inf, math.nan])
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


def test_exp_and_log_are_within_two_ulps_on_the_whole_range(large_blocks):
    """The bound of the C++ ones, which are the same polynomials."""
    code = (Instruction("exp", (0,), None, 1), Instruction("log", (0,), None, 2))
    program = Program(("param", "update", "moved"), ("update", "moved"), (Segment(code),), (), 0)
    bits = np.arange(0, 2**32, 20533, dtype=np.uint64).astype(np.uint32)  # every exponent, 400 mantissas each
    near = np.linspace(-104.5, 89.5, 50_001, dtype=np.float32).view(np.uint32)  # where exp is neither 0 nor infinite
    x = np.concatenate([bits, near]).view(np.float32)
    columns = {"param": [torch.from_numpy(x.copy())]} | {name: [torch.zeros(len(x))] for name in ("update", "moved")}

    run_program(program, columns)

    for name, function in (("update", np.exp), ("moved", np.log)):
        exact = function(x.astype(np.float64))
        rounded = exact.astype(np.float32)
        got = columns[name][0].numpy()
        special = ~np.isfinite(rounded)
        np.testing.assert_array_equal(got[special], rounded[special])
        assert ulps_apart(got[~special], exact[~special]).max() <= 2.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_value_of_a_format_is_read_and_rounded_as_torch_does(dtype, large_blocks):
    program = Program(("param", "update"), ("update",), (Segment((Instruction("copy", (0,), None, 1),)),), (), 0)
    values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    bits = np.arange(0, 2**32, 20533, dtype=np.uint64).astype(np.uint32)
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


def test_scalar_expressions_are_computed_in_float64():
    third = Scalar("div", (constant(1.0), constant(3.0)))
    power = Scalar("exp", (Scalar("mul", (Scalar("log", (named("s"),)), constant(0.1))),))
    chosen = Scalar("where", (Scalar("greater", (named("s"), constant(1.0))), third, constant(math.inf)))
    root = Scalar("maximum", (Scalar("sqrt", (named("s"),)), Scalar("sign", (Scalar("neg", (named("s"),)),))))
    values = [third, power, chosen, root, named("#numel")]
    outputs = tuple(f"out{k}" for k in range(len(values)))
    code = tuple(Instruction("fill", (), value, 1 + k) for k, value in enumerate(values))
    program = Program(("param", *outputs), outputs, (Segment(code),), (), 0)
    columns = {name: [torch.zeros(5, dtype=torch.float64)] for name in ("param", *outputs)}

    run_program(program, columns, {"s": 7.0})

    expected = [1 / 3, 7.0**0.1, 1 / 3, 7.0**0.5, 5.0]
    assert [columns[name][0][4].item() for name in outputs] == pytest.approx(expected, rel=1e-15)


def test_sums_over_a_tensor_are_those_of_float64_whatever_its_size(small_pieces):
    code = (Reduction("total", 0, "#0"), Reduction("total_square", 0, "#1"))
    last = (Instruction("fill", (), named("#0"), 1), Instruction("add_scalar", (1,), named("#1"), 1))
    program = Program(("param", "update"), ("update",), (Segment(code), Segment(last)), (), 0)
    params = [torch.randn(size) for size in (1, 5, 1000, 2 * gpu.PIECE + 3, 0)]
    columns = {"param": params, "update": [torch.zeros(x.shape) for x in params]}

    run_program(program, columns)

    for param, result in zip(params, columns["update"], strict=True):
        values = param.double().tolist()
        expected = math.fsum(values) + math.fsum(x * x for x in values)
        assert result.tolist() == pytest.approx([expected] * len(values), rel=2 * EPS)


# ---- stochastic rounding


@pytest.mark.parametrize("is_transposed", [False, True])
def test_stochastic_rounding_has_the_bits_of_storage(is_transposed, small_pieces):
    shapes = [(20, 30), (7,), (), (gpu.PIECE + 1,), (0,)]
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


# ---- files and compilation


def test_the_source_is_kept_and_a_damaged_file_is_written_again(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGCLOCK_CACHE", str(tmp_path))
    source = "ANSWER = 41 + 1\n"
    triton_module.module.__wrapped__(source)
    (path,) = (tmp_path / "kernels").glob("*.py")  # beside a __pycache__, if Python keeps bytecode
    path.write_text("ANSWER = 7\n")

    assert triton_module.module.__wrapped__(source).ANSWER == 42
    assert path.read_text() == source
    assert [*(tmp_path / "kernels").glob(".partial*")] == []


def test_a_cache_folder_that_cannot_be_used_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way of the folder")
    monkeypatch.setenv("LOGCLOCK_CACHE", str(tmp_path / "file"))

    assert triton_module.module.__wrapped__("ANSWER = 42\n").ANSWER == 42


def compiling(script, tmp_path, *arguments):
    """Run a script that compiles, in a process that does not interpret, and return what it printed."""
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "benchmarks", "tests"))
    environment = os.environ | {"PYTHONPATH": path, "TRITON_CACHE_DIR": str(tmp_path), "LOGCLOCK_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments], env=environment, capture_output=True, text=True, timeout=290
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def compile_for_gpus(tmp_path, *arguments):
    compiling("benchmarks/gpu_compile.py", tmp_path, "--json", str(tmp_path / "out.json"), *arguments)
    return json.loads((tmp_path / "out.json").read_text())["kernels"]


def test_every_operation_compiles_in_both_arithmetics(tmp_path):
    assert compiling("tests/backends/ahead_of_time.py", tmp_path, "operations").split() == ["segment_0", "finish"] * 2


@pytest.mark.slow
def test_compositions_compile_with_every_option(tmp_path):
    printed = compiling("tests/backends/ahead_of_time.py", tmp_path, "compositions").split()

    assert printed.count("finish") == 2 * len(COMPOSITIONS) + 1


def test_kernels_compile_for_two_architectures_with_wide_loads_and_nothing_spilled(tmp_path):
    kernels = compile_for_gpus(tmp_path, "--optimizers", "adamw")

    assert {row["architecture"] for row in kernels} == {"sm_80", "sm_90"}
    for row in kernels:
        assert row["kernel"] == "segment_0"
        assert row["widest_load_bits"] == 128
        assert row["threads"] >= 512
        assert row["stack_bytes"] == 0


@pytest.mark.slow
def test_every_algorithm_and_format_compiles_for_two_architectures(tmp_path):
    kernels = compile_for_gpus(tmp_path)

    assert {row["optimizer"] for row in kernels} == {name for name, case in CASES.items() if case.is_elementwise}
    assert all(row["threads"] >= 512 and row["stack_bytes"] <= 16 for row in kernels)


# ---- the whole contract


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name, case in CASES.items() if case.is_elementwise))
def test_equals_the_reference_under_running_schedules(monkeypatch, name):
    case = CASES[name]
    monkeypatch.setitem(BACKENDS, "fused", gpu.run)
    start = [p.detach().clone() for p in case.params(dtype=torch.float64, determined=True)]
    params = [torch.nn.Parameter(moved(p)) for p in start]
    schedule = Cosine(total_steps=12, warmup_steps=3, warmup_start=0.01, final=0.1)
    optimizer = case.build(params, lr=1e-2, weight_decay=WEIGHT_DECAY, backend="fused", **case.settings)
    grads = [[] for _ in params]

    for step in range(1, 13):
        set_grads(start, step, scale=0.1 + 1 / step)
        for history, param, twin in zip(grads, params, start, strict=True):
            history.append(twin.grad.numpy().copy())
            param.grad = moved(twin.grad)
        optimizer.param_groups[0]["lr"] = 1e-2 * schedule(step)
        optimizer.step()

    def lr(t):
        return 1e-2 * schedule(t)

    def decay(t):
        return (lr(t) if case.coupled else schedule(t)) * 0.5 / (4.0 + t)

    for param, first, history in zip(params, start, grads, strict=True):
        expected = case.reference(first.numpy(), history, lr=lr, decay=decay)
        ours = [param.detach(), *(v for k, v in optimizer.state[param].items() if k != "step")]
        for mine, reference in zip(ours, expected, strict=True):
            # float64 rounding of 12 updates in another order of operations
            np.testing.assert_allclose(mine.cpu().numpy(), reference, rtol=1e-12, atol=1e-13)
