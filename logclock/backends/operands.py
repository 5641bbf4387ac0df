"""How do parameters of any shape, stride and precision become flat pieces on which a rule can run?"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from logclock.backends.program import Program

__all__ = [
    "CPU_PIECE",
    "SCRATCH_BYTES",
    "compute_dtype",
    "flat_operands",
    "is_sharded",
    "local",
    "piece_size",
    "pieces",
    "write_back",
]

CPU_PIECE = 128 * 1024
"""Elements per piece on a CPU: a rule's operands and scratch then fit the second-level caches of two cores."""

SCRATCH_BYTES = 48 * 2**20
"""Bytes of temporaries that a backend allows itself at once."""


def compute_dtype(param: torch.Tensor) -> torch.dtype:
    """Return the dtype of the arithmetic: float32, or float64 for float64 parameters."""
    return torch.promote_types(param.dtype, torch.float32)


def is_sharded(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is a DTensor, without the second that importing the class takes."""
    module = sys.modules.get("torch.distributed.tensor")  # whoever holds a DTensor has imported it
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Any) -> torch.Tensor:
    """Return this rank's shard of a DTensor, and any other tensor as it is."""
    shard: torch.Tensor = tensor.to_local() if is_sharded(tensor) else tensor
    return shard


def flat_operands(operands: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return 1-D tensors that pair the elements of parameter, gradient and states by position.

    Operands with the parameter's strides become views; the others are copied and must be written back. A sharded
    gradient that autograd left in other placements, partial sums say, is first brought to those of the parameter.
    """
    param, grad, *states = operands
    tensors = [local(operand) for operand in (param, _placed_like(grad, param), *states)]
    if all(tensor.is_contiguous() for tensor in tensors):
        return [tensor.view(-1) for tensor in tensors]
    layout = torch.empty_like(tensors[0], device="meta")  # dense, in the parameter's order of dimensions
    flats = []
    for tensor in tensors:
        if tensor.stride() != layout.stride():
            tensor = torch.empty_strided(
                layout.size(), layout.stride(), dtype=tensor.dtype, device=tensor.device
            ).copy_(tensor)
        flats.append(tensor.as_strided((tensor.numel(),), (1,)))
    return flats


def _placed_like(grad: Any, param: Any) -> torch.Tensor:
    if is_sharded(grad) and is_sharded(param) and grad.placements != param.placements:
        grad = grad.redistribute(param.device_mesh, param.placements)
    placed: torch.Tensor = grad
    return placed


def write_back(operands: Sequence[torch.Tensor], flats: Sequence[torch.Tensor]) -> None:
    """Copy flat operands that are not views to where they came from (never the gradient, at position 1)."""
    for position, (operand, flat) in enumerate(zip(operands, flats, strict=True)):
        target = local(operand)
        if position != 1 and target.numel() and flat.data_ptr() != target.data_ptr():
            layout = torch.empty_like(local(operands[0]), device="meta")
            target.copy_(flat.as_strided(layout.size(), layout.stride()))


def piece_size(device: torch.device, program: Program) -> int:
    """Return how many elements to handle at once: what stays in cache on a CPU, what fits the scratch elsewhere."""
    if device.type == "cpu":
        return CPU_PIECE
    return SCRATCH_BYTES // (8 * (program.num_temporaries + program.num_operands))


def pieces(numel: int, size: int) -> Iterator[slice]:
    """Yield the slices that cut `numel` elements into pieces of at most `size`."""
    for start in range(0, numel, size):
        yield slice(start, min(start + size, numel))
