"""The multi-tensor backend: each instruction of a rule is one call on a list of pieces of many parameters."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from logclock.backends.operands import (
    SCRATCH_BYTES,
    compute_dtype,
    flat_operands,
    piece_size,
    pieces,
    write_back,
)
from logclock.backends.program import Program, trace
from logclock.rules import Rule

__all__ = ["run"]

Tensors = list[torch.Tensor]


def run(
    rule: Rule,
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    states: Sequence[Sequence[torch.Tensor]],
    scalars: Mapping[str, Any],
    *,
    maximize: bool = False,
) -> None:
    """Update parameters and states in place, as `loop.run` does and with the same bits on a CPU."""
    program = trace(rule)
    code = program.bind(scalars)
    all_operands = list(zip(params, grads, *states, strict=True))
    all_flats = [flat_operands(operands) for operands in all_operands]
    for batch in _batches(all_flats, program):
        _run_batch(program, code, [list(column) for column in zip(*batch, strict=True)], maximize)
    for operands, flats in zip(all_operands, all_flats, strict=True):
        write_back(operands, flats)


def _batches(all_flats: list[Tensors], program: Program) -> Iterator[list[Tensors]]:
    """Yield lists of pieces whose temporaries together fit in the scratch budget."""
    batch: list[Tensors] = []
    in_flight = 0
    for flats in all_flats:
        dtype = compute_dtype(flats[0])
        for piece in pieces(flats[0].numel(), piece_size(flats[0].device, program)):
            # beside the scratch: the result of an operation that is not in place and the value it replaces; copies of
            # operands that are converted
            copies = program.num_temporaries + 2 + sum(flat.dtype != dtype for flat in flats)
            bytes_needed = (piece.stop - piece.start) * dtype.itemsize * copies
            if batch and in_flight + bytes_needed > SCRATCH_BYTES:
                yield batch
                batch, in_flight = [], 0
            batch.append([flat[piece] for flat in flats])
            in_flight += bytes_needed
    if batch:
        yield batch


def _run_batch(program: Program, code: list[Any], columns: list[Tensors], maximize: bool) -> None:
    dtype = compute_dtype(columns[0][0])
    slots = [[x.to(dtype) for x in column] for column in columns] + [[] for _ in range(program.num_temporaries)]
    if maximize:
        slots[1] = list(torch._foreach_neg(slots[1]))
    for op, inputs, scalar, output in code:
        arguments = [slots[i] for i in inputs]
        result = OPERATIONS[op](scalar, *arguments, in_place=output == inputs[0])
        if output >= program.num_operands:
            slots[output] = [x.clone() for x in result] if op == "copy" else result
        elif result is not slots[output]:
            torch._foreach_copy_(slots[output], result)
        del result, arguments
    for position, (column, slot) in enumerate(zip(columns, slots, strict=False)):
        if position != 1 and column[0].dtype != dtype:
            torch._foreach_copy_(column, slot)


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
    "log": _list_op("log"),
    "exp": _list_op("exp"),
    "copy": lambda _, x, *, in_place: x,
}
