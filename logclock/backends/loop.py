"""The reference backend: one parameter after another, in pieces that stay in the processor's cache."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from logclock.backends.operands import piece_size, pieces
from logclock.backends.parts import Batch, by_segments, run_parts, take_turns
from logclock.backends.program import Instruction

__all__ = ["OPERATIONS", "REDUCTIONS", "run"]


def _run_segment(batch: Batch, index: int) -> dict[str, list[Any]]:
    program = batch.program
    code, per_tensor = batch.bound(index)
    written = [i for i, name in enumerate(program.operands) if name in program.written]
    read = [program.is_read[name] for name in program.operands]
    is_last = index == len(program.segments) - 1
    sums: dict[str, list[Any]] = {reduction.name: [] for reduction in program.segments[index].reductions}
    device, dtype = batch.device, batch.dtype
    for tensor, flats in enumerate(batch.flats):
        own = code if not per_tensor else [(s, v[tensor] if at in per_tensor else v) for at, (s, v) in enumerate(code)]
        numel = flats[0].numel()
        size = min(piece_size(device, program), max(numel, 1))
        converted = [i for i in range(len(flats)) if batch.converts(tensor, i)]
        buffers = {i: torch.empty(size, dtype=dtype, device=device) for i in converted}
        scratch = [torch.empty(size, dtype=dtype, device=device) for _ in range(program.num_temporaries)]
        for row in sums.values():
            row.append(0.0)
        for piece in pieces(numel, size):
            views = [flat[piece] for flat in flats]
            length = piece.stop - piece.start
            slots = views + (scratch if length == size else [buffer[:length] for buffer in scratch])
            for i, buffer in buffers.items():
                slots[i] = buffer[:length]
                if read[i]:
                    slots[i].copy_(views[i])
                if batch.is_negated[i]:
                    torch.neg(slots[i], out=slots[i])
            for step, value in own:
                if isinstance(step, Instruction):
                    OPERATIONS[step.op](slots[step.output], value, *(slots[i] for i in step.inputs))
                else:
                    sums[step.name][tensor] += REDUCTIONS[step.kind](slots[step.input])
            if is_last:
                for i in buffers:
                    if i in written:
                        batch.store(tensor, i, piece, slots[i])
    return sums


def _add_scaled(out: torch.Tensor, scalar: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    if isinstance(scalar, torch.Tensor):  # torch.add reads a tensor alpha on the host
        torch.addcmul(x, y, scalar, out=out)
    else:
        torch.add(x, y, alpha=scalar, out=out)


def _add_scaled_quotient(out: torch.Tensor, scalar: Any, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> None:
    if isinstance(scalar, torch.Tensor):
        torch.addcmul(x, y / z, scalar, out=out)
    else:
        torch.addcdiv(x, y, z, value=scalar, out=out)


def _fill(out: torch.Tensor, scalar: Any) -> None:
    out.copy_(scalar) if isinstance(scalar, torch.Tensor) else out.fill_(scalar)


def _scalar_div(out: torch.Tensor, scalar: Any, x: torch.Tensor) -> None:
    torch.div(torch.as_tensor(scalar, dtype=x.dtype, device=x.device), x, out=out)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda out, _, x, y: torch.add(x, y, out=out),
    "sub": lambda out, _, x, y: torch.sub(x, y, out=out),
    "mul": lambda out, _, x, y: torch.mul(x, y, out=out),
    "div": lambda out, _, x, y: torch.div(x, y, out=out),
    "add_scaled": _add_scaled,
    "add_scaled_quotient": _add_scaled_quotient,
    "lerp": lambda out, scalar, x, y: torch.lerp(x, y, scalar, out=out),
    "add_scalar": lambda out, scalar, x: torch.add(x, scalar, out=out),
    "mul_scalar": lambda out, scalar, x: torch.mul(x, scalar, out=out),
    "div_scalar": lambda out, scalar, x: torch.div(x, scalar, out=out),
    "scalar_div": _scalar_div,
    "neg": lambda out, _, x: torch.neg(x, out=out),
    "sqrt": lambda out, _, x: torch.sqrt(x, out=out),
    "absolute": lambda out, _, x: torch.abs(x, out=out),
    "sign": lambda out, _, x: torch.sign(x, out=out),
    "maximum": lambda out, scalar, x: torch.clamp(x, min=scalar, out=out),
    "minimum": lambda out, scalar, x: torch.clamp(x, max=scalar, out=out),
    "larger": lambda out, _, x, y: torch.maximum(x, y, out=out),
    "smaller": lambda out, _, x, y: torch.minimum(x, y, out=out),
    "log": lambda out, _, x: torch.log(x, out=out),
    "exp": lambda out, _, x: torch.exp(x, out=out),
    "greater": lambda out, _, x, y: torch.gt(x, y, out=out),
    "greater_equal": lambda out, _, x, y: torch.ge(x, y, out=out),
    "greater_scalar": lambda out, scalar, x: torch.gt(x, scalar, out=out),
    "greater_equal_scalar": lambda out, scalar, x: torch.ge(x, scalar, out=out),
    "less_scalar": lambda out, scalar, x: torch.lt(x, scalar, out=out),
    "less_equal_scalar": lambda out, scalar, x: torch.le(x, scalar, out=out),
    "where": lambda out, _, x, y, z: torch.where(x != 0, y, z, out=out),
    "fill": _fill,
    "copy": lambda out, _, x: out.copy_(x),
}


def _total(x: torch.Tensor) -> Any:
    result = torch.sum(x, dtype=torch.float64 if x.device.type == "cpu" else None)
    return result.item() if x.device.type == "cpu" else result


def _total_square(x: torch.Tensor) -> Any:
    return _total(x.double().square() if x.device.type == "cpu" else x.square())


REDUCTIONS: dict[str, Callable[[torch.Tensor], Any]] = {"total": _total, "total_square": _total_square}
"""Sums over a piece, on a CPU in float64: a number on the host there, a 0-d tensor elsewhere."""

_engine: dict[str, Any] = {"run_program": by_segments(_run_segment), "largest_stack": 1}

run = functools.partial(run_parts, **_engine)
"""Update parameters and states in place; arguments are those of `parts.take_turns`."""

start = functools.partial(take_turns, **_engine)
"""Begin an update that stops where it needs sums over all tensors; see `parts.finish_together`."""
