"""The engine of `fused` on CUDA: every segment of a program is one Triton launch for all tensors of like dtypes."""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import torch

from logclock.backends import emit_triton, triton_module
from logclock.backends.columns import Columns, by_dtypes
from logclock.backends.emit import Signature, shared_names
from logclock.backends.emit_triton import ADDRESSES, reduction_names
from logclock.backends.operands import compute_dtype, sums_over_shards
from logclock.backends.parts import Turns, finish_together, take_turns
from logclock.backends.program import Program
from logclock.backends.storage import Rounding
from logclock.rules import Rule

__all__ = ["BLOCK", "PIECE", "DeviceClock", "is_capturing", "run", "unavailable_reason"]

PIECE = 4096
"""Elements of a program of Triton. Sums are added piece by piece, so this decides their last digit."""

BLOCK = 512
"""Elements that a program of Triton handles at once."""

OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}
"""Of every launch. Products and sums are fused where the vocabulary says so and nowhere else."""


@dataclasses.dataclass(frozen=True)
class DeviceClock:
    """What an update needs on the device, so that nothing is read or decided on the host.

    Args:
        counters: For each parameter, its count of updates: a 0-d float32 tensor, advanced by the step.
        table: float64 rows of t and the rule's scalars in the order of `shared_names`, for consecutive t; rows without
            values have t = 0.
        missed: A 0-d int32 tensor that counts the updates of parameters that were left out, nothing changed, because
            their t was not in the table.
        grad_scale: By which the gradients are too large, or None.
        found_inf: A tensor that is not 0 if nothing may change, or None.
        kept: Takes what must live as long as a graph that was captured.
    """

    counters: Sequence[torch.Tensor]
    table: torch.Tensor
    missed: torch.Tensor
    grad_scale: torch.Tensor | None
    found_inf: torch.Tensor | None
    kept: list[Any]


NOT_WARM = (
    "a step that goes into a CUDA graph needs kernels and tables on the device that no step before it has made. Make a "
    "step of the same kind before the capture: the same gradients, and a gradient scaler if there will be one."
)


def unavailable_reason(device: torch.device) -> str | None:
    """Return why this engine cannot run on a device, with what to do; None if it can.

    On CPUs it runs where Triton interprets, for tests: one step of a small tensor takes a good part of a second.
    """
    if device.type == "cpu" and triton_module.is_interpreted():
        return None
    return triton_module.unavailable_reason(device)


def is_capturing() -> bool:
    """Return whether the work of this moment goes into a CUDA graph instead of being done."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def run(rule: Rule, params: Sequence[torch.Tensor], *operands: Any, **options: Any) -> None:
    """Update parameters and states in place; arguments as of `start`.

    Raises:
        RuntimeError: As in `start`.
    """
    if params:
        finish_together([start(rule, params, *operands, **options)])


def start(
    rule: Rule, params: Sequence[torch.Tensor], *operands: Any, clock: DeviceClock | None = None, **options: Any
) -> Turns:
    """Begin an update that stops where it needs sums over all tensors; other arguments as of `parts.take_turns`.

    With a clock, t and the scalars come from the device: `scalars` and the step of `rounding` mean nothing then.

    Raises:
        RuntimeError: The tensors are not on a CUDA device, or Triton is missing.
    """
    reason = unavailable_reason(params[0].device)
    if reason is not None:
        raise RuntimeError(reason)
    if compute_dtype(params[0]) not in (torch.float32, torch.float64):
        raise RuntimeError(
            f"backend 'fused' computes in float32 and float64, got parameters of {params[0].dtype}. Use backend='loop'."
        )
    run_program = functools.partial(_run_program, clock=clock)
    return take_turns(rule, params, *operands, run_program=run_program, largest_stack=None, **options)


def _run_program(
    program: Program,
    params: Sequence[torch.Tensor],
    columns: Mapping[str, Sequence[torch.Tensor]],
    scalars: Mapping[str, Any],
    *,
    maximize: bool,
    rounding: Rounding | None,
    clock: DeviceClock | None = None,
) -> None:
    device = params[0].device
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        held = Columns.of(program, params, columns)
        stochastic = frozenset(program.written) & rounding.states if rounding is not None else frozenset()
        elements = held.elements() if stochastic else None
        negated = frozenset({"grad"} & {*program.operands}) if maximize else frozenset()
        launches = [
            _Launch(
                _kernel(program, dtypes, compute_dtype(params[0]), negated, stochastic),
                members,
                held,
                scalars,
                rounding if stochastic else None,
                elements,
                clock,
            )
            for dtypes, members in by_dtypes(held.flats)
        ]
        for index, segment in enumerate(program.segments):
            for launch in launches:
                launch.run(index)
            if held.sharded and segment.reductions:
                _add_shards(held.sharded, launches, [reduction.name for reduction in segment.reductions])
        for launch in launches:
            launch.finish()
        held.finish()


@dataclasses.dataclass(frozen=True, eq=False)
class _Kernel:
    """The module of a program for one signature; the program is held, because kernels are found by its identity.

    Args:
        program: The program.
        module: With its kernels.
        shared: Names of the scalars that all tensors share.
        reductions: Names of the sums over tensors.
        launched: What has been compiled and loaded, which cannot be done inside of a capture.
        known: The latest table of addresses by its length.
    """

    program: Program
    module: ModuleType
    shared: tuple[str, ...]
    reductions: tuple[str, ...]
    launched: set[Any] = dataclasses.field(default_factory=set)
    known: dict[int, tuple[tuple[int, ...], torch.Tensor]] = dataclasses.field(default_factory=dict)


_kernels: dict[tuple[Any, ...], _Kernel] = {}


def _kernel(
    program: Program, dtypes: tuple[torch.dtype, ...], compute: torch.dtype, *options: frozenset[str]
) -> _Kernel:
    key = (id(program), dtypes, compute, *options)
    if key not in _kernels:
        count = program.num_operands
        source = emit_triton.source_of(program, Signature(compute, dtypes[:count], dtypes[count:], *options))
        module = triton_module.module(source)
        _kernels[key] = _Kernel(program, module, shared_names(program), reduction_names(program))
    return _kernels[key]


class _Launch:
    """A kernel with the tables for the tensors of one group."""

    def __init__(
        self,
        kernel: _Kernel,
        members: list[int],
        held: Columns,
        scalars: Mapping[str, Any],
        rounding: Rounding | None,
        elements: Sequence[torch.Tensor | None] | None,
        clock: DeviceClock | None,
    ) -> None:
        self.kernel, self.members, self.clock = kernel, members, clock
        device = held.params[0].device
        self.device, self.count = device, len(members)
        groups = [[column[i] for i in members] for column in held.flats]
        counts = tuple(float(max(held.params[i].numel(), 1)) for i in members)
        self.layout = _layout(tuple(map(torch.Tensor.numel, groups[0])), counts, device)
        listed = _listed(groups[0], members, elements)
        addresses = [address for group in groups for address in map(torch.Tensor.data_ptr, group)]
        operands = addresses[: len(kernel.program.operands) * self.count]
        counters = [0] * self.count if clock is None else [clock.counters[i].data_ptr() for i in members]
        addresses += [*counters, *map(torch.Tensor.data_ptr, listed)]
        self.totals = torch.empty(self.count * max(len(kernel.reductions), 1), dtype=torch.float64, device=device)
        if clock is None:
            t = 0.0 if rounding is None else float(rounding.step)
            self.table = _row([t, *(scalars[name] for name in kernel.shared)], device)
        else:
            self.table = clock.table
        self.pointers = self._addresses(tuple(addresses))
        keys = (0,) if rounding is None else (rounding.seed, *(rounding.params[i] for i in members))
        self.keys = _uploaded(tuple(map(_as_int64, keys)), torch.int64, device)
        self.constants = {
            "ALIGNED": all(address % 16 == 0 for address in operands),
            "HAS_CLOCK": clock is not None,
            "LISTED": bool(listed),
            "HAS_SCALE": clock is not None and clock.grad_scale is not None,
            "HAS_GUARD": clock is not None and clock.found_inf is not None,
            "PIECE": PIECE,
            "BLOCK": BLOCK,
        }
        self.held = [groups, listed]  # while their addresses are in use
        if clock is not None and is_capturing():
            clock.kept.append((self.layout, self.keys, self.pointers, self.table, self.held, clock.counters))

    def _addresses(self, addresses: tuple[int, ...]) -> torch.Tensor:
        """Return the table of addresses on the device."""
        if not is_capturing():
            table = _uploaded(addresses, torch.int64, self.device)
            if self.clock is not None and "place" not in self.kernel.launched:
                _placed(self.kernel.module, table, addresses, frozenset({0}))  # compiles it
                self.kernel.launched.add("place")
            self.kernel.known[len(addresses)] = (addresses, table)
            return table
        known = self.kernel.known.get(len(addresses))
        if known is None:
            raise RuntimeError(NOT_WARM)
        before, table = known
        changed = frozenset(k for k, address in enumerate(addresses) if address != before[k])
        if not changed:
            return table
        assert self.clock is not None
        self.clock.kept.append(table)  # a graph copies from it at every replay
        return _placed(self.kernel.module, table, addresses, changed)

    def run(self, index: int) -> None:
        """Run a segment over all pieces and add up its sums."""
        names = [reduction.name for reduction in self.kernel.program.segments[index].reductions]
        num_pieces = self.layout.num_pieces
        sums = torch.empty(max(num_pieces * len(names), 1), dtype=torch.float64, device=self.device)
        if num_pieces:
            self._launch(f"segment_{index}", num_pieces, sums)
        reductions = self.kernel.reductions
        for at, name in enumerate(dict.fromkeys(names)):
            self.kernel.module.add_up[(self.count,)](
                sums,
                self.layout.firsts,
                self.totals,
                self.count,
                reductions.index(name),
                len(reductions),
                STRIDE=len(dict.fromkeys(names)),
                at=at,
                BLOCK=BLOCK,
                **OPTIONS,
            )

    def finish(self) -> None:
        """Write what is one number per tensor, and count the update."""
        if self.kernel.program.numbers or self.clock is not None:
            self._launch("finish", self.count, self.totals)

    def _launch(self, name: str, num_programs: int, sums: torch.Tensor) -> None:
        kind = (name, *self.constants.values())
        if is_capturing() and kind not in self.kernel.launched:
            raise RuntimeError(NOT_WARM)
        self.kernel.launched.add(kind)
        clock, nothing = self.clock, self.totals  # an argument that is not used must be a tensor all the same
        getattr(self.kernel.module, name)[(num_programs,)](
            self.pointers,
            self.layout.pieces,
            self.layout.sizes,
            self.layout.counts,
            self.totals,
            sums,
            self.table,
            self.keys,
            nothing if clock is None or clock.grad_scale is None else clock.grad_scale,
            nothing if clock is None or clock.found_inf is None else clock.found_inf,
            nothing if clock is None else clock.missed,
            self.count,
            self.table.numel() // (1 + len(self.kernel.shared)),
            **self.constants,
            **OPTIONS,
        )

    def column(self, name: str) -> torch.Tensor:
        """Return a view of the sums of one name."""
        return self.totals.view(self.count, -1)[:, self.kernel.reductions.index(name)]


def _listed(
    params: Sequence[torch.Tensor], members: Sequence[int], elements: Sequence[torch.Tensor | None] | None
) -> list[torch.Tensor]:
    """Return the number of each element of every tensor, nothing if all of them are positions."""
    own = [None if elements is None else elements[i] for i in members]
    if all(x is None for x in own):
        return []
    return [
        torch.arange(param.numel(), device=param.device) if x is None else x
        for param, x in zip(params, own, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where the pieces of tensors of given sizes are."""

    num_pieces: int
    pieces: torch.Tensor
    firsts: torch.Tensor
    sizes: torch.Tensor
    counts: torch.Tensor


@functools.lru_cache(maxsize=128)
def _layout(sizes: tuple[int, ...], counts: tuple[float, ...], device: torch.device) -> _Layout:
    pieces: list[int] = []
    firsts = [0]
    for tensor, size in enumerate(sizes):
        for number in range(-(-size // PIECE)):
            pieces += (tensor, number)
        firsts.append(len(pieces) // 2)
    return _Layout(
        firsts[-1],
        _new(pieces or [0], torch.int32, device),
        _new(firsts, torch.int32, device),
        _new(sizes, torch.int64, device),
        _new(counts, torch.float64, device),
    )


@functools.lru_cache(maxsize=128)
def _uploaded(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return numbers on the device; the same ones need no second transfer."""
    return _new(values, dtype, device)


def _new(values: Sequence[Any], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if is_capturing():
        raise RuntimeError(NOT_WARM)
    tensor = torch.tensor(values, dtype=dtype)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # from pageable memory the host would wait


def _row(values: Sequence[Any], device: torch.device) -> torch.Tensor:
    """Return numbers, some of which may be on the device already, as one row of a table."""
    if not any(isinstance(value, torch.Tensor) and value.device.type != "cpu" for value in values):
        return _new([float(value) for value in values], torch.float64, device)
    parts = [
        value.to(device, torch.float64).reshape(())
        if isinstance(value, torch.Tensor)
        else torch.full((), value, dtype=torch.float64, device=device)  # torch.tensor would wait for its transfer
        for value in values
    ]
    return torch.stack(parts)


def _placed(
    module: ModuleType, known: torch.Tensor, addresses: tuple[int, ...], changed: frozenset[int]
) -> torch.Tensor:
    """Return a table of addresses of which the device itself writes those that changed, as every replay does again."""
    padded = addresses + addresses[-1:] * (-len(addresses) % ADDRESSES)
    table = torch.empty(len(padded), dtype=torch.int64, device=known.device)
    table[: len(addresses)].copy_(known)
    for start in sorted({index // ADDRESSES * ADDRESSES for index in changed}):
        module.place[(1,)](table, start, *padded[start : start + ADDRESSES], **OPTIONS)
    return table


def _as_int64(key: int) -> int:
    key &= 2**64 - 1
    return key - 2**64 if key >= 2**63 else key


def _add_shards(params: Sequence[torch.Tensor], launches: list[_Launch], names: list[str]) -> None:
    """Replace sums over local parts by sums over whole tensors, without reading them on the host."""
    rows: list[list[Any]] = [[None] * len(params) for _ in names]
    for launch in launches:
        for name, row in zip(names, rows, strict=True):
            for i, value in zip(launch.members, launch.column(name).unbind(), strict=True):
                row[i] = value
    totals = sums_over_shards(params, rows)
    for launch in launches:
        for name, total in zip(names, totals, strict=True):
            own = [torch.as_tensor(total[i], dtype=torch.float64) for i in launch.members]
            launch.column(name).copy_(torch.stack(own))
