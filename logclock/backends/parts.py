"""How does a whole rule run on many parameters? Part by part, with the numbers and buffers that pass between parts."""

import dataclasses
import functools
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol

import torch

from logclock.backends.matrices import run_matrices
from logclock.backends.operands import compute_dtype, flat_operands, is_sharded, sums_over_shards, write_back
from logclock.backends.program import NUMEL, Instruction, Program, Reduction, plan_of
from logclock.backends.scalars import Scalar
from logclock.backends.storage import Rounding, element_numbers, write
from logclock.rules import Rule

__all__ = ["Batch", "RunProgram", "RunSegment", "Turns", "by_segments", "finish_together", "run_parts", "take_turns"]


@dataclasses.dataclass
class Batch:
    """The tensors of one device and dtype on which a program runs.

    Args:
        program: The program.
        params: The parameters.
        flats: For each parameter, the operands of the program as 1-D tensors.
        numbers: Values of names by tensor: lists of floats on a CPU, vectors on other devices.
        scalars: The rule's scalars.
        is_negated: For each operand, whether its negative is meant (the gradient of a maximum).
        rounding: What decides the bits of stochastic rounding, if a state is rounded so.
    """

    program: Program
    params: Sequence[torch.Tensor]
    flats: list[list[torch.Tensor]]
    numbers: dict[str, Any]
    scalars: Mapping[str, Any]
    is_negated: tuple[bool, ...]
    rounding: Rounding | None = None
    _numbered: dict[int, torch.Tensor] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def dtype(self) -> torch.dtype:
        """Of the arithmetic."""
        return compute_dtype(self.params[0])

    @property
    def device(self) -> torch.device:
        """On which the operands are."""
        return self.params[0].device

    def is_per_tensor(self, scalar: Scalar | None) -> bool:
        """Return whether a scalar differs from tensor to tensor."""
        return scalar is not None and bool(scalar.names() & self.program.per_tensor)

    def value(self, scalar: Scalar | None) -> Any:
        """Return the value of a scalar; for one that differs from tensor to tensor, a value for each."""
        if scalar is None or not self.is_per_tensor(scalar):
            return None if scalar is None else scalar(self.scalars)
        if self.device.type == "cpu":
            names = scalar.names() & self.program.per_tensor
            return [
                scalar({**self.scalars, **{name: self.numbers[name][i] for name in names}})
                for i in range(len(self.params))
            ]
        return list(scalar({**self.scalars, **self.numbers}).unbind())

    def bound(self, segment: int) -> tuple[list[tuple[Instruction | Reduction, Any]], frozenset[int]]:
        """Return a segment's code with the values of its scalars, and where there is a value for each tensor."""
        code: list[tuple[Instruction | Reduction, Any]] = []
        per_tensor = set()
        for step in self.program.segments[segment].code:
            scalar = step.scalar if isinstance(step, Instruction) else None
            if self.is_per_tensor(scalar):
                per_tensor.add(len(code))
            code.append((step, self.value(scalar)))
        return code, frozenset(per_tensor)

    def converts(self, tensor: int, operand: int) -> bool:
        """Return whether an operand must be copied to be used in the arithmetic."""
        return self.flats[tensor][operand].dtype != self.dtype or self.is_negated[operand]

    def store(self, tensor: int, operand: int, piece: slice, values: torch.Tensor) -> None:
        """Write converted values to a piece of an operand, in its format."""
        name = self.program.operands[operand]
        if self.rounding is None or name not in self.rounding.states:
            self.flats[tensor][operand][piece].copy_(values)
            return
        keys = self.rounding.keys(tensor, name)
        write(self.flats[tensor][operand][piece], values, keys, self._elements(tensor, piece))

    def _elements(self, tensor: int, piece: slice) -> torch.Tensor:
        """Return the numbers of a piece's elements in the whole parameter."""
        param = self.params[tensor]
        if param.is_contiguous() and not is_sharded(param):
            return torch.arange(piece.start, piece.stop, device=self.device)
        if tensor not in self._numbered:
            self._numbered[tensor] = flat_operands(param, [element_numbers(param)])[0]
        return self._numbered[tensor][piece]


RunSegment = Callable[[Batch, int], dict[str, list[Any]]]
"""Runs one segment of a batch's program and returns the sums over local parts that it made, by name."""

Columns = Mapping[str, Sequence[torch.Tensor]]
"""The tensors of every operand, one for each parameter."""


class RunProgram(Protocol):
    """Runs a program on the tensors of parameters, all of its segments: an engine."""

    def __call__(
        self,
        program: Program,
        params: Sequence[torch.Tensor],
        columns: Columns,
        scalars: Mapping[str, Any],
        *,
        maximize: bool,
        rounding: Rounding | None,
    ) -> None:
        """Update the operands that the program writes, in place."""


Turns = Generator[dict[str, Any], dict[str, Any], None]
"""An update that stops where it needs sums over all tensors: it yields its share of them, and is sent the sums."""


def run_parts(rule: Rule, *operands: Any, **options: Any) -> None:
    """Update parameters and states in place; arguments are those of `take_turns`, for all tensors there are."""
    finish_together([take_turns(rule, *operands, **options)])


def finish_together(updates: Sequence[Turns]) -> None:
    """Run updates to their end, side by side, each sum over the tensors of all of them."""
    waiting = [(update, share) for update in updates if (share := next(update, None)) is not None]
    while waiting:
        totals: dict[str, Any] = {}
        for _, share in waiting:
            for name, value in share.items():
                totals[name] = value if name not in totals else totals[name] + _as(value, totals[name])
        waiting = [(update, share) for update, _ in waiting if (share := _resumed(update, totals)) is not None]


def _resumed(update: Turns, totals: dict[str, Any]) -> dict[str, Any] | None:
    """Send an update its sums and return its share of the next ones, None if it has ended."""
    try:
        return update.send(totals)
    except StopIteration:
        return None


def _as(value: Any, like: Any) -> Any:
    """Return a number where another one is: on the host, or on a device."""
    if isinstance(like, torch.Tensor):
        return value.to(like.device) if isinstance(value, torch.Tensor) else value
    return value.item() if isinstance(value, torch.Tensor) else value


def _share(column: Sequence[torch.Tensor]) -> Any:
    """Return the sum of a number over some tensors: a number on a CPU, which no kernel adds up, else a 0-d tensor."""
    if column[0].device.type == "cpu":
        return math.fsum(value.item() for value in column)
    return torch.stack(list(column)).sum()


def take_turns(
    rule: Rule,
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    states: Sequence[Sequence[torch.Tensor]],
    scalars: Mapping[str, Any],
    *,
    run_program: RunProgram,
    largest_stack: int | None,
    maximize: bool = False,
    rounding: Rounding | None = None,
) -> Turns:
    """Update parameters and states in place, stopping for sums over all tensors; gradients are only read.

    Args:
        rule: The update.
        params: Parameters of one device and dtype.
        grads: A gradient for each.
        states: For each of the rule's states, a tensor for each parameter.
        scalars: The rule's scalars: numbers, or 0-d tensors on the parameters' device.
        run_program: The engine.
        largest_stack: How many matrices may be updated together; None: as many as fit.
        maximize: Whether to run on the negated gradients.
        rounding: What decides the bits of stochastic rounding.
    """
    if not params:
        return
    plan = plan_of(rule)
    columns: dict[str, Sequence[torch.Tensor]] = {"param": params, "grad": grads}
    columns |= dict(zip(rule.state_names, states, strict=True))
    for name in plan.buffers:
        columns[name] = [torch.empty_like(param, dtype=compute_dtype(param)) for param in params]
    device = params[0].device
    for part, totals in zip(plan.parts, plan.totals, strict=True):
        if totals:
            found = yield {name: _share(columns[state]) for name, state in totals}
            here = torch.zeros((), device=device) if device.type != "cpu" else 0.0
            scalars = {**scalars, **{name: _as(found[name], here) for name, _ in totals}}
        if isinstance(part, Program):
            run_program(part, params, columns, scalars, maximize=maximize, rounding=rounding)
        else:
            run_matrices(part, columns, scalars, maximize=maximize, largest_stack=largest_stack, rounding=rounding)


def by_segments(run_segment: RunSegment) -> RunProgram:
    """Return the engine that runs segment after segment of a program, with the numbers that pass between them."""
    return functools.partial(_run_program, run_segment)


def _run_program(
    run_segment: RunSegment,
    program: Program,
    params: Sequence[torch.Tensor],
    columns: Columns,
    scalars: Mapping[str, Any],
    *,
    maximize: bool,
    rounding: Rounding | None,
) -> None:
    operands = list(zip(*(columns[name] for name in program.operands), strict=True))
    flats = [flat_operands(param, own) for param, own in zip(params, operands, strict=True)]
    numbers = _numbers(program, params, columns)
    negated = tuple(maximize and name == "grad" for name in program.operands)
    batch = Batch(program, params, flats, numbers, scalars, negated, rounding)
    for index, segment in enumerate(program.segments):
        sums = run_segment(batch, index)
        names = [reduction.name for reduction in segment.reductions]
        totals = sums_over_shards(params, [sums[name] for name in names])
        for name, row in zip(names, totals, strict=True):
            numbers[name] = row if batch.device.type == "cpu" else torch.stack(row)
    for name, value in program.numbers:
        for target, number in zip(columns[name], _for_each(batch.value(value), len(params)), strict=True):
            target.fill_(number)  # a tensor made of the number would be float32
    for position, name in enumerate(program.operands):
        if name in program.written:
            for param, own, flat in zip(params, operands, flats, strict=True):
                write_back(param, own[position], flat[position])


def _for_each(value: Any, count: int) -> list[Any]:
    return value if isinstance(value, list) else [value] * count


def _numbers(program: Program, params: Sequence[torch.Tensor], columns: Columns) -> dict[str, Any]:
    """Return the numbers that are known before the program runs: counts of elements, and states."""
    counts = [float(max(param.numel(), 1)) for param in params]
    if params[0].device.type == "cpu":
        return {NUMEL: counts} | {name: [s.item() for s in columns[name]] for name in program.number_states}
    device = params[0].device
    known = {NUMEL: torch.tensor(counts, device=device)}
    return known | {name: torch.stack([s.to(device) for s in columns[name]]) for name in program.number_states}
