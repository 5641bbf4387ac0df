"""The compiled backend: one graph per rule for parameters of every shape, because it sees flat tensors only."""

import functools
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from logclock.backends.operands import compute_dtype, flat_operands, write_back
from logclock.rules import Rule

__all__ = ["PACKED_ELEMENTS", "run"]

PACKED_ELEMENTS = 32 * 1024
"""Parameters below this size share a call: a call costs some 50 microseconds, like copying that many elements."""

LARGEST_PACK = 1024 * 1024
"""Elements in one pack, which bounds the memory of the copies."""


def run(
    rule: Rule,
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    states: Sequence[Sequence[torch.Tensor]],
    scalars: Mapping[str, Any],
    *,
    maximize: bool = False,
) -> None:
    """Update parameters and states in place, as `loop.run` does, with the compiler's own rounding.

    Raises:
        RuntimeError: torch.compile is switched off, so there is nothing to run.
    """
    if torch._dynamo.config.disable:
        raise RuntimeError(
            "backend 'compiled' needs torch.compile, which TORCH_COMPILE_DISABLE or TORCHDYNAMO_DISABLE switches off. "
            "Unset it or use backend='loop'."
        )
    all_operands = list(zip(params, grads, *states, strict=True))
    all_flats = [flat_operands(operands) for operands in all_operands]
    large = [flats for flats in all_flats if flats[0].numel() >= PACKED_ELEMENTS]
    small = [flats for flats in all_flats if 0 < flats[0].numel() < PACKED_ELEMENTS]
    if not large and not small:
        return
    scalars_tensor = _pack_scalars(rule, scalars, compute_dtype(params[0]), params[0].device)

    def update_for(flats: list[torch.Tensor]) -> Callable[..., Any]:
        dtypes = tuple(flat.dtype for flat in flats)  # of each parameter: a checkpoint may hold states of several
        return _compiled(rule, dtypes, params[0].device.type, maximize, torch.get_num_threads())

    for flats in large:
        # .data forgets that the flat tensor is a view; the graph would be guarded on the shape it is a view of
        update_for(flats)(scalars_tensor, *(flat.data for flat in flats))
    for pack in _packs(small):
        _run_pack(update_for(pack[0]), scalars_tensor, pack)
    for operands, flats in zip(all_operands, all_flats, strict=True):
        write_back(operands, flats)


def _pack_scalars(rule: Rule, scalars: Mapping[str, Any], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return the scalars as one tensor: a float would be a constant of the graph, and every tensor costs guards."""
    values = [scalars[name] for name in rule.scalar_names]
    if any(isinstance(value, torch.Tensor) for value in values):
        return torch.stack([torch.as_tensor(value, dtype=dtype, device=device) for value in values])
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)


def _packs(small: list[list[torch.Tensor]]) -> Iterator[list[list[torch.Tensor]]]:
    """Yield runs of neighbours of equal dtypes that fit in one pack."""
    pack: list[list[torch.Tensor]] = []
    size = 0
    for flats in small:
        is_alike = not pack or [flat.dtype for flat in flats] == [flat.dtype for flat in pack[0]]
        if pack and (not is_alike or size + flats[0].numel() > LARGEST_PACK):
            yield pack
            pack, size = [], 0
        pack.append(flats)
        size += flats[0].numel()
    if pack:
        yield pack


def _run_pack(update: Callable[..., Any], scalars: torch.Tensor, pack: list[list[torch.Tensor]]) -> None:
    columns = [list(column) for column in zip(*pack, strict=True)]
    sizes = [flat.numel() for flat in columns[0]]
    if sum(sizes) == 1:  # torch specialises a dynamic length of 1: a second graph
        columns = [[*column, torch.zeros_like(column[0])] for column in columns]
        sizes = [1, 1]
    packed = [torch.cat(column) for column in columns]
    update(scalars, *packed)
    for position, (column, flat) in enumerate(zip(columns, packed, strict=True)):
        if position != 1:
            torch._foreach_copy_(column, list(torch.split(flat, sizes)))


@functools.cache
def _compiled(
    rule: Rule, dtypes: tuple[torch.dtype, ...], device: str, maximize: bool, num_threads: int
) -> Callable[..., Any]:
    """Return the compiled in-place update of a rule on flat tensors of any length.

    The arguments after the rule are what its graph is made for; the length is all that varies between calls.
    """

    def update(scalars: torch.Tensor, *flats: torch.Tensor) -> None:
        dtype = torch.promote_types(flats[0].dtype, torch.float32)
        operands = [flat.to(dtype) for flat in flats]
        if maximize:
            operands[1] = -operands[1]
        results = rule.function(*operands, **dict(zip(rule.scalar_names, scalars.unbind(), strict=True)))
        for flat, result in zip((flats[0], *flats[2:]), results, strict=True):
            flat.copy_(result)

    # The compiler counts graphs per code object: each rule and each combination of dtypes needs its own.
    code = update.__code__.replace(co_name=f"update_{rule.name}")
    own = types.FunctionType(code, update.__globals__, code.co_name, closure=update.__closure__)
    return _Direct(own) if device == "cpu" else torch.compile(own, fullgraph=True, dynamic=True)


class _Direct:
    """A compiled function that is called without its guards, which cost three times as much as the rest of a call.

    They are not needed: the cache of `_compiled` is keyed by everything but the length, and on a CPU the code is the
    same for every length above 1. (On accelerators it is not: index types depend on it.)
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._guarded = torch.compile(function, fullgraph=True, dynamic=True, backend=self._compile)
        self._graph: Callable[..., Any] | None = None
        self._inputs: list[Any] = []
        self._positions: list[int] | None = None

    def _compile(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        self._graph = torch._dynamo.lookup_backend("inductor")(graph, inputs)
        self._inputs = inputs
        return self._graph

    def __call__(self, *tensors: torch.Tensor) -> None:
        if self._positions is None:
            self._guarded(*tensors)
            self._positions = [self._position(graph_input, tensors) for graph_input in self._inputs]
            self._inputs = []
            return
        assert self._graph is not None
        length = tensors[1].numel()
        self._graph(*[length if i < 0 else tensors[i] for i in self._positions])

    @staticmethod
    def _position(graph_input: Any, tensors: Sequence[torch.Tensor]) -> int:
        """Return which argument an input of the graph is; -1 for the length."""
        if not isinstance(graph_input, torch.Tensor):
            return -1
        return next(i for i, tensor in enumerate(tensors) if tensor is graph_input)
