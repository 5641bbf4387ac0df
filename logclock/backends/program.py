"""How does a rule, written once as a function, become a list of instructions that run in place?"""

import collections
import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

from logclock.rules import Rule

__all__ = ["Instruction", "Program", "trace"]

Scalar = Any
"""A scalar operand: a number, or a function of the rule's scalars that gives one."""


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One operation on slots: `slots[output] = op(*slots[inputs], scalar)`.

    Args:
        op: One of the names in `OPERATIONS`.
        inputs: Slots of the tensor operands.
        scalar: The scalar operand, or None.
        output: Slot of the result; may be one of the inputs.
    """

    op: str
    inputs: tuple[int, ...]
    scalar: Scalar | None
    output: int


OPERATIONS = {
    "add": "x + y",
    "sub": "x - y",
    "mul": "x * y",
    "div": "x / y",
    "add_scaled": "x + scalar * y",
    "add_scaled_quotient": "x + scalar * y / z",
    "lerp": "x + scalar * (y - x)",
    "add_scalar": "x + scalar",
    "mul_scalar": "x * scalar",
    "div_scalar": "x / scalar",
    "neg": "-x",
    "sqrt": "sqrt(x)",
    "absolute": "abs(x)",
    "sign": "sign(x)",
    "maximum": "max(x, scalar)",
    "minimum": "min(x, scalar)",
    "log": "ln(x)",
    "exp": "exp(x)",
    "copy": "x",
}


@dataclasses.dataclass(frozen=True)
class Program:
    """A rule as straight-line code over numbered slots.

    Slots 0, 1, 2, ... hold the parameter, the gradient and the states, and are updated in place (never the gradient);
    the remaining `num_temporaries` slots are scratch.

    Args:
        instructions: In order of execution.
        num_operands: Parameter, gradient and states.
        num_temporaries: Scratch slots needed at once.
    """

    instructions: tuple[Instruction, ...]
    num_operands: int
    num_temporaries: int

    def bind(self, scalars: Mapping[str, Any]) -> list[tuple[str, tuple[int, ...], Any, int]]:
        """Return `(op, inputs, scalar value, output)` of every instruction for the scalars of one update."""
        return [
            (i.op, i.inputs, i.scalar(scalars) if callable(i.scalar) else i.scalar, i.output) for i in self.instructions
        ]


class ScalarOperand:
    """A scalar of a rule while it is traced: arithmetic on it builds a function of the scalars."""

    def __init__(self, value: Callable[[Mapping[str, Any]], Any]) -> None:
        self.value = value

    def _with(self, function: Callable[[Any, Any], Any], other: Any, *, swap: bool = False) -> Any:
        if isinstance(other, TensorOperand):
            return NotImplemented
        ours, theirs = self.value, _value_of(other)
        if swap:
            return ScalarOperand(lambda scalars: function(theirs(scalars), ours(scalars)))
        return ScalarOperand(lambda scalars: function(ours(scalars), theirs(scalars)))

    __add__ = functools.partialmethod(_with, operator.add)
    __radd__ = functools.partialmethod(_with, operator.add, swap=True)
    __sub__ = functools.partialmethod(_with, operator.sub)
    __rsub__ = functools.partialmethod(_with, operator.sub, swap=True)
    __mul__ = functools.partialmethod(_with, operator.mul)
    __rmul__ = functools.partialmethod(_with, operator.mul, swap=True)
    __truediv__ = functools.partialmethod(_with, operator.truediv)
    __rtruediv__ = functools.partialmethod(_with, operator.truediv, swap=True)

    def __neg__(self) -> "ScalarOperand":
        return ScalarOperand(lambda scalars: -self.value(scalars))


class TensorOperand:
    """A tensor of a rule while it is traced: operations on it are appended to a common list.

    A product with a scalar stays pending in `scale` until it is used, so that `x + scalar * y` becomes one instruction.
    """

    def __init__(self, code: "list[_Traced]", node: int, scale: ScalarOperand | None = None) -> None:
        self.code, self.node, self.scale = code, node, scale

    def apply(self, op: str, other: Any = None) -> "TensorOperand":
        """Append an operation on this tensor, with a scalar operand or none."""
        if isinstance(other, TensorOperand):
            raise TypeError(f"{op} takes a tensor and a scalar, got two tensors. A rule cannot compare tensors.")
        scalar = None if other is None else _value_of(other)
        return self._append(op, (self._materialized(),), scalar)

    def _append(self, op: str, inputs: tuple[int, ...], scalar: Scalar | None = None) -> "TensorOperand":
        self.code.append(_Traced(op, inputs, scalar))
        return TensorOperand(self.code, len(self.code) - 1)

    def _materialized(self) -> int:
        """Return the node that holds this value, after carrying out a pending product."""
        if self.scale is not None:
            self.node, self.scale = self._append("mul_scalar", (self.node,), self.scale.value).node, None
        return self.node

    def _plus(self, other: Any, *, sign: float) -> "TensorOperand":
        """Return self + sign * other."""
        if not isinstance(other, TensorOperand):
            return self.apply("add_scalar", sign * _scalar(other))
        if other.scale is not None and other is not self:
            inputs = (self._materialized(), other.node)
            return self._append("add_scaled", inputs, (sign * other.scale).value)
        return self._append("add" if sign > 0 else "sub", (self._materialized(), other.node))

    def __add__(self, other: Any) -> "TensorOperand":
        return self._plus(other, sign=1.0)

    def __sub__(self, other: Any) -> "TensorOperand":
        return self._plus(other, sign=-1.0)

    def __radd__(self, other: Any) -> "TensorOperand":
        return self._plus(other, sign=1.0)

    def __rsub__(self, other: Any) -> "TensorOperand":
        return (-self)._plus(other, sign=1.0)

    def __neg__(self) -> "TensorOperand":
        return self.apply("neg")

    def __mul__(self, other: Any) -> "TensorOperand":
        if isinstance(other, TensorOperand):
            return self._append("mul", (self._materialized(), other._materialized()))
        scale = _scalar(other) if self.scale is None else self.scale * _scalar(other)
        return TensorOperand(self.code, self.node, scale)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "TensorOperand":
        if isinstance(other, TensorOperand):
            return self._append("div", (self._materialized(), other._materialized()))
        return self.apply("div_scalar", other)

    def __rtruediv__(self, other: Any) -> "TensorOperand":
        raise TypeError("a rule cannot divide a scalar by a tensor; write tensor / tensor or multiply by a scalar.")


@dataclasses.dataclass(frozen=True)
class _Traced:
    op: str
    inputs: tuple[int, ...]
    scalar: Scalar | None


def _value_of(scalar: Any) -> Callable[[Mapping[str, Any]], Any]:
    return scalar.value if isinstance(scalar, ScalarOperand) else lambda scalars: scalar


def _scalar(value: Any) -> ScalarOperand:
    return value if isinstance(value, ScalarOperand) else ScalarOperand(_value_of(value))


@functools.cache
def trace(rule: Rule) -> Program:
    """Run a rule once on symbolic operands and return its program."""
    num_operands = 2 + len(rule.state_names)
    code = [_Traced("operand", (), None) for _ in range(num_operands)]
    tensors = [TensorOperand(code, node) for node in range(num_operands)]
    scalars = {name: ScalarOperand(operator.itemgetter(name)) for name in rule.scalar_names}
    results = rule(*tensors, **scalars)
    results = results if isinstance(results, tuple) else (results,)
    written = [slot for slot in range(num_operands) if slot != 1]
    if len(results) != len(written):
        expected = ", ".join(["param", *rule.state_names])
        raise ValueError(f"rule {rule.name!r} returns {len(results)} results, must return {len(written)}: {expected}.")
    targets = {slot: result._materialized() for slot, result in zip(written, results, strict=True)}
    return _allocate(_fuse(code), targets, num_operands)


def _fuse(code: list[_Traced]) -> list[_Traced]:
    """Merge x + s (y - x) and x + s (y / z) into one instruction each where the inner result has no other use."""
    uses = collections.Counter(node for step in code for node in step.inputs)
    fused = list(code)
    for index, step in enumerate(code):
        if step.op != "add_scaled":
            continue
        base, node = step.inputs
        inner = code[node]
        if uses[node] == 1 and inner.op == "sub" and inner.inputs[1] == base:
            fused[index] = _Traced("lerp", (base, inner.inputs[0]), step.scalar)
        elif uses[node] == 1 and inner.op == "div":
            fused[index] = _Traced("add_scaled_quotient", (base, *inner.inputs), step.scalar)
    return fused


def _allocate(code: list[_Traced], targets: dict[int, int], num_operands: int) -> Program:
    """Assign slots: a result goes straight to its operand if the old value is no longer read, else through scratch."""
    last_use = {node: index for index, step in enumerate(code) for node in step.inputs}
    end = len(code)
    last_use |= dict.fromkeys(targets.values(), end)
    home = {node: slot for slot, node in targets.items() if node >= num_operands and last_use.get(slot, -1) <= node}
    slot_of = {node: node for node in range(num_operands)}
    free: list[int] = []
    instructions = []
    num_slots = num_operands
    for index in range(num_operands, end):
        step = code[index]
        if index not in last_use:
            continue  # merged into another instruction
        inputs = tuple(slot_of[node] for node in step.inputs)
        dying = {node for node in step.inputs if last_use[node] == index and slot_of[node] >= num_operands}
        free += [slot_of[node] for node in dying if slot_of[node] not in free]
        if index in home:
            slot_of[index] = home[index]
        else:
            if not free:
                free.append(num_slots)
                num_slots += 1
            slot_of[index] = free.pop()
        instructions.append(Instruction(step.op, inputs, step.scalar, slot_of[index]))
    copies = _copies({slot: slot_of[node] for slot, node in targets.items()}, scratch=num_slots)
    num_slots += any(copy.output == num_slots for copy in copies)
    return Program((*instructions, *copies), num_operands, num_slots - num_operands)


def _copies(sources: dict[int, int], *, scratch: int) -> list[Instruction]:
    """Return copies that move every source to its slot, none overwritten before it is read (as in a swap)."""
    left = {slot: source for slot, source in sources.items() if slot != source}
    copies = []
    while left:
        slot = next((slot for slot in left if slot not in left.values()), None)
        if slot is None:  # only cycles are left: open one
            slot = next(iter(left))
            copies.append(Instruction("copy", (slot,), None, scratch))
            left = {target: scratch if source == slot else source for target, source in left.items()}
        copies.append(Instruction("copy", (left.pop(slot),), None, slot))
    return copies
