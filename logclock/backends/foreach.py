"""The multi-tensor backend: each instruction of a program is one call on a list of pieces of many parameters."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from logclock.backends.loop import OPERATIONS as ONE_BY_ONE
from logclock.backends.loop import REDUCTIONS
from logclock.backends.operands import SCRATCH_BYTES, piece_size, pieces
from logclock.backends.parts import Batch, by_segments, run_parts, take_turns
from logclock.backends.program import Instruction

__all__ = ["run"]

Tensors = list[torch.Tensor]


def _run_segment(batch: Batch, index: int) -> dict[str, list[Any]]:
    code, per_tensor = batch.bound(index)
    names = [reduction.name for reduction in batch.program.segments[index].reductions]
    sums: dict[str, list[Any]] = {name: [0.0] * len(batch.params) for name in names}
    for group in _groups(batch):
        _run_group(batch, code, per_tensor, group, sums, is_last=index == len(batch.program.segments) - 1)
    if batch.device.type != "cpu":  # a tensor without elements has had no piece
        zero = torch.zeros((), dtype=batch.dtype, device=batch.device)
        sums = {name: [zero + value for value in row] for name, row in sums.items()}
    return sums


def _groups(batch: Batch) -> Iterator[list[tuple[int, slice]]]:
    """Yield lists of pieces, with their tensor's number, that convert the same operands and fit the scratch budget."""
    program = batch.program
    by_conversion: dict[tuple[bool, ...], list[int]] = {}
    for tensor, flats in enumerate(batch.flats):
        key = tuple(batch.converts(tensor, i) for i in range(len(flats)))
        by_conversion.setdefault(key, []).append(tensor)
    for key, tensors in by_conversion.items():
        group: list[tuple[int, slice]] = []
        in_flight = 0
        # beside the scratch: the result of an operation that is not in place and the value it replaces; copies of
        # operands that are converted
        copies = program.num_temporaries + 2 + sum(key)
        for tensor in tensors:
            for piece in pieces(batch.flats[tensor][0].numel(), piece_size(batch.device, program)):
                bytes_needed = (piece.stop - piece.start) * batch.dtype.itemsize * copies
                if group and in_flight + bytes_needed > SCRATCH_BYTES:
                    yield group
                    group, in_flight = [], 0
                group.append((tensor, piece))
                in_flight += bytes_needed
        if group:
            yield group


def _run_group(
    batch: Batch,
    code: list[tuple[Any, Any]],
    per_tensor: frozenset[int],
    group: list[tuple[int, slice]],
    sums: dict[str, list[Any]],
    *,
    is_last: bool,
) -> None:
    program, first = batch.program, group[0][0]
    converted = [i for i in range(program.num_operands) if batch.converts(first, i)]
    slots: list[Tensors] = [
        [batch.flats[tensor][i][piece] for tensor, piece in group] for i in range(program.num_operands)
    ]
    for i in converted:
        is_read = program.is_read[program.operands[i]]
        slots[i] = [
            x.to(batch.dtype, copy=True) if is_read else torch.empty_like(x, dtype=batch.dtype) for x in slots[i]
        ]
        if batch.is_negated[i]:
            torch._foreach_neg_(slots[i])
    slots += [[] for _ in range(program.num_temporaries)]
    for at, (step, value) in enumerate(code):
        if not isinstance(step, Instruction):
            for (tensor, _), x in zip(group, slots[step.input], strict=True):
                sums[step.name][tensor] += REDUCTIONS[step.kind](x)
        elif at in per_tensor or step.op not in OPERATIONS:
            values = [value[tensor] for tensor, _ in group] if at in per_tensor else [value] * len(group)
            if not slots[step.output]:
                slots[step.output] = [torch.empty_like(x, dtype=batch.dtype) for x in slots[0]]
            for position, own in enumerate(values):
                inputs = (slots[i][position] for i in step.inputs)
                ONE_BY_ONE[step.op](slots[step.output][position], own, *inputs)
        else:
            _run_on_lists(program.num_operands, step, value, slots)
    if is_last:
        for i in converted:
            if program.operands[i] in program.written:
                for (tensor, piece), x in zip(group, slots[i], strict=True):
                    batch.store(tensor, i, piece, x)


def _run_on_lists(num_operands: int, step: Instruction, value: Any, slots: list[Tensors]) -> None:
    arguments = [slots[i] for i in step.inputs]
    result = OPERATIONS[step.op](value, *arguments, in_place=step.output == step.inputs[0])
    if step.output >= num_operands:
        slots[step.output] = [x.clone() for x in result] if step.op == "copy" else result
    elif result is not slots[step.output]:
        torch._foreach_copy_(slots[step.output], result)


def _list_op(name: str, *, keyword: str | None = None, with_scalar: bool = False) -> Callable[..., Tensors]:
    """Return the operation `torch._foreach_NAME`, with the scalar as last argument, as a keyword, or not at all."""
    out_of_place, in_place_op = getattr(torch, f"_foreach_{name}"), getattr(torch, f"_foreach_{name}_")

    def apply(scalar: Any, first: Tensors, *rest: Tensors, in_place: bool) -> Tensors:
        arguments: tuple[Any, ...] = (*rest, scalar) if with_scalar else rest
        keywords = {keyword: scalar} if keyword else {}
        if in_place:
            in_place_op(first, *arguments, **keywords)
            return first
        result: Tensors = out_of_place(first, *arguments, **keywords)
        return result

    return apply


_add, _mul, _div = _list_op("add"), _list_op("mul", with_scalar=True), _list_op("div")
_add_alpha, _addcdiv = _list_op("add", keyword="alpha"), _list_op("addcdiv", keyword="value")


def _add_scaled(scalar: Any, x: Tensors, y: Tensors, *, in_place: bool) -> Tensors:
    if isinstance(scalar, torch.Tensor):  # alpha would be read on the host
        return _add(None, x, _mul(scalar, y, in_place=False), in_place=in_place)
    return _add_alpha(scalar, x, y, in_place=in_place)


def _add_scaled_quotient(scalar: Any, x: Tensors, y: Tensors, z: Tensors, *, in_place: bool) -> Tensors:
    if isinstance(scalar, torch.Tensor):
        return _add_scaled(scalar, x, _div(None, y, z, in_place=False), in_place=in_place)
    return _addcdiv(scalar, x, y, z, in_place=in_place)


OPERATIONS: dict[str, Callable[..., Tensors]] = {
    "add": _add,
    "sub": _list_op("sub"),
    "mul": _list_op("mul"),
    "div": _div,
    "add_scaled": _add_scaled,
    "add_scaled_quotient": _add_scaled_quotient,
    "lerp": _list_op("lerp", with_scalar=True),
    "add_scalar": _list_op("add", with_scalar=True),
    "mul_scalar": _mul,
    "div_scalar": _list_op("div", with_scalar=True),
    "neg": _list_op("neg"),
    "sqrt": _list_op("sqrt"),
    "absolute": _list_op("abs"),
    "sign": _list_op("sign"),
    "maximum": _list_op("clamp_min", with_scalar=True),
    "minimum": _list_op("clamp_max", with_scalar=True),
    "larger": _list_op("maximum"),
    "smaller": _list_op("minimum"),
    "log": _list_op("log"),
    "exp": _list_op("exp"),
    "copy": lambda _, x, *, in_place: x,
}
"""Those that torch has for lists; the others run one by one."""

_engine: dict[str, Any] = {"run_program": by_segments(_run_segment), "largest_stack": None}

run = functools.partial(run_parts, **_engine)
"""Update parameters and states in place; arguments are those of `parts.take_turns`."""

start = functools.partial(take_turns, **_engine)
"""Begin an update that stops where it needs sums over all tensors; see `parts.finish_together`."""
