"""What is a scalar of a program? An expression over named numbers, evaluated on the host or written out as source."""

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch

__all__ = ["CONSTANT", "NAME", "Scalar", "constant", "named"]

CONSTANT, NAME = "constant", "name"


@dataclasses.dataclass(frozen=True)
class Scalar:
    """An expression: a constant, a name, or an operation on expressions.

    Names are those of the rule's scalars, of states that are one number per parameter, and of reductions (`#0`, `#1`,
    ... and `#numel`), which differ from parameter to parameter.

    Args:
        op: `constant`, `name`, or one of `OPERATIONS`.
        arguments: The value of a constant, the name, or the operands.
    """

    op: str
    arguments: tuple[Any, ...]

    def names(self) -> frozenset[str]:
        """Return the names that the value depends on."""
        if self.op == NAME:
            return frozenset(self.arguments)
        if self.op == CONSTANT:
            return frozenset()
        return frozenset().union(*(argument.names() for argument in self.arguments))

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Return the value for numbers, or tensors of them, by name."""
        if self.op == NAME:
            return values[self.arguments[0]]
        if self.op == CONSTANT:
            return self.arguments[0]
        return OPERATIONS[self.op](*(argument(values) for argument in self.arguments))


def constant(value: Any) -> Scalar:
    """Return a number as an expression."""
    return Scalar(CONSTANT, (float(value) if isinstance(value, bool) else value,))


def named(name: str) -> Scalar:
    """Return a name as an expression."""
    return Scalar(NAME, (name,))


def _divide(x: Any, y: Any) -> Any:
    """Divide as IEEE 754 does: a program must not stop at a tensor of zeros."""
    if isinstance(y, torch.Tensor) or y != 0:
        return x / y
    if isinstance(x, torch.Tensor):
        return x / torch.zeros_like(x) if math.copysign(1.0, y) > 0 else x / -torch.zeros_like(x)
    return math.nan if x == 0 or x != x else math.copysign(math.inf, x) * math.copysign(1.0, y)


def _sqrt(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        return x.sqrt()
    return math.sqrt(x) if x >= 0 else math.nan


def _log(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        return x.log()
    if x == 0:
        return -math.inf
    return math.log(x) if x > 0 else math.nan


def _exp(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        return x.exp()
    return math.inf if x > 709.78 else math.exp(x)


def _sign(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        return x.sign()
    return math.nan if x != x else float((x > 0) - (x < 0))


def _extremum(on_numbers: Callable[..., Any], on_tensors: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Return the larger or smaller of two, NaN if one is NaN."""

    def apply(x: Any, y: Any) -> Any:
        like = next((value for value in (x, y) if isinstance(value, torch.Tensor)), None)
        if like is not None:
            return on_tensors(*(torch.as_tensor(value, dtype=like.dtype, device=like.device) for value in (x, y)))
        return math.nan if x != x or y != y else on_numbers(x, y)

    return apply


def _where(condition: Any, x: Any, y: Any) -> Any:
    if isinstance(condition, torch.Tensor):
        return torch.where(condition != 0, x, y)
    return x if condition else y


def _compare(holds: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return 1 where a comparison holds and 0 elsewhere."""

    def apply(x: Any, y: Any) -> Any:
        result = holds(x, y)
        return result.float() if isinstance(result, torch.Tensor) else float(result)

    return apply


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": _divide,
    "neg": operator.neg,
    "absolute": abs,
    "sign": _sign,
    "sqrt": _sqrt,
    "log": _log,
    "exp": _exp,
    "maximum": _extremum(max, torch.maximum),
    "minimum": _extremum(min, torch.minimum),
    "greater": _compare(operator.gt),
    "greater_equal": _compare(operator.ge),
    "where": _where,
}
