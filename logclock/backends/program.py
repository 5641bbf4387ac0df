"""How does a rule become a list of instructions that an engine can run in place? Stages run once on symbols."""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from logclock.backends.scalars import Scalar, constant, named
from logclock.rules import Rule, Step

__all__ = ["NUMEL", "Instruction", "MatrixPart", "Plan", "Program", "Reduction", "Segment", "plan_of", "trace"]

NUMEL = "#numel"
"""Name of the number of elements of the parameter, the whole of a sharded one."""


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


@dataclasses.dataclass(frozen=True)
class Reduction:
    """One number for each tensor: `numbers[name] = kind of the elements of slots[input]`.

    Args:
        kind: "total", the sum, or "total_square", the sum of squares; over all pieces and shards of a tensor.
        input: Slot of the tensor.
        name: Under which expressions of later segments refer to it.
    """

    kind: str
    input: int
    name: str


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
    "scalar_div": "scalar / x",
    "neg": "-x",
    "sqrt": "sqrt(x)",
    "absolute": "abs(x)",
    "sign": "sign(x)",
    "maximum": "max(x, scalar)",
    "minimum": "min(x, scalar)",
    "larger": "max(x, y)",
    "smaller": "min(x, y)",
    "log": "ln(x)",
    "exp": "exp(x)",
    "greater": "1 if x > y else 0",
    "greater_equal": "1 if x >= y else 0",
    "greater_scalar": "1 if x > scalar else 0",
    "greater_equal_scalar": "1 if x >= scalar else 0",
    "less_scalar": "1 if x < scalar else 0",
    "less_equal_scalar": "1 if x <= scalar else 0",
    "where": "y if x != 0 else z",
    "fill": "scalar",
    "copy": "x",
}
"""What each operation computes, with x, y, z the inputs; `maximum`, `minimum`, `larger`, `smaller` give NaN for NaN."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """Straight-line code that runs over all elements of a tensor once.

    Args:
        code: Instructions and reductions in order of execution. A scalar may refer to reductions of earlier segments.
    """

    code: tuple[Instruction | Reduction, ...]

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The code without the reductions."""
        return tuple(step for step in self.code if isinstance(step, Instruction))

    @property
    def reductions(self) -> tuple[Reduction, ...]:
        """The reductions alone."""
        return tuple(step for step in self.code if isinstance(step, Reduction))


@dataclasses.dataclass(frozen=True)
class Program:
    """Elementwise stages as segments of straight-line code over numbered slots.

    Slots 0, 1, 2, ... hold the operands, of which those in `written` are updated in place, and only in the last
    segment; the remaining `num_temporaries` slots are scratch. A value that a later segment needs again is computed
    again: that moves as many bytes as keeping it would, and no memory is held from one pass to the next.

    Args:
        operands: Names: `param`, `grad`, `update`, states, and the buffers `new_grad` and `moved`.
        written: Names of the operands that the program writes.
        segments: In order of execution.
        numbers: New values of the states that are one number per parameter, by name.
        num_temporaries: Scratch slots needed at once.
    """

    operands: tuple[str, ...]
    written: tuple[str, ...]
    segments: tuple[Segment, ...]
    numbers: tuple[tuple[str, Scalar], ...]
    num_temporaries: int

    @property
    def number_states(self) -> tuple[str, ...]:
        """Names of the states that are one number per parameter, which scalars may refer to."""
        return tuple(name for name, _ in self.numbers)

    @property
    def num_operands(self) -> int:
        """Parameter, gradient, states and buffers."""
        return len(self.operands)

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions of all segments."""
        return tuple(instruction for segment in self.segments for instruction in segment.instructions)

    @functools.cached_property
    def is_read(self) -> dict[str, bool]:
        """Whether an operand's old value matters."""
        read = {slot for i in self.instructions for slot in i.inputs}
        read |= {r.input for segment in self.segments for r in segment.reductions}
        return {name: slot in read for slot, name in enumerate(self.operands)}

    @functools.cached_property
    def per_tensor(self) -> frozenset[str]:
        """Names of numbers that differ from tensor to tensor: reductions, number states, and the count of elements."""
        reductions = {r.name for segment in self.segments for r in segment.reductions}
        return frozenset({NUMEL, *reductions, *self.number_states})


@dataclasses.dataclass(frozen=True)
class MatrixPart:
    """A stage on stacks of whole tensors.

    Args:
        step: The stage at its place.
        inputs: Names of the operands that stand for its inputs, then its states.
        outputs: Names of the operands that take its results.
    """

    step: Step
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A rule as parts that run one after another, with full-sized buffers between them.

    Args:
        parts: Programs and stages on matrices.
        buffers: Names of the operands that live from one part to another, shaped like the parameter.
        totals: For each part, the sums over all tensors that it reads, each with the state that is summed.
    """

    parts: tuple[Program | MatrixPart, ...]
    buffers: tuple[str, ...]
    totals: tuple[tuple[tuple[str, str], ...], ...]


class ScalarOperand:
    """A number while a stage is traced: arithmetic on it builds an expression."""

    def __init__(self, value: Scalar) -> None:
        self.value = value

    def apply(self, op: str, other: Any = None) -> Any:
        """Return an operation on this number, with another operand or none."""
        if isinstance(other, TensorOperand):
            return other.apply(op, self)  # maximum and minimum, which do not care about the order
        arguments = (self.value,) if other is None else (self.value, _value_of(other))
        return ScalarOperand(Scalar(op, arguments))

    def choose(self, x: Any, y: Any) -> Any:
        """Return x if this number is not 0, else y."""
        tensor = next((value for value in (x, y) if isinstance(value, TensorOperand)), None)
        if tensor is not None:
            return tensor.filled(self).choose(x, y)
        return ScalarOperand(Scalar("where", (self.value, _value_of(x), _value_of(y))))

    def _with(self, op: str, other: Any, *, swap: bool = False) -> Any:
        if isinstance(other, TensorOperand):
            return NotImplemented
        ours, theirs = self.value, _value_of(other)
        return ScalarOperand(Scalar(op, (theirs, ours) if swap else (ours, theirs)))

    __add__ = functools.partialmethod(_with, "add")
    __radd__ = functools.partialmethod(_with, "add", swap=True)
    __sub__ = functools.partialmethod(_with, "sub")
    __rsub__ = functools.partialmethod(_with, "sub", swap=True)
    __mul__ = functools.partialmethod(_with, "mul")
    __rmul__ = functools.partialmethod(_with, "mul", swap=True)
    __truediv__ = functools.partialmethod(_with, "div")
    __rtruediv__ = functools.partialmethod(_with, "div", swap=True)
    __gt__ = functools.partialmethod(_with, "greater")
    __ge__ = functools.partialmethod(_with, "greater_equal")
    __lt__ = functools.partialmethod(_with, "greater", swap=True)
    __le__ = functools.partialmethod(_with, "greater_equal", swap=True)

    def __neg__(self) -> "ScalarOperand":
        return ScalarOperand(Scalar("neg", (self.value,)))


class TensorOperand:
    """A tensor while a stage is traced: operations on it are appended to a common list.

    A product with a scalar stays pending in `scale` until it is used, so that `x + scalar * y` becomes one instruction.
    """

    def __init__(self, code: "list[_Traced]", node: int, scale: ScalarOperand | None = None) -> None:
        self.code, self.node, self.scale = code, node, scale

    def apply(self, op: str, other: Any = None) -> "TensorOperand":
        """Append an operation on this tensor, with another operand or none."""
        if isinstance(other, TensorOperand):
            op = {"maximum": "larger", "minimum": "smaller"}[op]
            return self._append(op, (self.materialized(), other.materialized()))
        scalar = None if other is None else _value_of(other)
        return self._append(op, (self.materialized(),), scalar)

    def choose(self, x: Any, y: Any) -> "TensorOperand":
        """Return x where this tensor is not 0, else y."""
        return self._append("where", (self.materialized(), self._tensor(x), self._tensor(y)))

    def reduce(self, kind: str) -> ScalarOperand:
        """Return one number for this tensor."""
        if kind == "size":
            return ScalarOperand(named(NUMEL))  # known without a look at the elements
        is_square = kind in ("norm", "rms")
        reduced = self._append("total_square" if is_square else "total", (self.materialized(),))
        value = named(f"#{reduced.node}")
        if kind in ("mean", "rms"):
            value = Scalar("div", (value, named(NUMEL)))
        return ScalarOperand(Scalar("sqrt", (value,)) if is_square else value)

    def _tensor(self, value: Any) -> int:
        if isinstance(value, TensorOperand):
            return value.materialized()
        return self.filled(value).node

    def filled(self, value: Any) -> "TensorOperand":
        """Return a tensor of this shape whose elements are all one number."""
        return self._append("fill", (), _value_of(value))

    def _append(self, op: str, inputs: tuple[int, ...], scalar: Scalar | None = None) -> "TensorOperand":
        self.code.append(_Traced(op, inputs, scalar))
        return TensorOperand(self.code, len(self.code) - 1)

    def materialized(self) -> int:
        """Return the node that holds this value, after carrying out a pending product."""
        if self.scale is not None:
            self.node, self.scale = self._append("mul_scalar", (self.node,), self.scale.value).node, None
        return self.node

    def _plus(self, other: Any, *, sign: float) -> "TensorOperand":
        """Return self + sign * other."""
        if not isinstance(other, TensorOperand):
            return self.apply("add_scalar", sign * _scalar(other))
        if other.scale is not None and other is not self:
            inputs = (self.materialized(), other.node)
            return self._append("add_scaled", inputs, (sign * other.scale).value)
        return self._append("add" if sign > 0 else "sub", (self.materialized(), other.node))

    def _compare(self, op: str, other: Any, *, swap: bool = False) -> "TensorOperand":
        if isinstance(other, TensorOperand):
            nodes = (self.materialized(), other.materialized())
            return self._append(op, nodes[::-1] if swap else nodes)
        return self.apply(f"{op.replace('greater', 'less') if swap else op}_scalar", other)

    __gt__ = functools.partialmethod(_compare, "greater")
    __ge__ = functools.partialmethod(_compare, "greater_equal")
    __lt__ = functools.partialmethod(_compare, "greater", swap=True)
    __le__ = functools.partialmethod(_compare, "greater_equal", swap=True)

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
            return self._append("mul", (self.materialized(), other.materialized()))
        scale = _scalar(other) if self.scale is None else self.scale * _scalar(other)
        return TensorOperand(self.code, self.node, scale)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "TensorOperand":
        if isinstance(other, TensorOperand):
            return self._append("div", (self.materialized(), other.materialized()))
        return self.apply("div_scalar", other)

    def __rtruediv__(self, other: Any) -> "TensorOperand":
        return self.apply("scalar_div", other)


@dataclasses.dataclass(frozen=True)
class _Traced:
    op: str
    inputs: tuple[int, ...]
    scalar: Scalar | None


_REDUCTIONS = ("total", "total_square")


def _value_of(value: Any) -> Scalar:
    return value.value if isinstance(value, ScalarOperand) else constant(value)


def _scalar(value: Any) -> ScalarOperand:
    return value if isinstance(value, ScalarOperand) else ScalarOperand(_value_of(value))


@functools.cache
def plan_of(rule: Rule) -> Plan:
    """Return a rule as programs and matrix stages, each stage of the rule in one of them.

    A stage that reads a sum over all tensors begins a new part, before which all tensors must have come as far.
    """
    return _plan(rule, _runs(rule.steps, waits=True))


def _plan(rule: Rule, runs: list[list[Step]]) -> Plan:
    parts: list[Program | MatrixPart] = []
    where = {"param": "param", "grad": "grad"}
    """Name of the operand that holds a stage's input at this point."""
    for index, run in enumerate(runs):
        later = {name for other in runs[index + 1 :] for step in other for name in step.stage.inputs}
        made: dict[str, str] = {step.output: _OPERAND_OF[step.output] for step in run}
        outputs = {name: operand for name, operand in made.items() if name in later or name == "moved"}
        if "moved" in outputs and not later & {"moved", "param"}:
            outputs["moved"] = "param"  # nobody reads the old parameter any more
        if run[0].stage.is_elementwise:
            parts.append(_program(run, where, outputs, rule))
        else:
            (step,) = run
            inputs = (*(where[name] for name in step.stage.inputs), *step.state_names)
            parts.append(MatrixPart(step, inputs, (outputs[step.output], *step.state_names)))
        where |= outputs
    used = dict.fromkeys(name for part in parts for name in _operands_of(part))
    read = [dict.fromkeys(name for step in run for name in step.scalar_names if name in rule.totals) for run in runs]
    return Plan(
        tuple(parts),
        tuple(name for name in used if name in _OPERAND_OF.values()),
        tuple(tuple((name, rule.totals[name]) for name in names) for names in read),
    )


_OPERAND_OF = {"grad": "new_grad", "update": "update", "moved": "moved"}


@functools.cache
def trace(rule: Rule) -> Program:
    """Return the program of a rule without matrix stages, for a tensor that is updated alone: sums over all are its."""
    (program,) = (plan_of(rule) if not rule.totals else _plan(rule, _runs(rule.steps, waits=False))).parts
    assert isinstance(program, Program)
    return program


def _runs(steps: Iterable[Step], *, waits: bool) -> list[list[Step]]:
    """Return the steps as runs of elementwise ones and single matrix stages.

    Args:
        steps: The steps.
        waits: Whether a run ends where a step reads the sum over all tensors of a number that the run makes.
    """
    runs: list[list[Step]] = []
    for step in steps:
        made = {total for before in runs[-1] for total in before.totals} if runs and waits else set()
        is_open = bool(runs) and runs[-1][0].stage.is_elementwise and not made & {*step.scalar_names}
        if is_open and step.stage.is_elementwise:
            runs[-1].append(step)
        else:
            runs.append([step])
    return runs


def _operands_of(part: Program | MatrixPart) -> tuple[str, ...]:
    return part.operands if isinstance(part, Program) else (*part.inputs, *part.outputs)


def _program(steps: list[Step], where: Mapping[str, str], outputs: Mapping[str, str], rule: Rule) -> Program:
    """Run elementwise steps on symbolic operands and return their program.

    Args:
        steps: The steps.
        where: Operands that hold the inputs they may read.
        outputs: Operands that take those of their results which are needed later.
        rule: The rule that the steps are from.
    """
    states = [name for step in steps for name in step.state_names if not rule.states[name].is_number]
    for name in states:
        if rule.states[name].shape != "param":
            raise ValueError(
                f"rule {rule.name!r}: the state {name!r} of an elementwise stage must be shaped like the parameter or "
                f"a number, got {rule.states[name].shape}. A stage on other shapes is a @matrix stage."
            )
    used = {*_read_from_outside(steps, where), *outputs.values()}
    operands = [*(name for name in ("param", "grad", "new_grad", "update", "moved") if name in used), *states]
    code = [_Traced("operand", (), None) for _ in operands]
    values: dict[str, Any] = {}
    for node, name in enumerate(operands):
        values[name] = TensorOperand(code, node)
    visible = {name: values[operand] for name, operand in where.items() if operand in values}
    visible |= {name: values[name] for name in states}
    number_states = tuple(name for step in steps for name in step.state_names if rule.states[name].is_number)
    visible |= {name: ScalarOperand(named(name)) for name in number_states}
    scalars = {name: ScalarOperand(named(name)) for step in steps for name in step.scalar_names}
    for step in steps:
        visible |= step(visible, scalars)
        scalars |= {total: visible[state] for total, state in step.totals.items()}
    targets = {}
    for name, operand in [*outputs.items(), *((name, name) for name in states)]:
        result = visible[name]
        if not isinstance(result, TensorOperand):
            raise ValueError(f"rule {rule.name!r} makes a number of {name!r}, which is a tensor.")
        targets[operands.index(operand)] = result.materialized()
    numbers = tuple((name, _value_of(visible[name])) for name in number_states)
    segments, num_temporaries = _segments(code, targets, [value for _, value in numbers], len(operands))
    written = tuple(operands[slot] for slot in sorted(targets))
    return Program(tuple(operands), written, segments, numbers, num_temporaries)


def _read_from_outside(steps: list[Step], where: Mapping[str, str]) -> set[str]:
    """Return the operands whose values steps read that none of them made before."""
    made: set[str] = set()
    read: set[str] = set()
    for step in steps:
        read |= {where[name] for name in step.stage.inputs if name not in made}
        made.add(step.output)
    return read


def _segments(
    code: list[_Traced], targets: dict[int, int], numbers: list[Scalar], num_operands: int
) -> tuple[tuple[Segment, ...], int]:
    """Cut code at its reductions: a segment makes all that earlier segments' numbers suffice for."""
    reductions = {f"#{node}": node for node, step in enumerate(code) if step.op in _REDUCTIONS}
    level: list[int] = []
    for step in code:
        needed = [level[node] for node in step.inputs]
        if step.scalar is not None:
            needed += [level[reductions[name]] + 1 for name in step.scalar.names() if name in reductions]
        level.append(max(needed, default=0))
    wanted = set(targets.values())
    used = _numbers_used(code, wanted, numbers, reductions)
    last = max([level[node] for node in wanted] + [level[node] + 1 for node in used], default=0)
    segments, num_temporaries = [], 0
    for index in range(last + 1):
        here = [node for node in sorted(used) if level[node] == index]
        kept = targets if index == last else {}
        segment, num_slots = _allocate(_fuse(_pruned(code, [*here, *kept.values()])), here, kept, num_operands)
        segments.append(segment)
        num_temporaries = max(num_temporaries, num_slots - num_operands)
    return tuple(segments), num_temporaries


def _numbers_used(
    code: list[_Traced], wanted: Iterable[int], numbers: list[Scalar], reductions: Mapping[str, int]
) -> set[int]:
    """Return the reductions on which the wanted nodes and numbers depend, however indirectly."""
    found: set[int] = set()
    todo = [*wanted, *(reductions[name] for value in numbers for name in value.names() if name in reductions)]
    seen: set[int] = set()
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        step = code[node]
        if step.op in _REDUCTIONS:
            found.add(node)
        todo += step.inputs
        todo += [reductions[name] for name in (step.scalar.names() if step.scalar else ()) if name in reductions]
    return found


def _pruned(code: list[_Traced], wanted: Iterable[int]) -> dict[int, _Traced]:
    """Return the steps that the wanted nodes need, in order, by node."""
    needed: set[int] = set()
    todo = list(wanted)
    while todo:
        node = todo.pop()
        if node not in needed:
            needed.add(node)
            todo += code[node].inputs
    return {node: code[node] for node in sorted(needed)}


def _fuse(code: dict[int, _Traced]) -> dict[int, _Traced]:
    """Merge x + s (y - x) and x + s (y / z) into one instruction each where the inner result has no other use."""
    uses = collections.Counter(node for step in code.values() for node in step.inputs)
    fused = dict(code)
    for index, step in code.items():
        if step.op != "add_scaled":
            continue
        base, node = step.inputs
        inner = code[node]
        if uses[node] == 1 and inner.op == "sub" and inner.inputs[1] == base:
            fused[index] = _Traced("lerp", (base, inner.inputs[0]), step.scalar)
        elif uses[node] == 1 and inner.op == "div":
            fused[index] = _Traced("add_scaled_quotient", (base, *inner.inputs), step.scalar)
    return fused


def _allocate(
    code: dict[int, _Traced], reductions: list[int], targets: dict[int, int], num_operands: int
) -> tuple[Segment, int]:
    """Assign slots: a result goes straight to its operand if the old value is no longer read, else through scratch."""
    last_use = {node: index for index, step in code.items() for node in step.inputs}
    end = max(code, default=0) + 1
    last_use |= dict.fromkeys(targets.values(), end)
    kept = set(reductions)
    home = {node: slot for slot, node in targets.items() if node >= num_operands and last_use.get(slot, -1) <= node}
    slot_of = {node: node for node in range(num_operands)}
    free: list[int] = []
    steps: list[Instruction | Reduction] = []
    num_slots = num_operands
    for index, step in code.items():
        if index < num_operands or (index not in last_use and index not in kept):
            continue  # an operand, or merged into another instruction
        inputs = tuple(slot_of[node] for node in step.inputs)
        dying = {node for node in step.inputs if last_use[node] == index and slot_of[node] >= num_operands}
        free += [slot_of[node] for node in dying if slot_of[node] not in free]
        if index in kept:
            steps.append(Reduction(step.op, inputs[0], f"#{index}"))
            continue
        if index in home:
            slot_of[index] = home[index]
        else:
            if not free:
                free.append(num_slots)
                num_slots += 1
            slot_of[index] = free.pop()
        steps.append(Instruction(step.op, inputs, step.scalar, slot_of[index]))
    copies = _copies({slot: slot_of[node] for slot, node in targets.items()}, scratch=num_slots)
    num_slots += any(copy.output == num_slots for copy in copies)
    return Segment((*steps, *copies)), num_slots


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
