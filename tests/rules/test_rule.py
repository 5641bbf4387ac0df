import dataclasses
import hashlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

from logclock.rules import Rule, Spec, elementwise
from logclock.rules.ops import sqrt

HEAD = """\
import torch
from logclock.rules.ops import maximum, sqrt

SCALE = 2.0


def update(param, grad, exp_avg, *, lr, ema1):
"""
FIRST_LINE = len(HEAD.splitlines()) + 1


@pytest.fixture
def define(tmp_path):
    """Return a function that puts lines into a file as the body of a rule and imports it."""

    def define(*body, head=HEAD):
        path = tmp_path / "written_rule.py"
        path.write_text(head + "".join(f"    {line}\n" for line in body))
        spec = importlib.util.spec_from_file_location("written_rule", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["written_rule"] = module
        spec.loader.exec_module(module)
        return module.update

    yield define
    sys.modules.pop("written_rule", None)


@pytest.mark.parametrize(
    "body",
    [
        ["return param - lr * grad, exp_avg"],
        ["exp_avg = exp_avg + ema1 * (grad - exp_avg)", "return param - lr * exp_avg, exp_avg"],
        ["root = sqrt(maximum(exp_avg, 0.5))", "return -param / root, exp_avg"],
        ["a, b = param, grad", "return a + b, exp_avg"],
        ['"""Documented."""', "return param, exp_avg"],
    ],
)
def test_the_vocabulary_is_accepted(define, body):
    rule = elementwise(define(*body))

    assert isinstance(rule, Rule)
    assert rule.name == "update"
    assert rule.state_names == ("exp_avg",)
    assert rule.scalar_names == ("lr", "ema1")


@pytest.mark.parametrize(
    ("body", "line", "named"),
    [
        (["return torch.sqrt(param), exp_avg"], 0, "torch.sqrt(param)"),
        (["return param.sqrt(), exp_avg"], 0, "param.sqrt()"),
        (["x = param", "y = x.grad", "return y, exp_avg"], 1, "x.grad"),
        (["if lr > 0:", "    param = param - grad", "return param, exp_avg"], 0, "if lr > 0:"),
        (["for _ in range(3):", "    param = param - grad", "return param, exp_avg"], 0, "for _ in range(3):"),
        (["while lr:", "    lr = 0", "return param, exp_avg"], 0, "while lr:"),
        (["x = grad", "return x if lr else param, exp_avg"], 1, "x if lr else param"),
        (["x = grad", "x += param", "return x, exp_avg"], 1, "x += param"),
        (["return param ** 2, exp_avg"], 0, "param ** 2"),
        (["return param @ grad, exp_avg"], 0, "param @ grad"),
        (["return param % 2, exp_avg"], 0, "param % 2"),
        (["return (param > 0) * grad, exp_avg"], 0, "param > 0"),
        (["return not param, exp_avg"], 0, "not param"),
        (["return param and grad, exp_avg"], 0, "param and grad"),
        (["return param[0], exp_avg"], 0, "param[0]"),
        (["param[0] = grad", "return param, exp_avg"], 0, "param[0]"),
        (["param.data = grad", "return param, exp_avg"], 0, "param.data"),
        (["return [param, exp_avg]"], 0, "[param, exp_avg]"),
        (["x = lambda: param", "return param, exp_avg"], 0, "lambda: param"),
        (["return (x := param), exp_avg"], 0, "(x := param)"),
        (["x: float = 2.0", "return param * x, exp_avg"], 0, "x: float = 2.0"),
        (["return SCALE * param, exp_avg"], 0, "SCALE"),
        (["return param * unknown, exp_avg"], 0, "unknown"),
        (["y = later", "later = param", "return y, exp_avg"], 0, "later"),
        (["return maximum(param, bound=0.0), exp_avg"], 0, "maximum(param, bound=0.0)"),
        (["return abs(param), exp_avg"], 0, "abs(param)"),
        (["assert lr", "return param, exp_avg"], 0, "assert lr"),
        (["x = sqrt(", "    param", "    ** 2)", "return x, exp_avg"], 1, "param ** 2"),
    ],
)
def test_anything_else_is_named_with_its_file_and_line(define, body, line, named):
    function = define(*body)

    with pytest.raises(ValueError, match="An elementwise rule may use") as error:
        elementwise(function)

    path, given_line, message = re.fullmatch(r"(.*\.py):(\d+): (.*)", str(error.value), re.DOTALL).groups()
    assert Path(path).name == "written_rule.py"
    assert int(given_line) == FIRST_LINE + line
    assert message.startswith(f"rule 'update' uses '{named}")
    assert message.endswith("local names and absolute, maximum, minimum, power, sign, sqrt.")


@pytest.mark.parametrize(
    "signature",
    [
        "(grad, param, *, lr)",
        "(p, g, *, lr)",
        "(param)",
        "(*, param, grad)",
        "(param, grad, *states, lr)",
        "(param, grad, *, lr, **more)",
        "(param, /, grad, *, lr)",
    ],
)
def test_a_signature_that_is_no_schema_is_refused(define, signature):
    head = f"def update{signature}:\n"
    function = define("return param, grad", head=head)

    with pytest.raises(ValueError, match=r"^rule update\(.*\) must take param, grad, states\.\.\., \*, scalars\.\.\.$"):
        elementwise(function)


def test_a_rule_is_called_like_its_function():
    @elementwise
    def halve(param, grad, *, lr):
        return param * 0.5 - lr * sqrt(grad)

    assert halve(torch.tensor([2.0]), torch.tensor([9.0]), lr=0.1).tolist() == pytest.approx([0.7])


def test_a_rule_cannot_be_changed_and_can_be_a_key():
    rule = Spec.family.get("adana").rule

    assert {rule: 1}[rule] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.state_names = ()


def test_the_source_hash_is_that_of_the_whole_file(define):
    rule = elementwise(define("return param, exp_avg"))
    path = Path(sys.modules["written_rule"].__file__)
    before = rule.source_hash

    assert before == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    path.write_text(path.read_text() + "# changed\n")
    assert rule.source_hash != before


@pytest.mark.parametrize("name", [name for name, spec in Spec.family.members.items() if spec.rule.is_elementwise])
def test_every_elementwise_rule_returns_the_parameter_and_its_states(name):
    rule = Spec.family.get(name).rule
    tensors = [torch.ones(3, dtype=torch.float64) for _ in range(2 + len(rule.state_names))]
    before = [tensor.clone() for tensor in tensors]

    results = rule(*tensors, **dict.fromkeys(rule.scalar_names, 0.25))

    assert len(results) == 1 + len(rule.state_names)
    assert all(result.shape == (3,) and result.dtype == torch.float64 for result in results)
    assert all(torch.equal(tensor, old) for tensor, old in zip(tensors, before, strict=True))


@pytest.mark.parametrize("name", list(Spec.family))
def test_every_registered_spec_gives_exactly_the_scalars_of_its_rule(name):
    cls = Spec.family.get(name)

    assert tuple(cls().scalars(1)) == cls.rule.scalar_names
