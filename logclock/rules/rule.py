"""What is a rule: the pure per-tensor update that every backend runs, and what may stand in it?"""

import ast
import dataclasses
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from logclock.rules.ops import VOCABULARY

__all__ = ["Rule", "elementwise", "whole_tensor"]


@dataclasses.dataclass(frozen=True)
class Rule:
    """A pure update whose signature is its schema: `param, grad, *states, *, **scalars -> param, *states`.

    Args:
        function: The update; callable through the rule itself.
        state_names: Names of the state tensors, shaped like the parameter unless the spec's `state_shape` says more.
        scalar_names: Names of the keyword-only scalars.
        is_elementwise: Whether an element of the result depends on that element of the operands alone. Otherwise the
            function takes stacks of whole tensors, `(n, *shape)`, and updates each tensor of the stack by itself.
    """

    function: Callable[..., Any]
    state_names: tuple[str, ...]
    scalar_names: tuple[str, ...]
    is_elementwise: bool = True

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.function.__name__

    @property
    def source_hash(self) -> str:
        """First 16 hex digits of the sha256 of the file that defines the rule and its spec."""
        path = sys.modules[self.function.__module__].__file__
        assert path is not None
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]

    def __call__(self, *tensors: Any, **scalars: Any) -> Any:
        """Run the update on tensors, or on anything else that has the vocabulary's operations."""
        return self.function(*tensors, **scalars)


def elementwise(function: Callable[..., Any]) -> Rule:
    """Turn a function into an elementwise rule after checking its vocabulary.

    Allowed are assignments to local names, `+ - * /`, numbers, and the functions of `logclock.rules.ops`: what every
    backend can run in place, in lists and compiled. Branches, loops and other calls are not.

    Raises:
        ValueError: The body uses something else; the message names the line.
    """
    states, scalars = _schema(function)
    _check_vocabulary(function, {"param", "grad", *states, *scalars})
    return Rule(function, states, scalars)


def whole_tensor(function: Callable[..., Any]) -> Rule:
    """Turn a function of stacks of whole tensors, written with torch, into a rule.

    It must not write to its arguments nor branch on their values (which would wait for the device); shapes and scalars
    are numbers of the host and may decide.

    Raises:
        ValueError: The signature is not a rule's.
    """
    states, scalars = _schema(function)
    return Rule(function, states, scalars, is_elementwise=False)


def _schema(function: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of a rule's states and of its scalars, from its signature."""
    signature = inspect.signature(function)
    positional = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    scalars = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    if positional[:2] != ["param", "grad"] or len(positional) + len(scalars) != len(signature.parameters):
        raise ValueError(f"rule {function.__name__}{signature} must take param, grad, states..., *, scalars...")
    return tuple(positional[2:]), tuple(scalars)


_STRUCTURE = (ast.Name, ast.Load, ast.Store, ast.Tuple, ast.Constant, ast.Expr, ast.Return, ast.Assign)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub)


def _check_vocabulary(function: Callable[..., Any], names: set[str]) -> None:
    lines, first_line = inspect.getsourcelines(function)
    (definition,) = ast.parse(textwrap.dedent("".join(lines))).body
    assert isinstance(definition, ast.FunctionDef)
    for statement in definition.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                allowed = isinstance(node.func, ast.Name) and node.func.id in VOCABULARY and not node.keywords
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                allowed = node.id in names or node.id in VOCABULARY
            elif isinstance(node, ast.BinOp | ast.UnaryOp):
                allowed = isinstance(node.op, _ARITHMETIC)
            else:
                allowed = isinstance(node, (*_STRUCTURE, ast.operator, ast.unaryop))
            if not allowed:
                line = first_line + getattr(node, "lineno", statement.lineno) - 1
                raise ValueError(
                    f"{inspect.getsourcefile(function)}:{line}: rule {function.__name__!r} uses {ast.unparse(node)!r}. "
                    f"An elementwise rule may use + - * /, its arguments, local names and {', '.join(VOCABULARY)}."
                )
        names |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
