"""How do rules on whole tensors run? On stacks of the parameters that have one shape, one call for each stack."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from logclock.backends.operands import compute_dtype, is_sharded
from logclock.rules import Rule

__all__ = ["STACK_BYTES", "run_one_by_one", "run_stacked"]

STACK_BYTES = 256 * 2**20
"""Bytes of a stack of parameters; a stack takes a few times as much in copies and temporaries."""


def run_stacked(
    rule: Rule,
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    states: Sequence[Sequence[torch.Tensor]],
    scalars: Mapping[str, Any],
    *,
    maximize: bool = False,
) -> None:
    """Update parameters and states in place, as `loop.run` does, tensors of equal shape together.

    A sharded tensor is gathered, every rank makes the whole update, and each keeps its part of it.
    """
    _run(rule, list(zip(params, grads, *states, strict=True)), scalars, maximize, largest_stack=None)


def run_one_by_one(
    rule: Rule,
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    states: Sequence[Sequence[torch.Tensor]],
    scalars: Mapping[str, Any],
    *,
    maximize: bool = False,
) -> None:
    """Update parameters and states in place, one tensor after another: the reference, and the least memory."""
    _run(rule, list(zip(params, grads, *states, strict=True)), scalars, maximize, largest_stack=1)


def _run(
    rule: Rule,
    all_operands: Sequence[tuple[torch.Tensor, ...]],
    scalars: Mapping[str, Any],
    maximize: bool,
    *,
    largest_stack: int | None,
) -> None:
    for stack in _stacks(all_operands, largest_stack):
        columns = list(zip(*stack, strict=True))
        dtype = compute_dtype(columns[0][0])
        stacked = [_stack([_whole(tensor).to(dtype) for tensor in column]) for column in columns]
        if maximize:
            stacked[1] = -stacked[1]
        results = rule(*stacked, **scalars)
        for column, result in zip((columns[0], *columns[2:]), results, strict=True):
            _write(column, result)


def _stacks(
    all_operands: Sequence[tuple[torch.Tensor, ...]], largest_stack: int | None
) -> Iterator[list[tuple[torch.Tensor, ...]]]:
    """Yield lists of parameters, with their operands, of which every operand has one shape."""
    by_shape: dict[tuple[torch.Size, ...], list[tuple[torch.Tensor, ...]]] = {}
    for operands in all_operands:
        if operands[0].numel():
            by_shape.setdefault(tuple(tensor.shape for tensor in operands), []).append(operands)
    for members in by_shape.values():
        param = members[0][0]
        size = largest_stack or max(1, STACK_BYTES // (param.numel() * compute_dtype(param).itemsize))
        for start in range(0, len(members), size):
            yield members[start : start + size]


def _stack(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return the tensors as one; a single one is not copied, because rules do not write to their arguments."""
    return torch.stack(tensors) if len(tensors) > 1 else tensors[0].unsqueeze(0)


def _whole(tensor: Any) -> torch.Tensor:
    whole: torch.Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return whole


def _write(column: Sequence[Any], result: torch.Tensor) -> None:
    """Copy the tensors of a stack to where they belong."""
    if not is_sharded(column[0]):
        torch._foreach_copy_(list(column), list(result.unbind()))
        return
    from torch.distributed.tensor import DTensor, Replicate  # loaded already: column holds such tensors

    for target, whole in zip(column, result.unbind(), strict=True):
        mesh = target.device_mesh
        everywhere = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False)
        target.copy_(everywhere.redistribute(mesh, target.placements))
