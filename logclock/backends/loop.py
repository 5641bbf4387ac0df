"""The reference backend: one rule, one parameter after another, in pieces that stay in the processor's cache."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from logclock.backends.operands import compute_dtype, flat_operands, piece_size, pieces, write_back
from logclock.backends.program import trace
from logclock.rules import Rule

__all__ = ["run"]


def run(
    rule: Rule,
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    states: Sequence[Sequence[torch.Tensor]],
    scalars: Mapping[str, Any],
    *,
    maximize: bool = False,
) -> None:
    """Update parameters and states in place; gradients are only read.

    Args:
        rule: The update.
        params: Parameters of one device and dtype.
        grads: A gradient for each.
        states: For each of the rule's states, a tensor for each parameter.
        scalars: The rule's scalars: numbers, or 0-d tensors on the parameters' device.
        maximize: Whether to run on the negated gradients.
    """
    program = trace(rule)
    code = program.bind(scalars)
    for operands in zip(params, grads, *states, strict=True):
        flats = flat_operands(operands)
        dtype, device = compute_dtype(flats[0]), flats[0].device
        size = min(piece_size(device, program), max(flats[0].numel(), 1))
        converted = [i for i, f in enumerate(flats) if f.dtype != dtype or (maximize and i == 1)]
        buffers = {i: torch.empty(size, dtype=dtype, device=device) for i in converted}
        scratch = [torch.empty(size, dtype=dtype, device=device) for _ in range(program.num_temporaries)]
        for piece in pieces(flats[0].numel(), size):
            views = [flat[piece] for flat in flats]
            length = piece.stop - piece.start
            slots = views + (scratch if length == size else [buffer[:length] for buffer in scratch])
            for i, buffer in buffers.items():
                slots[i] = buffer[:length].copy_(views[i])
                if maximize and i == 1:
                    torch.neg(slots[i], out=slots[i])
            for op, inputs, scalar, output in code:
                OPERATIONS[op](slots[output], scalar, *(slots[i] for i in inputs))
            for i in buffers:
                if i != 1:
                    views[i].copy_(slots[i])
        write_back(operands, flats)


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
    "neg": lambda out, _, x: torch.neg(x, out=out),
    "sqrt": lambda out, _, x: torch.sqrt(x, out=out),
    "absolute": lambda out, _, x: torch.abs(x, out=out),
    "sign": lambda out, _, x: torch.sign(x, out=out),
    "maximum": lambda out, scalar, x: torch.clamp(x, min=scalar, out=out),
    "minimum": lambda out, scalar, x: torch.clamp(x, max=scalar, out=out),
    "log": lambda out, _, x: torch.log(x, out=out),
    "exp": lambda out, _, x: torch.exp(x, out=out),
    "copy": lambda out, _, x: out.copy_(x),
}
