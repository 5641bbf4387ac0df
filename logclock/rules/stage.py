"""What is a stage: one pure step of an update, whose signature is its schema?"""

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from logclock.rules.ops import VOCABULARY
from logclock.rules.random import Draws

__all__ = ["INPUTS", "Stage", "elementwise", "matrix"]

INPUTS = ("param", "grad", "update", "moved")
"""What a stage may read beside its states: the parameter before the step, the gradient, the update that the stages
before it made, and the parameter as the apply stage moved it."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A pure function `inputs..., states..., *, scalars... -> result, states...`.

    Args:
        function: The step; callable through the stage itself.
        inputs: Which of `INPUTS` it takes, in order.
        state_names: Names of its states.
        scalar_names: Keyword-only arguments without annotation: numbers that depend on t.
        static_names: Keyword-only arguments annotated int, bool, str or tuple: part of the program, never logged.
        draws_name: The keyword-only argument annotated `Draws`, from which a stage on matrices draws random numbers;
            None if it draws none.
        is_elementwise: Whether it is written in the vocabulary, element by element with numbers per tensor. Otherwise
            it takes stacks of whole tensors, `(n, *shape)`, and treats each tensor of the stack by itself.
    """

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    state_names: tuple[str, ...]
    scalar_names: tuple[str, ...]
    static_names: tuple[str, ...]
    is_elementwise: bool
    draws_name: str | None = None

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.function.__name__

    def __call__(self, *operands: Any, **scalars: Any) -> tuple[Any, ...]:
        """Run the function on tensors, or on anything else that has the vocabulary's operations; returns a tuple."""
        results = self.function(*operands, **scalars)
        results = results if isinstance(results, tuple) else (results,)
        if len(results) != 1 + len(self.state_names):
            expected = f"{1 + len(self.state_names)}: {', '.join(['its result', *self.state_names])}"
            raise ValueError(f"stage {self.name!r} returns {len(results)} values, must return {expected}.")
        return results


def elementwise(function: Callable[..., Any]) -> Stage:
    """Turn a function into a stage that every backend runs, after checking its vocabulary.

    Allowed are assignments to local names, `+ - * /`, comparisons, numbers, and the functions of `logclock.rules.ops`.
    A reduction (`norm`, `rms`, `mean`, `total`, `size`) gives one number per tensor, which may be used like any scalar.
    Branches, loops and other calls are not allowed.

    Raises:
        ValueError: The signature is not a stage's, or the body uses something else; the message names the line.
    """
    stage = _stage(function, is_elementwise=True)
    _check_vocabulary(function, {*stage.inputs, *stage.state_names, *stage.scalar_names, *stage.static_names})
    return stage


def matrix(function: Callable[..., Any]) -> Stage:
    """Turn a function of stacks of whole tensors, written with torch, into a stage.

    It must not write to its arguments nor branch on their values (which would wait for the device); shapes, scalars and
    static options are numbers of the host and may decide.

    Raises:
        ValueError: The signature is not a stage's.
    """
    return _stage(function, is_elementwise=False)


def _stage(function: Callable[..., Any], *, is_elementwise: bool) -> Stage:
    signature = inspect.signature(function)
    positional = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    inputs = [name for name in positional if name in INPUTS]
    if (
        positional[: len(inputs)] != inputs
        or not inputs
        or len(positional) + len(keywords) != len(signature.parameters)
    ):
        raise ValueError(
            f"stage {function.__name__}{signature} must take inputs (of {', '.join(INPUTS)}), states..., *, scalars..."
        )
    drawing = [p.name for p in keywords if p.annotation in (Draws, "Draws")]
    if len(drawing) > (0 if is_elementwise else 1):
        raise ValueError(
            f"stage {function.__name__!r} draws random numbers through {', '.join(drawing)}. A @matrix stage may have "
            "one argument annotated Draws, an elementwise stage none."
        )
    static = [p.name for p in keywords if p.annotation is not p.empty and _is_static(p.annotation)]
    scalars = [p.name for p in keywords if p.name not in (*static, *drawing)]
    return Stage(
        function,
        inputs=tuple(inputs),
        state_names=tuple(positional[len(inputs) :]),
        scalar_names=tuple(scalars),
        static_names=tuple(static),
        is_elementwise=is_elementwise,
        draws_name=drawing[0] if drawing else None,
    )


def _is_static(annotation: Any) -> bool:
    """Return whether an annotation, which may be text, is int, bool, str, a tuple, or one of several of these."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return all(re.fullmatch(r"(int|bool|str|tuple)(\[.*\])?", part) for part in re.split(r"\s*\|\s*", text))


_STRUCTURE = (ast.Name, ast.Load, ast.Store, ast.Tuple, ast.Constant, ast.Expr, ast.Return, ast.Assign)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub)
_COMPARISONS = (ast.Gt, ast.GtE, ast.Lt, ast.LtE)


def _check_vocabulary(function: Callable[..., Any], names: set[str]) -> None:
    lines, first_line = inspect.getsourcelines(function)
    (definition,) = ast.parse(textwrap.dedent("".join(lines))).body
    assert isinstance(definition, ast.FunctionDef)
    for statement in definition.body:
        for node in ast.walk(statement):
            if not _is_allowed(node, names):
                line = first_line + getattr(node, "lineno", statement.lineno) - 1
                raise ValueError(
                    f"{inspect.getsourcefile(function)}:{line}: stage {function.__name__!r} uses "
                    f"{ast.unparse(node)!r}. An elementwise stage may use + - * /, > >= < <=, its arguments, local "
                    f"names and {', '.join(VOCABULARY)}."
                )
        names |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _is_allowed(node: ast.AST, names: set[str]) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in VOCABULARY and not node.keywords
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return node.id in names or node.id in VOCABULARY
    if isinstance(node, ast.BinOp | ast.UnaryOp):
        return isinstance(node.op, _ARITHMETIC)
    if isinstance(node, ast.Compare):
        return len(node.ops) == 1 and isinstance(node.ops[0], _COMPARISONS)
    return isinstance(node, (*_STRUCTURE, ast.operator, ast.unaryop, ast.cmpop))
