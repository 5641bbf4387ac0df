"""How do parameters of any shape, stride and precision become flat pieces on which a program can run?"""

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
    "flattened",
    "is_sharded",
    "local",
    "piece_size",
    "pieces",
    "sums_over_shards",
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


def flat_operands(param: torch.Tensor, operands: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return 1-D tensors that pair the elements of operands by their position in the parameter.

    Operands with the parameter's strides become views; the others are copied and must be written back. A sharded
    gradient that autograd left in other placements, partial sums say, is first brought to those of the parameter.
    """
    tensors = [local(_placed_like(operand, param)) for operand in operands]
    own = local(param)
    if own.is_contiguous() and all(tensor.is_contiguous() for tensor in tensors):
        return [tensor.view(-1) for tensor in tensors]
    layout = torch.empty_like(own, device="meta")  # dense, in the parameter's order of dimensions
    return [flattened(tensor, layout) for tensor in tensors]


def flattened(tensor: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
    """Return the elements of a tensor in the order of a dense layout, as a view where it has that layout."""
    if tensor.stride() != layout.stride():
        tensor = torch.empty_strided(layout.size(), layout.stride(), dtype=tensor.dtype, device=tensor.device).copy_(
            tensor
        )
    return tensor.as_strided((tensor.numel(),), (1,))


def _placed_like(operand: Any, param: Any) -> Any:
    if operand is not param and is_sharded(operand) and is_sharded(param) and operand.placements != param.placements:
        return operand.redistribute(param.device_mesh, param.placements)
    return operand


def write_back(param: torch.Tensor, operand: torch.Tensor, flat: torch.Tensor) -> None:
    """Copy a flat operand that is not a view to where it came from."""
    target = local(operand)
    if target.numel() and flat.data_ptr() != target.data_ptr():
        layout = torch.empty_like(local(param), device="meta")
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


def sums_over_shards(params: Sequence[Any], sums: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return sums over whole tensors from sums over local parts: one all-reduce for all tensors that are cut alike.

    Args:
        params: The tensors.
        sums: Rows of one number for each tensor.
    """
    if not sums or not any(is_sharded(param) for param in params):
        return [list(row) for row in sums]
    totals = [list(row) for row in sums]
    alike: dict[Any, list[int]] = {}
    for index, param in enumerate(params):
        if is_sharded(param):
            dims = tuple(dim for dim, placement in enumerate(param.placements) if placement.is_shard())
            alike.setdefault((param.device_mesh, dims), []).append(index)
    for (mesh, dims), members in alike.items():
        device = local(params[members[0]]).device
        columns = [torch.as_tensor(row[i], dtype=torch.float64, device=device) for row in sums for i in members]
        vector = torch.stack(columns)
        for dim in dims:
            torch.distributed.all_reduce(vector, group=mesh.get_group(dim))
        values = vector.tolist() if device.type == "cpu" else list(vector.unbind())
        for row_number, row in enumerate(totals):
            for position, index in enumerate(members):
                row[index] = values[row_number * len(members) + position]
    return totals
