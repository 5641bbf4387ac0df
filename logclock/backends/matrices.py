"""How do stages on matrices run? On stacks of the tensors that have one shape, one call for each stack."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from logclock.backends.operands import compute_dtype, is_sharded
from logclock.backends.program import MatrixPart
from logclock.backends.storage import Rounding, element_numbers, write
from logclock.rules.random import Draws

__all__ = ["STACK_BYTES", "run_matrices"]

STACK_BYTES = {"cpu": 4 * 2**20}
"""Bytes of a stack of parameters by kind of device. A CPU's cache should hold a stack and its temporaries, which every
pass of a stage would otherwise fetch from memory."""

OTHER_STACK_BYTES = 256 * 2**20
"""On other devices, where few large calls are cheaper; a stack takes a few times as much in copies and temporaries."""


def run_matrices(
    part: MatrixPart,
    columns: Mapping[str, Sequence[torch.Tensor]],
    scalars: Mapping[str, Any],
    *,
    maximize: bool,
    largest_stack: int | None,
    rounding: Rounding | None,
) -> None:
    """Run a stage on every parameter's tensors and write its results in place.

    A sharded tensor is gathered, every rank runs the stage on the whole, and each keeps its part of the result.

    Args:
        part: The stage, with the operands that it reads and writes.
        columns: Each operand's tensors.
        scalars: The rule's scalars.
        maximize: Whether the gradient is negated.
        largest_stack: How many tensors may be stacked; None: as many as `STACK_BYTES` hold.
        rounding: What decides the bits of stochastic rounding, and what stages draw.
    """
    seed = 0 if rounding is None else rounding.seed
    numbers = range(len(columns["param"])) if rounding is None else rounding.params
    for members in _stacks(columns, part.inputs, largest_stack):
        dtype = compute_dtype(columns["param"][members[0]])
        stacked = [_stack([_whole(columns[name][i]).to(dtype) for i in members]) for name in part.inputs]
        if maximize:
            stacked = [-x if name == "grad" else x for name, x in zip(part.inputs, stacked, strict=True)]
        draws = Draws(seed, tuple(numbers[i] for i in members))
        results = part.step.stage(*stacked, **part.step.keywords(scalars, draws))
        for name, result in zip(part.outputs, results, strict=True):
            keys = None
            if rounding is not None and name in rounding.states:
                keys = [rounding.keys(i, name) for i in members]
            _write([columns[name][i] for i in members], result, keys)


def _stacks(
    columns: Mapping[str, Sequence[torch.Tensor]], names: Sequence[str], largest_stack: int | None
) -> Iterator[list[int]]:
    """Yield the numbers of parameters of which every operand has one shape."""
    by_shape: dict[tuple[torch.Size, ...], list[int]] = {}
    for i, param in enumerate(columns["param"]):
        if param.numel():
            by_shape.setdefault((param.shape, *(columns[name][i].shape for name in names)), []).append(i)
    for members in by_shape.values():
        param = columns["param"][members[0]]
        stack_bytes = STACK_BYTES.get(param.device.type, OTHER_STACK_BYTES)
        size = largest_stack or max(1, stack_bytes // (param.numel() * compute_dtype(param).itemsize))
        for start in range(0, len(members), size):
            yield members[start : start + size]


def _stack(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return the tensors as one; a single one is not copied, because stages do not write to their arguments."""
    return torch.stack(tensors) if len(tensors) > 1 else tensors[0].unsqueeze(0)


def _whole(tensor: Any) -> torch.Tensor:
    whole: torch.Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return whole


def _write(column: Sequence[Any], result: torch.Tensor, keys: Sequence[tuple[int, int]] | None) -> None:
    """Copy the tensors of a stack to where they belong."""
    parts = list(result.unbind())
    if keys is not None:
        rounded = [torch.empty_like(whole, dtype=column[0].dtype) for whole in parts]
        for target, whole, own in zip(rounded, parts, keys, strict=True):
            write(target, whole, own, element_numbers(whole))
        parts = rounded
    if not is_sharded(column[0]):
        torch._foreach_copy_(list(column), parts)
        return
    from torch.distributed.tensor import DTensor, Replicate  # loaded already: column holds such tensors

    for target, whole in zip(column, parts, strict=True):
        mesh = target.device_mesh
        everywhere = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False)
        target.copy_(everywhere.redistribute(mesh, target.placements))
