"""The compiled backend: on CPUs every segment of a program is one loop over all tensors, in C++; on CUDA see `gpu`."""

import array
import concurrent.futures
import ctypes
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from logclock.backends import gpu, native
from logclock.backends.columns import Columns, by_dtypes
from logclock.backends.emit import Signature, number_names, shared_names, source_of
from logclock.backends.operands import compute_dtype, sums_over_shards
from logclock.backends.parts import Turns, finish_together, take_turns
from logclock.backends.program import Program
from logclock.backends.storage import Rounding
from logclock.rules import Rule

__all__ = ["PIECE", "run", "unavailable_reason"]

PIECE = 16 * 1024
"""Elements that a thread takes at once. Sums are added piece by piece, so this decides their last digit."""

SMALLEST_SHARE = 32 * 1024
"""Elements for which another thread is worth waking, as in torch."""


def unavailable_reason(device: torch.device) -> str | None:
    """Return why this backend cannot run on a device, with what to do; None if it can. Cheap after the first call."""
    return native.unavailable_reason() if device.type == "cpu" else gpu.unavailable_reason(device)


def run(rule: Rule, params: Sequence[torch.Tensor], *operands: Any, **options: Any) -> None:
    """Update parameters and states in place, as `loop.run` does but for rounding; arguments as of `parts.take_turns`.

    Raises:
        RuntimeError: What compiles is missing, a C++ compiler or Triton, or the tensors are on another device.
    """
    if params:
        finish_together([start(rule, params, *operands, **options)])


def start(rule: Rule, params: Sequence[torch.Tensor], *operands: Any, **options: Any) -> Turns:
    """Begin an update that stops where it needs sums over all tensors; see `parts.finish_together`.

    Raises:
        RuntimeError: As in `run`.
    """
    if params[0].device.type != "cpu":
        return gpu.start(rule, params, *operands, **options)
    if compute_dtype(params[0]) not in (torch.float32, torch.float64):
        raise RuntimeError(
            f"backend 'fused' computes in float32 and float64, got parameters of {params[0].dtype}. Use backend='loop'."
        )
    return take_turns(rule, params, *operands, run_program=_run_program, largest_stack=None, **options)


class _Work(ctypes.Structure):
    """`struct Work` of prelude.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("operands", "pieces", "scalars", "numbers", "sums", "elements")),
        *((name, ctypes.c_void_p) for name in ("rounding", "next", "thread")),
        *((name, ctypes.c_int64) for name in ("num_tensors", "num_pieces", "num_threads")),
    )


class _Kernel:
    """The library of a program for one signature."""

    def __init__(self, program: Program, signature: Signature) -> None:
        self.program = program  # held, because kernels are found by its identity
        self.shared, self.own = shared_names(program), number_names(program)
        self.num_sums = max(len(segment.reductions) for segment in program.segments)
        library = native.library(source_of(program, signature))
        functions = [(f"segment_{k}", f"total_{k}") for k in range(len(program.segments))]
        self.segments = [tuple(_function(library, name) for name in names) for names in functions]
        self.get_numbers, self.set_numbers = _function(library, "get_numbers"), _function(library, "set_numbers")


def _function(library: ctypes.CDLL, name: str) -> Any:
    function = getattr(library, name)
    function.argtypes, function.restype = (ctypes.c_void_p,), None
    return function


_kernels: dict[tuple[Any, ...], _Kernel] = {}


def _kernel(
    program: Program, dtypes: tuple[torch.dtype, ...], compute: torch.dtype, *options: frozenset[str]
) -> _Kernel:
    """Return the kernel of a program, which is hashed by identity: plans are made once and kept."""
    key = (id(program), dtypes, compute, *options)
    kernel = _kernels.get(key)
    if kernel is None:
        count = program.num_operands
        signature = Signature(compute, dtypes[:count], dtypes[count:], *options)
        kernel = _kernels[key] = _Kernel(program, signature)
    return kernel


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where the pieces of tensors of given sizes are: tensor, start, stop of one after another."""

    pieces: "array.array[int]"
    num_threads_worth_it: int


@functools.lru_cache(maxsize=128)
def _layout(sizes: tuple[int, ...]) -> _Layout:
    pieces = array.array("q")
    for tensor, size in enumerate(sizes):
        for start in range(0, size, PIECE):
            pieces.extend((tensor, start, min(start + PIECE, size)))
    return _Layout(pieces, max(1, -(-sum(sizes) // SMALLEST_SHARE)))


def _run_program(
    program: Program,
    params: Sequence[torch.Tensor],
    columns: Mapping[str, Sequence[torch.Tensor]],
    scalars: Mapping[str, Any],
    *,
    maximize: bool,
    rounding: Rounding | None,
) -> None:
    held = Columns.of(program, params, columns)
    stochastic = frozenset(program.written) & rounding.states if rounding is not None else frozenset()
    elements = held.elements() if stochastic else None
    negated = frozenset({"grad"} & {*program.operands}) if maximize else frozenset()
    counts = array.array("d", [param.numel() or 1 for param in params])
    launches = [
        _Launch(
            _kernel(program, dtypes, compute_dtype(params[0]), negated, stochastic),
            members,
            held.flats,
            counts,
            scalars,
            rounding if stochastic else None,
            elements,
        )
        for dtypes, members in by_dtypes(held.flats)
    ]
    for index, segment in enumerate(program.segments):
        for launch in launches:
            launch.run(index)
        if held.sharded and segment.reductions:
            _add_shards(held.sharded, launches, [reduction.name for reduction in segment.reductions])
    if program.numbers:
        for launch in launches:
            launch.kernel.set_numbers(launch.address)
    held.finish()


class _Launch:
    """A kernel with the tables for the tensors of one group."""

    def __init__(
        self,
        kernel: _Kernel,
        members: list[int],
        flats: Sequence[Sequence[torch.Tensor]],
        counts: "array.array[float]",
        scalars: Mapping[str, Any],
        rounding: Rounding | None,
        elements: Sequence[torch.Tensor | None] | None,
    ) -> None:
        self.kernel, self.members = kernel, members
        count = len(members)
        groups = [column if count == len(column) else [column[i] for i in members] for column in flats]
        layout = _layout(tuple(map(torch.Tensor.numel, groups[0])))
        num_pieces = len(layout.pieces) // 3
        self.num_threads = min(torch.get_num_threads(), layout.num_threads_worth_it)
        self.numbers = _zeros("d", count * len(kernel.own))
        self.set_number(0, counts if count == len(counts) else [counts[i] for i in members])
        pointers = array.array("Q", [address for group in groups for address in map(torch.Tensor.data_ptr, group)])
        shared = array.array("d", [float(scalars[name]) for name in kernel.shared])
        sums = _zeros("d", num_pieces * kernel.num_sums)
        given = _zeros("q", 8 * self.num_threads)
        self.tables: list[Any] = [groups, layout, pointers, shared, sums, given]  # kept while addresses are in use
        fork = _openmp()
        self.work = _Work(
            operands=_address(pointers),
            pieces=_address(layout.pieces),
            scalars=_address(shared),
            numbers=_address(self.numbers),
            sums=_address(sums),
            next=_address(given),
            thread=fork.thread if fork is not None and self.num_threads > 1 else None,
            num_tensors=count,
            num_pieces=num_pieces,
            num_threads=self.num_threads,
        )
        if rounding is not None:
            self._set_rounding(rounding, elements)
        self.address = ctypes.addressof(self.work)
        if kernel.program.numbers:
            kernel.get_numbers(self.address)

    def _set_rounding(self, rounding: Rounding, elements: Sequence[torch.Tensor | None] | None) -> None:
        keys = (rounding.seed, rounding.step, *(rounding.params[i] for i in self.members))
        table = array.array("Q", [key & (2**64 - 1) for key in keys])
        self.work.rounding = _address(table)
        listed = [None if elements is None else elements[i] for i in self.members]
        addresses = array.array("Q", [0 if x is None else x.data_ptr() for x in listed])
        self.work.elements = _address(addresses)
        self.tables += [listed, table, addresses]

    def run(self, index: int) -> None:
        """Run a segment over all pieces and add up its sums."""
        segment, total = self.kernel.segments[index]
        if self.num_threads == 1:
            segment(self.address)
        else:
            _run_on_threads(segment, self.address, self.num_threads)
        total(self.address)

    def number(self, column: int) -> "array.array[float]":
        """Return a number of every tensor."""
        return self.numbers[column :: len(self.kernel.own)]

    def set_number(self, column: int, values: Sequence[float]) -> None:
        """Set a number of every tensor."""
        self.numbers[column :: len(self.kernel.own)] = array.array("d", values)


def _zeros(kind: str, count: int) -> "array.array[Any]":
    return array.array(kind, bytes(8 * count))


def _address(table: "array.array[Any]") -> int:
    return table.buffer_info()[0]


def _add_shards(params: Sequence[torch.Tensor], launches: list[_Launch], names: list[str]) -> None:
    """Replace sums over local parts by sums over whole tensors."""
    rows = [[0.0] * len(params) for _ in names]
    for launch in launches:
        for name, row in zip(names, rows, strict=True):
            for i, value in zip(launch.members, launch.number(launch.kernel.own.index(name)), strict=True):
                row[i] = value
    totals = sums_over_shards(params, rows)
    for launch in launches:
        for name, total in zip(names, totals, strict=True):
            launch.set_number(launch.kernel.own.index(name), [total[i] for i in launch.members])


@dataclasses.dataclass(frozen=True)
class _OpenMP:
    """Entry points of the OpenMP runtime that torch has loaded: its threads are there already, and only once."""

    parallel: Callable[[int, int, int, int], None]
    thread: int


@functools.cache
def _openmp() -> _OpenMP | None:
    library = ctypes.CDLL(torch._C.__file__)  # finds the symbols of all that torch is linked with
    try:
        parallel, thread = library.GOMP_parallel, library.omp_get_thread_num
    except AttributeError:
        return None  # a torch that was built without it
    parallel.argtypes, parallel.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    address = ctypes.cast(thread, ctypes.c_void_p).value
    assert address is not None
    return _OpenMP(parallel, address)


@functools.cache
def _pool(num_threads: int) -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(num_threads, thread_name_prefix="logclock-fused")


def _run_on_threads(function: Any, address: int, num_threads: int) -> None:
    fork = _openmp()
    if fork is not None:
        fork.parallel(function, address, num_threads, 0)
        return
    helpers = [_pool(num_threads).submit(function, address) for _ in range(num_threads - 1)]
    function(address)
    concurrent.futures.wait(helpers)
