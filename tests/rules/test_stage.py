import dataclasses
import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

from logclock.rules import Spec, Stage, elementwise, matrix
from logclock.rules.ops import sqrt

HEAD = """\
import torch
from logclock.rules.ops import maximum, norm, sqrt, where

SCALE = 2.0


def direction(param, grad, exp_avg, *, lr, ema1):
"""
FIRST_LINE = len(HEAD.splitlines()) + 1


@pytest.fixture
def define(tmp_path):
    """Return a function that puts lines into a file as the body of a stage and imports it."""

    def define(*body, head=HEAD):
        path = tmp_path / "written_stage.py"
        path.write_text(head + "".join(f"    {line}\n" for line in body))
        spec = importlib.util.spec_from_file_location("written_stage", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["written_stage"] = module
        spec.loader.exec_module(module)
        return module.direction

    yield define
    sys.modules.pop("written_stage", None)


@pytest.mark.parametrize(
    "body",
    [
        ["return param - lr * grad, exp_avg"],
        ["exp_avg = exp_avg + ema1 * (grad - exp_avg)", "return param - lr * exp_avg, exp_avg"],
        ["root = sqrt(maximum(exp_avg, 0.5))", "return -param / root, exp_avg"],
        ["a, b = param, grad", "return a + b, exp_avg"],
        ['"""Documented."""', "return param, exp_avg"],
        ["return (param > 0) * grad, exp_avg"],
        ["holds = param <= lr", "return where(holds, grad, 0.0), exp_avg"],
        ["return grad / maximum(norm(grad), lr), exp_avg"],
        ["return lr / sqrt(exp_avg), exp_avg"],
    ],
)
def test_the_vocabulary_is_accepted(define, body):
    stage = elementwise(define(*body))

    assert isinstance(stage, Stage)
    assert stage.name == "direction"
    assert stage.inputs == ("param", "grad")
    assert stage.state_names == ("exp_avg",)
    assert stage.scalar_names == ("lr", "ema1")
    assert stage.static_names == ()
    assert stage.is_elementwise


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
        (["return (param == 0) * grad, exp_avg"], 0, "param == 0"),
        (["return (0 < param < 1) * grad, exp_avg"], 0, "0 < param < 1"),
        (["return (param is grad) * grad, exp_avg"], 0, "param is grad"),
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

    with pytest.raises(ValueError, match="An elementwise stage may use") as error:
        elementwise(function)

    path, given_line, message = re.fullmatch(r"(.*\.py):(\d+): (.*)", str(error.value), re.DOTALL).groups()
    assert Path(path).name == "written_stage.py"
    assert int(given_line) == FIRST_LINE + line
    assert message.startswith(f"stage 'direction' uses '{named}")
    words = "absolute, exp, maximum, minimum, power, sign, sqrt, where, mean, norm, rms, size, total"
    assert message.endswith(f"local names and {words}.")


@pytest.mark.parametrize(
    "signature",
    [
        "(p, g, *, lr)",
        "(exp_avg, grad, *, lr)",
        "(*, param, grad)",
        "(param, grad, *states, lr)",
        "(param, grad, *, lr, **more)",
        "(param, /, grad, *, lr)",
    ],
)
@pytest.mark.parametrize("kind", [elementwise, matrix])
def test_a_signature_that_is_no_schema_is_refused(define, signature, kind):
    head = f"def direction{signature}:\n"
    function = define("return grad", head=head)

    message = (
        r"^stage direction\(.*\) must take inputs \(of param, grad, update, moved\), states\.\.\., \*, scalars\.\.\.$"
    )
    with pytest.raises(ValueError, match=message):
        kind(function)


def test_keywords_annotated_with_a_plain_type_are_static_and_no_scalars():
    @matrix
    def blocks(update, *, ema1, count: int, is_wide: bool, rule: str, sizes: int | tuple[int, ...], size: float):
        return update

    assert blocks.scalar_names == ("ema1", "size")
    assert blocks.static_names == ("count", "is_wide", "rule", "sizes")
    assert not blocks.is_elementwise


def test_static_keywords_are_recognized_when_annotations_are_text(define):
    head = (
        "from __future__ import annotations\n\n\ndef direction(update, *, ema1, count: int, parts: tuple[int, ...]):\n"
    )
    stage = matrix(define("return update", head=head))

    assert (stage.scalar_names, stage.static_names) == (("ema1",), ("count", "parts"))


@pytest.mark.parametrize("inputs", ["update", "param, update", "param, grad, update, moved", "update, grad"])
def test_a_stage_may_take_any_of_the_inputs(define, inputs):
    stage = elementwise(define("return update", head=f"def direction({inputs}, z, *, lr):\n"))

    assert stage.inputs == tuple(inputs.split(", "))
    assert stage.state_names == ("z",)


def test_a_stage_is_called_like_its_function_and_returns_a_tuple():
    @elementwise
    def halve(update, grad, *, lr):
        return update * 0.5 - lr * sqrt(grad)

    (result,) = halve(torch.tensor([2.0]), torch.tensor([9.0]), lr=0.1)

    assert result.tolist() == pytest.approx([0.7])


@pytest.mark.parametrize("count", [1, 3])
def test_a_stage_that_returns_another_number_of_results_is_refused_by_name(count):
    @matrix
    def forgetful(grad, exp_avg):
        return (grad, exp_avg, grad)[:count]

    with pytest.raises(
        ValueError, match=rf"stage 'forgetful' returns {count} values, must return 2: its result, exp_avg"
    ):
        forgetful(torch.ones(1), torch.ones(1))


def test_a_stage_cannot_be_changed_and_can_be_a_key():
    (stage,) = Spec.family.get("adana").direction

    assert {stage: 1}[stage] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        stage.state_names = ()
