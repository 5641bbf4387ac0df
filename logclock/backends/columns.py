"""How do the tensors of a program become columns that a kernel finds by address, and how do results come back?"""

import dataclasses
from collections.abc import Mapping, Sequence

import torch

from logclock.backends.emit import TYPES
from logclock.backends.operands import compute_dtype, flat_operands, is_sharded, local, write_back
from logclock.backends.program import Program
from logclock.backends.storage import element_numbers

__all__ = ["Columns", "by_dtypes"]


@dataclasses.dataclass(frozen=True)
class Columns:
    """The operands and number states of a program, a column of one tensor for each parameter each.

    Args:
        program: The program.
        params: The parameters.
        own: The tensors as the optimizer holds them.
        flats: The same as 1-D tensors in formats that kernels read.
        is_plain: Whether these are the same memory throughout, its elements in order.
    """

    program: Program
    params: Sequence[torch.Tensor]
    own: list[Sequence[torch.Tensor]]
    flats: Sequence[Sequence[torch.Tensor]]
    is_plain: bool

    @classmethod
    def of(
        cls, program: Program, params: Sequence[torch.Tensor], columns: Mapping[str, Sequence[torch.Tensor]]
    ) -> "Columns":
        """Return the columns of a program; what is not plain is copied."""
        own = [columns[name] for name in (*program.operands, *program.number_states)]
        sizes, device = [*map(torch.Tensor.numel, params)], params[0].device
        is_plain = all(_is_plain(column, sizes, device) for column in own[: program.num_operands])
        is_plain = is_plain and all(
            _is_plain(column, [1] * len(params), device) for column in own[program.num_operands :]
        )
        return cls(program, params, own, own if is_plain else _flattened(program, params, own), is_plain)

    @property
    def sharded(self) -> Sequence[torch.Tensor]:
        """The parameters if any of them is a shard, else nothing."""
        return [] if self.is_plain or not any(map(is_sharded, self.params)) else self.params

    def elements(self) -> list[torch.Tensor | None] | None:
        """Return the number of each element in the whole tensor, None where it is its position."""
        return None if self.is_plain else [_elements(param) for param in self.params]

    def finish(self) -> None:
        """Tell autograd what was written, and write back what is not a view."""
        program = self.program
        written = [x for name, x in zip(program.operands, self.flats, strict=False) if name in program.written]
        written += self.flats[program.num_operands :]
        torch.autograd.graph.increment_version([x for column in written for x in column])
        if not self.is_plain:
            _write_back(program, self.params, self.own, self.flats)


_PLAIN = {torch.Tensor, torch.nn.Parameter}


def _is_plain(column: Sequence[torch.Tensor], sizes: list[int], device: torch.device) -> bool:
    """Return whether the memory of every tensor is its elements in order, in a format that kernels read."""
    return (
        {*map(type, column)} <= _PLAIN
        and {x.device for x in column} <= {device}  # no generators: this is for each tensor, operand and step
        and all(map(torch.Tensor.is_contiguous, column))
        and {x.dtype for x in column} <= TYPES.keys()
        and [*map(torch.Tensor.numel, column)] == sizes
    )


def _flattened(
    program: Program, params: Sequence[torch.Tensor], own: Sequence[Sequence[torch.Tensor]]
) -> list[list[torch.Tensor]]:
    """Return the columns as 1-D tensors in formats that kernels read; what is not a view must be written back."""
    compute = compute_dtype(params[0])
    rows = []
    for i, param in enumerate(params):
        device, count = param.device, local(param).numel()
        row = flat_operands(param, [column[i] for column in own[: program.num_operands]])
        row += [column[i].reshape(1) for column in own[program.num_operands :]]
        row = [x if x.dtype in TYPES else x.to(compute) for x in row]
        for name, x in zip((*program.operands, *program.number_states), row, strict=True):
            expected = 1 if name in program.number_states else count
            if x.device != device or x.numel() != expected:
                raise RuntimeError(
                    f"{name} of parameter {i} has {x.numel()} elements on {x.device}; it must have {expected} on "
                    f"{device}, as the parameter."
                )
            if expected and not x.data_ptr():
                raise RuntimeError(
                    f"{name} of parameter {i}, a {type(x).__name__}, has no memory that backend 'fused' could use. "
                    "Use backend='loop'."
                )
        rows.append(row)
    return [list(column) for column in zip(*rows, strict=True)]


def _elements(param: torch.Tensor) -> torch.Tensor | None:
    """Return the number of each element in the whole tensor, None if it is its position."""
    if not is_sharded(param) and param.is_contiguous():
        return None
    return flat_operands(param, [element_numbers(param)])[0]


def by_dtypes(flats: Sequence[Sequence[torch.Tensor]]) -> list[tuple[tuple[torch.dtype, ...], list[int]]]:
    """Return the numbers of the tensors whose operands have the same dtypes."""
    alike = [{x.dtype for x in column} for column in flats]
    if all(len(dtypes) == 1 for dtypes in alike):
        return [(tuple(dtypes.pop() for dtypes in alike), list(range(len(flats[0]))))]
    groups: dict[tuple[torch.dtype, ...], list[int]] = {}
    for i, dtypes in enumerate(zip(*([x.dtype for x in column] for column in flats), strict=True)):
        groups.setdefault(dtypes, []).append(i)
    return list(groups.items())


def _write_back(
    program: Program,
    params: Sequence[torch.Tensor],
    own: Sequence[Sequence[torch.Tensor]],
    flats: Sequence[Sequence[torch.Tensor]],
) -> None:
    names = (*program.operands, *program.number_states)
    for name, targets, column in zip(names, own, flats, strict=True):
        if name in program.number_states:
            for target, x in zip(targets, column, strict=True):
                if x.data_ptr() != target.data_ptr():
                    target.copy_(x.reshape(()))
        elif name in program.written:
            for param, target, x in zip(params, targets, column, strict=True):
                write_back(param, target, x)
