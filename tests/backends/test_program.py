import operator

import pytest
import torch
from backends.layouts import ELEMENTWISE
from backends.random_rules import SCALARS, operands, rule_of, rules
from hypothesis import HealthCheck, given, settings

from logclock.backends import foreach, loop
from logclock.backends.program import OPERATIONS, Instruction, MatrixPart, Reduction, plan_of, trace
from logclock.rules import Spec
from logclock.rules.ops import absolute, maximum, minimum, norm, power, rms, sign, sqrt, total, where

# What each instruction means, written anew; `OPERATIONS` holds the same as text.
MEANING = {
    "add": lambda s, x, y: x + y,
    "sub": lambda s, x, y: x - y,
    "mul": lambda s, x, y: x * y,
    "div": lambda s, x, y: x / y,
    "add_scaled": lambda s, x, y: x + s * y,
    "add_scaled_quotient": lambda s, x, y, z: x + s * y / z,
    "lerp": lambda s, x, y: x + s * (y - x),
    "add_scalar": lambda s, x: x + s,
    "mul_scalar": lambda s, x: x * s,
    "div_scalar": lambda s, x: x / s,
    "neg": lambda s, x: -x,
    "sqrt": lambda s, x: x.sqrt(),
    "absolute": lambda s, x: x.abs(),
    "sign": lambda s, x: x.sign(),
    "maximum": lambda s, x: x.clamp(min=s),
    "minimum": lambda s, x: x.clamp(max=s),
    "log": lambda s, x: x.log(),
    "exp": lambda s, x: x.exp(),
    "copy": lambda s, x: x.clone(),
    "scalar_div": lambda s, x: torch.as_tensor(s, dtype=x.dtype) / x,
    "larger": lambda s, x, y: torch.maximum(x, y),
    "smaller": lambda s, x, y: torch.minimum(x, y),
    "greater": lambda s, x, y: (x > y).to(x.dtype),
    "greater_equal": lambda s, x, y: (x >= y).to(x.dtype),
    "greater_scalar": lambda s, x: (x > s).to(x.dtype),
    "greater_equal_scalar": lambda s, x: (x >= s).to(x.dtype),
    "less_scalar": lambda s, x: (x < s).to(x.dtype),
    "less_equal_scalar": lambda s, x: (x <= s).to(x.dtype),
    "where": lambda s, x, y, z: torch.where(x != 0, y, z),
    "fill": None,  # needs a size: see interpret
}
REDUCED = {"total": lambda x: x.sum().item(), "total_square": lambda x: (x * x).sum().item()}


def interpret(rule, tensors, scalars):
    """Run a rule's program one instruction after another and return parameter and states."""
    program = trace(rule)
    by_name = dict(zip(("param", "grad", *rule.state_names), tensors, strict=True))
    slots = [*(by_name[name] for name in program.operands), *[None] * program.num_temporaries]
    values = {**scalars, "#numel": float(tensors[0].numel())}
    for segment in program.segments:
        for step in segment.code:
            if isinstance(step, Reduction):
                values[step.name] = REDUCED[step.kind](slots[step.input])
                continue
            scalar = None if step.scalar is None else step.scalar(values)
            if step.op == "fill":
                slots[step.output] = torch.full_like(tensors[0], scalar)
            else:
                slots[step.output] = MEANING[step.op](scalar, *(slots[i] for i in step.inputs))
    by_name |= dict(zip(program.operands, slots, strict=False))
    assert by_name["grad"] is tensors[1], "the gradient was written"
    return [by_name["param"], *(by_name[name] for name in rule.state_names)]


def code_of(function, *, num_states=1, scalars=("s",)):
    """Return the program of a function as (operation, inputs, output) triples: slots 0 parameter, 1 gradient, 2 state.

    An operand that no instruction reads or writes has a slot all the same.
    """
    rule = rule_of(function, tuple(f"state{i}" for i in range(num_states)), scalars)
    return [(i.op, i.inputs, i.output) for i in trace(rule).instructions]


def test_every_operation_has_a_meaning_and_runs_on_both_backends():
    assert set(OPERATIONS) == set(MEANING) == set(loop.OPERATIONS)
    assert set(foreach.OPERATIONS) <= set(OPERATIONS)  # the others run one by one


# Slots: 0 parameter, 1 gradient, 2 state, 3 and up scratch. Each rule replaces the parameter by one operation.
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda p, g, a, *, s: (p + g, a), [("add", (0, 1), 0)]),
        (lambda p, g, a, *, s: (p - g, a), [("sub", (0, 1), 0)]),
        (lambda p, g, a, *, s: (p * g, a), [("mul", (0, 1), 0)]),
        (lambda p, g, a, *, s: (p / g, a), [("div", (0, 1), 0)]),
        (lambda p, g, a, *, s: (p + s * g, a), [("add_scaled", (0, 1), 0)]),
        (lambda p, g, a, *, s: (p - g * s, a), [("add_scaled", (0, 1), 0)]),
        (lambda p, g, a, *, s: (s * g + p, a), [("mul_scalar", (1,), 3), ("add", (3, 0), 0)]),
        (lambda p, g, a, *, s: (p - s * (g / a), a), [("add_scaled_quotient", (0, 1, 2), 0)]),
        (lambda p, g, a, *, s: (p + s * (g - p), a), [("lerp", (0, 1), 0)]),
        (lambda p, g, a, *, s: (p + s * (p - g), a), [("sub", (0, 1), 3), ("add_scaled", (0, 3), 0)]),
        (lambda p, g, a, *, s: (p + s, a), [("add_scalar", (0,), 0)]),
        (lambda p, g, a, *, s: (p - s, a), [("add_scalar", (0,), 0)]),
        (lambda p, g, a, *, s: (s - p, a), [("neg", (0,), 3), ("add_scalar", (3,), 0)]),
        (lambda p, g, a, *, s: (s * p, a), [("mul_scalar", (0,), 0)]),
        (lambda p, g, a, *, s: (p * s * s, a), [("mul_scalar", (0,), 0)]),
        (lambda p, g, a, *, s: (p / s, a), [("div_scalar", (0,), 0)]),
        (lambda p, g, a, *, s: (-p, a), [("neg", (0,), 0)]),
        (lambda p, g, a, *, s: (sqrt(p), a), [("sqrt", (0,), 0)]),
        (lambda p, g, a, *, s: (absolute(p), a), [("absolute", (0,), 0)]),
        (lambda p, g, a, *, s: (sign(p), a), [("sign", (0,), 0)]),
        (lambda p, g, a, *, s: (maximum(p, s), a), [("maximum", (0,), 0)]),
        (lambda p, g, a, *, s: (minimum(p, 1.0), a), [("minimum", (0,), 0)]),
        (lambda p, g, a, *, s: (power(p, s), a), [("log", (0,), 3), ("mul_scalar", (3,), 3), ("exp", (3,), 0)]),
        (lambda p, g, a, *, s: (p, g), [("copy", (1,), 2)]),
        (lambda p, g, a, *, s: (p, a), []),
        (lambda p, g, a, *, s: (s / p, a), [("scalar_div", (0,), 0)]),
        (lambda p, g, a, *, s: (maximum(p, g), a), [("larger", (0, 1), 0)]),
        (lambda p, g, a, *, s: (p * (g > 0), a), [("greater_scalar", (1,), 3), ("mul", (0, 3), 0)]),
        (
            lambda p, g, a, *, s: (where(g > a, p, s), a),
            [("greater", (1, 2), 3), ("fill", (), 4), ("where", (3, 0, 4), 0)],
        ),
    ],
)
def test_each_kind_of_instruction(function, expected):
    assert code_of(function) == expected


def test_a_difference_that_is_used_twice_is_not_merged():
    code = code_of(lambda p, g, a, *, s: (p + s * (g - p), a + (g - p)))
    assert [op for op, _, _ in code].count("lerp") == 1

    def shared(p, g, a, *, s):
        difference = g - p
        return p + s * difference, a + difference

    assert code_of(shared) == [("sub", (1, 0), 3), ("add_scaled", (0, 3), 0), ("add", (2, 3), 2)]


def test_a_merged_difference_that_is_a_result_too_is_still_computed():
    def rule(p, g, a, *, s):
        difference = g - p
        return p + s * difference, difference

    assert interpret(
        rule_of(rule, ("a",), ("s",)), [torch.tensor(2.0), torch.tensor(6.0), torch.tensor(0.0)], {"s": 0.5}
    ) == [4.0, 4.0]


def test_a_state_that_is_read_later_is_not_overwritten_early():
    def rule(p, g, a, *, s):
        new = a + g
        return p + new * a, new  # the old a is read after the new one exists

    assert code_of(rule) == [("add", (2, 1), 3), ("mul", (3, 2), 4), ("add", (0, 4), 0), ("copy", (3,), 2)]


def test_scratch_is_used_again():
    def rule(p, g, a, *, s):
        for _ in range(10):
            g = sqrt(g)
        return p + g, a

    program = trace(rule_of(rule, ("a",), ("s",)))

    assert program.num_temporaries == 1
    assert len(program.instructions) == 11


def test_values_that_nothing_reads_are_not_computed():
    def rule(p, g, a, *, s):
        sqrt(g)
        return p + g, a

    assert code_of(rule) == [("add", (0, 1), 0)]


# The number of passes over memory is what a step costs. Counted by hand from the equations in the specs.
@pytest.mark.parametrize(
    ("name", "operations", "temporaries"),
    [
        # b = mu b + g; gw g + bw b; theta - lr u; - decay theta
        ("sgd", "mul_scalar add mul_scalar add_scaled add_scaled add_scaled", 1),
        # m; g g; v; sqrt(v) c2 + eps; theta - lr c1 m / ...; - decay theta
        ("adamw", "lerp mul lerp sqrt mul_scalar add_scalar add_scaled_quotient add_scaled", 1),
        # m; g g; v; g + gain m; sqrt(v) + eps; theta - lr (...) / (...); - decay theta
        ("adana", "lerp mul lerp add_scaled sqrt add_scalar add_scaled_quotient add_scaled", 2),
    ],
)
def test_the_programs_of_the_short_rules(name, operations, temporaries):
    program = trace(Spec.family.get(name)().rule)

    assert [instruction.op for instruction in program.instructions] == operations.split()
    assert program.num_temporaries == temporaries


@pytest.mark.parametrize(("name", "most"), [("dana-mk4", 3), ("dana-star", 4), ("dana-star-mk4", 4)])
def test_the_scratch_of_the_long_rules_stays_small(name, most):
    assert trace(Spec.family.get(name)().rule).num_temporaries <= most


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("t", [1, 7, 10_000])
def test_the_program_of_every_registered_rule_is_the_rule(name, t):
    spec = Spec.family.get(name)(weight_decay=0.5)
    rule, scalars = spec.rule, spec.scalars(t)
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.rand(50, generator=generator, dtype=torch.float64) for _ in range(2 + len(rule.state_names))]

    for got, expected in zip(interpret(rule, tensors, scalars), rule(*tensors, **scalars), strict=True):
        # merged multiply-adds round differently, a few units in the last place
        torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-15)


def test_a_program_is_traced_once():
    rule = Spec.family.get("adana")().rule

    assert trace(rule) is trace(rule)


def bound(rule, scalars):
    return [None if i.scalar is None else i.scalar(scalars) for i in trace(rule).instructions]


def test_scalars_are_computed_when_their_names_have_values():
    def rule(p, g, *, a, b):
        return p * (1 - a) - (a * b + 2) / b * g - g / (-b)

    made = rule_of(rule, (), ("a", "b"))

    assert bound(made, {"a": 0.5, "b": 4.0}) == [0.5, -1.0, -4.0, None]
    assert bound(made, {"a": 0.25, "b": 4.0}) == [0.75, -0.75, -4.0, None]


def test_scalars_may_be_tensors():
    (scalar,) = bound(rule_of(lambda p, g, *, a: p - (1 - a) * g, (), ("a",)), {"a": torch.tensor(0.25)})

    assert isinstance(scalar, torch.Tensor)
    assert scalar == -0.75


# ----- segments


def test_a_reduction_cuts_the_program_and_its_number_is_a_scalar_of_the_next_segment():
    rule = rule_of(lambda p, g, *, s: p - s * g / norm(g), (), ("s",))
    first, second = trace(rule).segments

    assert first.instructions == ()
    assert [(r.kind, r.input) for r in first.reductions] == [("total_square", 1)]
    assert second.reductions == ()
    assert trace(rule).per_tensor == {"#numel", first.reductions[0].name}


def test_independent_reductions_share_a_segment_and_dependent_ones_do_not():
    assert len(trace(rule_of(lambda p, g, *, s: p * norm(p) - g / norm(g), (), ("s",))).segments) == 2
    assert len(trace(rule_of(lambda p, g, *, s: p - g / norm(p - g / norm(g)), (), ("s",))).segments) == 3


def test_a_value_that_crosses_a_cut_is_computed_again_and_nothing_is_written_before_the_last_segment():
    def rule(p, g, a, *, s):
        a = a + s * g
        return p - a / rms(a), a

    first, second = trace(rule_of(rule, ("a",), ("s",))).segments

    assert [i.op for i in first.instructions] == ["add_scaled"]
    assert all(i.output >= 3 for i in first.instructions)  # scratch
    assert "add_scaled" in [i.op for i in second.instructions]


def test_a_reduction_that_nothing_reads_makes_no_segment():
    def rule(p, g, *, s):
        norm(g)
        return p - s * g

    assert len(trace(rule_of(rule, (), ("s",))).segments) == 1


@pytest.mark.parametrize("run", [loop.run, foreach.run])
def test_numbers_per_tensor_are_over_all_pieces_of_each_tensor(run, monkeypatch):
    monkeypatch.setattr("logclock.backends.operands.CPU_PIECE", 3)
    rule = rule_of(lambda p, g, *, s: p * total(g) + s * rms(g), (), ("s",))
    params = [torch.ones(7, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64), torch.ones(0)]
    grads = [torch.arange(7.0, dtype=torch.float64), torch.full((2, 2), -3.0, dtype=torch.float64), torch.ones(0)]

    run(rule, params[:2], grads[:2], [], {"s": 2.0})
    run(rule, params[2:], grads[2:], [], {"s": 2.0})

    # 0 + ... + 6 = 21, its mean square 91 / 7 = 13; 4 times -3, and 3
    torch.testing.assert_close(params[0], torch.full((7,), 21 + 2 * 13**0.5, dtype=torch.float64))
    torch.testing.assert_close(params[1], torch.full((2, 2), -12 + 2 * 3.0, dtype=torch.float64))


@pytest.mark.parametrize("run", [loop.run, foreach.run])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_number_that_is_not_finite_stays_within_its_tensor(run, value):
    rule = rule_of(lambda p, g, *, s: p - s * g / norm(g), (), ("s",))
    params, grads = [torch.ones(3), torch.ones(3)], [torch.tensor([1.0, value, 1.0]), torch.tensor([3.0, 4.0, 0.0])]

    run(rule, params, grads, [], {"s": 1.0})

    assert params[0].isnan().any()
    torch.testing.assert_close(params[1], torch.tensor([0.4, 0.2, 1.0]))


def test_a_result_that_is_a_number_is_refused():
    with pytest.raises(ValueError, match="makes a number of 'moved', which is a tensor"):
        trace(rule_of(lambda p, g, *, s: norm(p), (), ("s",)))


def test_the_parts_of_a_matrix_rule_pass_a_buffer_and_the_direction_is_one_pass():
    plan = plan_of(Spec.family.get("muon")().rule)

    assert [isinstance(part, MatrixPart) for part in plan.parts] == [False, True, False]
    assert plan.buffers == ("update",)
    assert plan.parts[0].written == ("update", "momentum_buffer")
    assert plan.parts[2].written == ("param",)


def test_instructions_are_values():
    assert Instruction("add", (0, 1), None, 0) == Instruction("add", (0, 1), None, 0)


# ----- random rules, whose arithmetic is exact

PROPERTY = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def check_random_rule(rule):
    """Compare the program, both backends, and the rule called on tensors: the very same numbers."""
    tensors = operands(rule)
    expected = rule(*[tensor.clone() for tensor in tensors], **SCALARS)
    interpreted = interpret(rule, [tensor.clone() for tensor in tensors], SCALARS)
    assert all(map(torch.equal, interpreted, expected))
    for run in (loop.run, foreach.run):
        for scalars in (SCALARS, {name: torch.tensor(value, dtype=torch.float64) for name, value in SCALARS.items()}):
            param, grad, *states = [tensor.clone() for tensor in tensors]
            run(rule, [param], [grad], [[state] for state in states], scalars)
            assert torch.equal(grad, tensors[1])
            assert all(map(torch.equal, [param, *states], expected))


@PROPERTY
@given(rules())
def test_random_rules_give_the_numbers_of_direct_evaluation(rule):
    check_random_rule(rule)


@PROPERTY
@given(rules(from_anywhere=True))
def test_random_rules_that_return_and_combine_anything(rule):
    check_random_rule(rule)


@pytest.mark.parametrize(
    ("function", "num_states"),
    [
        (lambda p, g, a, *, s: (p - s * g, p), 1),  # keep the old parameter
        (lambda p, g, a, b, *, s: (p, b, a), 2),  # swap
        (lambda p, g, a, b, *, s: (p, a + s * g, a), 2),  # shift
        (lambda p, g, a, b, c, *, s: (p, c, a, b), 3),  # rotate
        (lambda p, g, a, b, *, s: (a, p, p), 2),
        (lambda p, g, a, *, s: (g, g), 1),
    ],
)
def test_results_that_are_old_values_of_other_names_arrive_unharmed(function, num_states):
    rule = rule_of(function, tuple("abc"[:num_states]), ("s",))
    tensors = operands(rule)

    assert all(map(torch.equal, interpret(rule, tensors, {"s": 0.5}), function(*tensors, s=0.5)))


@pytest.mark.parametrize("combine", [operator.add, operator.sub])
def test_a_scaled_tensor_may_be_combined_with_itself(combine):
    def function(p, g, *, s):
        scaled = s * g
        return (combine(scaled, scaled),)

    rule = rule_of(function, (), ("s",))
    tensors = operands(rule)

    assert torch.equal(interpret(rule, tensors, {"s": 0.5})[0], function(*tensors, s=0.5)[0])


@pytest.mark.parametrize("results", [1, 3])
def test_a_stage_that_returns_another_number_of_results_is_refused_by_name(results):
    def forgetful(param, grad, a):
        return (param, a, grad)[:results]

    with pytest.raises(ValueError, match=rf"forgetful.* returns {results} .*2"):
        trace(rule_of(forgetful, ("a",), ()))
