import operator

import pytest
import torch
from backends.layouts import ELEMENTWISE
from backends.random_rules import SCALARS, operands, rules
from hypothesis import HealthCheck, given, settings

from logclock.backends import foreach, loop
from logclock.backends.program import OPERATIONS, Instruction, trace
from logclock.rules import Rule, Spec
from logclock.rules.ops import absolute, maximum, minimum, power, sign, sqrt

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
}


def interpret(rule, tensors, scalars):
    """Run a rule's program one instruction after another and return parameter and states."""
    program = trace(rule)
    slots = [*tensors, *[None] * program.num_temporaries]
    for op, inputs, scalar, output in program.bind(scalars):
        slots[output] = MEANING[op](scalar, *(slots[i] for i in inputs))
    assert slots[1] is tensors[1], "the gradient was written"
    return [slots[0], *slots[2 : program.num_operands]]


def code_of(function, *, num_states=1, scalars=("s",)):
    """Return the program of a function as (operation, inputs, output) triples."""
    rule = Rule(function, tuple(f"state{i}" for i in range(num_states)), scalars)
    return [(i.op, i.inputs, i.output) for i in trace(rule).instructions]


def test_every_operation_has_a_meaning_and_runs_on_both_backends():
    assert set(OPERATIONS) == set(MEANING) == set(loop.OPERATIONS) == set(foreach.OPERATIONS)


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
        Rule(rule, ("a",), ("s",)), [torch.tensor(2.0), torch.tensor(6.0), torch.tensor(0.0)], {"s": 0.5}
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

    program = trace(Rule(rule, ("a",), ("s",)))

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
    program = trace(Spec.family.get(name).rule)

    assert [instruction.op for instruction in program.instructions] == operations.split()
    assert program.num_temporaries == temporaries


@pytest.mark.parametrize(("name", "most"), [("dana-mk4", 3), ("dana-star", 4), ("dana-star-mk4", 4)])
def test_the_scratch_of_the_long_rules_stays_small(name, most):
    assert trace(Spec.family.get(name).rule).num_temporaries <= most


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("t", [1, 7, 10_000])
def test_the_program_of_every_registered_rule_is_the_rule(name, t):
    rule, scalars = Spec.family.get(name).rule, Spec.family.get(name)(weight_decay=0.5).scalars(t)
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.rand(50, generator=generator, dtype=torch.float64) for _ in range(2 + len(rule.state_names))]

    for got, expected in zip(interpret(rule, tensors, scalars), rule(*tensors, **scalars), strict=True):
        # merged multiply-adds round differently, a few units in the last place
        torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-15)


def test_a_program_is_traced_once():
    rule = Spec.family.get("adana").rule

    assert trace(rule) is trace(rule)


def test_scalars_are_computed_when_they_are_bound():
    def rule(p, g, *, a, b):
        return p * (1 - a) - (a * b + 2) / b * g - g / (-b)

    program = trace(Rule(rule, (), ("a", "b")))
    before, after = ([scalar for _, _, scalar, _ in program.bind({"a": a, "b": 4.0})] for a in (0.5, 0.25))

    assert before == [0.5, -1.0, -4.0, None]
    assert after == [0.75, -0.75, -4.0, None]


def test_scalars_may_be_tensors():
    program = trace(Rule(lambda p, g, *, a: p - (1 - a) * g, (), ("a",)))

    ((_, _, scalar, _),) = program.bind({"a": torch.tensor(0.25)})

    assert isinstance(scalar, torch.Tensor)
    assert scalar == -0.75


@pytest.mark.parametrize("function", [lambda p, g, *, s: s / p, lambda p, g, *, s: 1 / p])
def test_a_scalar_divided_by_a_tensor_is_refused(function):
    with pytest.raises(TypeError, match="a rule cannot divide a scalar by a tensor; write tensor / tensor or multiply"):
        trace(Rule(function, (), ("s",)))


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
    rule = Rule(function, tuple("abc"[:num_states]), ("s",))
    tensors = operands(rule)

    assert all(map(torch.equal, interpret(rule, tensors, {"s": 0.5}), function(*tensors, s=0.5)))


@pytest.mark.parametrize("combine", [operator.add, operator.sub])
def test_a_scaled_tensor_may_be_combined_with_itself(combine):
    def function(p, g, *, s):
        scaled = s * g
        return (combine(scaled, scaled),)

    rule = Rule(function, (), ("s",))
    tensors = operands(rule)

    assert torch.equal(interpret(rule, tensors, {"s": 0.5})[0], function(*tensors, s=0.5)[0])


@pytest.mark.parametrize("bound", [maximum, minimum])
def test_a_tensor_where_a_scalar_belongs_is_refused_when_the_rule_is_traced(bound):
    with pytest.raises(TypeError, match=bound.__name__):
        trace(Rule(lambda p, g: (bound(p, g),), (), ()))


@pytest.mark.parametrize("results", [1, 3])
def test_a_rule_that_returns_another_number_of_results_is_refused_by_name(results):
    def forgetful(param, grad, a):
        return (param, a, grad)[:results]

    with pytest.raises(ValueError, match=rf"forgetful.* returns {results} .*2"):
        trace(Rule(forgetful, ("a",), ()))
