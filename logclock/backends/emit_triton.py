"""How does a program become Triton? One kernel per segment over a table of addresses, for all tensors at once."""

import math
from collections.abc import Iterable
from pathlib import Path

import torch

from logclock.backends.emit import OPERATIONS as IN_CPP
from logclock.backends.emit import SCALAR_OPERATIONS as IN_CPP_SCALARS
from logclock.backends.emit import (
    Expressions,
    Language,
    Signature,
    shared_names,
    template,
    touched,
    with_positive_logarithms,
)
from logclock.backends.program import NUMEL, Instruction, Program, Reduction

__all__ = ["ADDRESSES", "CLOCK", "OPERATIONS", "SCALAR_OPERATIONS", "reduction_names", "source_of"]

PRELUDE = Path(__file__).with_name("prelude_triton.py")

TYPES = {torch.float32: "tl.float32", torch.float64: "tl.float64", torch.float16: "tl.float16"}

MOVED_AS = TYPES | {torch.bfloat16: "tl.uint16"}
"""What a pointer to a dtype points at."""

OPERATIONS = IN_CPP | {
    "neg": "negative({0})",
    "div": "quotient({0}, {1})",
    "add_scaled_quotient": "{0} + quotient({s} * {1}, {2})",
    "div_scalar": "quotient({0}, {s})",
    "scalar_div": "quotient({s}, {0})",
    "greater": "number({0} > {1}, {0})",
    "greater_equal": "number({0} >= {1}, {0})",
    "greater_scalar": "number({0} > {s}, {0})",
    "greater_equal_scalar": "number({0} >= {s}, {0})",
    "less_scalar": "number({0} < {s}, {0})",
    "less_equal_scalar": "number({0} <= {s}, {0})",
    "where": "tl.where({0} != 0.0, {1}, {2})",
}
"""As of `emit`, whose functions have the same names here; a scalar is a block of equal elements."""

SCALAR_OPERATIONS = IN_CPP_SCALARS | {
    "neg": "negative({0})",
    "sign": "tl.where({0} != {0}, {0}, sign({0}))",
    "greater": "number({0} > {1}, {0})",
    "greater_equal": "number({0} >= {1}, {0})",
    "where": "tl.where({0} != 0.0, {1}, {2})",
}

REDUCTIONS = {"total": "{0}.to(tl.float64)", "total_square": "{0}.to(tl.float64) * {0}.to(tl.float64)"}
"""What an element adds to a sum."""

CLOCK = 0
"""Of a table's columns: the update count. The others are `shared_names`."""

ADDRESSES = 64
"""That one launch of `place` writes: half a kilobyte of the four that a launch may carry."""

ARGUMENTS = """\
    pointers, pieces, sizes, counts, totals, sums, table, keys, scale, found_inf, missed, num_tensors, num_rows,
    ALIGNED: tl.constexpr, HAS_CLOCK: tl.constexpr, LISTED: tl.constexpr, HAS_SCALE: tl.constexpr,
    HAS_GUARD: tl.constexpr, PIECE: tl.constexpr, BLOCK: tl.constexpr,
"""
"""Of every kernel.

pointers    int64 [operand, number state, counter of updates, list of elements; tensor] addresses
pieces      int32 [piece; tensor, number of the piece in it]
sizes       int64 [tensor] elements here
counts      float64 [tensor] elements of the whole tensor, at least 1
totals      float64 [tensor; reduction]
sums        float64 [piece; reduction of this segment]
table       float64 [row; t, scalars]: the updates from some t on if there are counters, else one row
keys        int64 [seed, then the number of each parameter]
scale       float32, by which gradients are too large
found_inf   float32, not 0 if nothing may change
missed      int32, counts updates whose row is not in the table
"""


def reduction_names(program: Program) -> tuple[str, ...]:
    """Return the names of the sums over tensors, in order."""
    return tuple(dict.fromkeys(step.name for segment in program.segments for step in segment.reductions))


def source_of(program: Program, signature: Signature) -> str:
    """Return the source of a module with `segment_K` for every segment, and `finish` for what is one per tensor.

    Raises:
        NotImplementedError: The program has an operation that nobody has written for Triton.
    """
    segments = [_segment(program, signature, index) for index in range(len(program.segments))]
    return "\n\n".join([PRELUDE.read_text(), "# ---- the program", *segments, _finish(program, signature), _place()])


def _kernel(name: str, body: Iterable[str]) -> str:
    head = '@triton.jit(do_not_specialize=["num_tensors", "num_rows"])'
    return f"{head}\ndef {name}(\n{ARGUMENTS}):\n" + "\n".join(f"    {line}" for line in body) + "\n"


def _segment(program: Program, signature: Signature, index: int) -> str:
    code = with_positive_logarithms(program.segments[index].code)
    loaded, stored = touched(program, index)
    sums = list(dict.fromkeys(step.name for step in program.segments[index].reductions))
    rounded = [slot for slot in stored if program.operands[slot] in signature.stochastic]
    expressions = _expressions(program, signature)
    compute = TYPES[signature.compute]
    blocks: dict[str, str] = {}

    def block(first: str, mask: str) -> list[str]:
        return [
            f"element = {first} + tl.arange(0, BLOCK)",
            *([f"is_here = {mask}"] if mask else []),
            *(line for slot in loaded for line in _load(slot, program, signature, is_masked=bool(mask))),
            *(_line(step, blocks, expressions, sums, is_masked=bool(mask)) for step in code),
            *(_listed(is_masked=bool(mask)) if rounded else []),
            *(_store(slot, signature, is_rounded=slot in rounded, is_masked=bool(mask)) for slot in stored),
        ]

    whole, tail = block("first", ""), block("full", "element < stop")
    body = [
        "piece = tl.program_id(0)",
        "tensor = tl.load(pieces + 2 * piece)",
        "start = tl.load(pieces + 2 * piece + 1).to(tl.int64) * PIECE",
        "stop = tl.minimum(start + PIECE, tl.load(sizes + tensor))",
        *_row(program),
        "if HAS_CLOCK:",
        "    stop = tl.where(is_inside, stop, start)",
        "if HAS_GUARD:",
        "    stop = tl.where(tl.load(found_inf) == 0.0, stop, start)",
        *(line for slot in sorted({*loaded, *stored}) for line in _pointer(slot, signature)),
        *([f"inverse = (1.0 / tl.load(scale).to(tl.float64)).to({compute})"] if _unscales(program, loaded) else []),
        *_keys(program, rounded),
        *expressions.lines,
        *(f"{name} = tl.full([BLOCK], {value}.to({compute}), {compute})" for value, name in blocks.items()),
        *(f"r{k} = tl.zeros([BLOCK], tl.float64)" for k in range(len(sums))),
        "full = start + (stop - start) // BLOCK * BLOCK",
        "for first in range(start, full, BLOCK):",
        *(f"    {line}" for line in whole),
        "if full < stop:",
        *(f"    {line}" for line in tail),
        *(f"tl.store(sums + piece.to(tl.int64) * {len(sums)} + {k}, tl.sum(r{k}, 0))" for k in range(len(sums))),
    ]
    return _kernel(f"segment_{index}", body)


def _row(program: Program) -> list[str]:
    """Return the lines that find the scalars of the tensor's update."""
    clock = program.num_operands + len(program.number_states)
    return [
        "row = table",
        "if HAS_CLOCK:",
        f"    clock = {_address(clock)}.to(tl.pointer_type(tl.float32))",
        f"    row, is_inside = row_of(table, clock, num_rows, {1 + len(shared_names(program))})",
    ]


def _address(slot: int) -> str:
    return f"tl.load(pointers + {slot} * num_tensors + tensor)"


def _pointer(slot: int, signature: Signature) -> list[str]:
    kind = MOVED_AS[signature.operands[slot]]
    return [
        f"p{slot} = {_address(slot)}.to(tl.pointer_type({kind}))",
        "if ALIGNED:",
        f"    p{slot} = tl.multiple_of(p{slot}, 16)",
    ]


def _unscales(program: Program, loaded: Iterable[int]) -> bool:
    return any(program.operands[slot] == "grad" for slot in loaded)


def _keys(program: Program, rounded: list[int]) -> list[str]:
    """Return the lines that make the keys of random bits, as `Rounding.keys` does, and find listed elements."""
    if not rounded:
        return []
    lines = [
        "seed = tl.load(keys).to(tl.uint64)",
        f"update_count = tl.load(row + {CLOCK}).to(tl.int64).to(tl.uint64)",
        "place_key = mixed(mixed(mixed(tl.full((), 0, tl.uint64), seed), update_count), "
        "tl.load(keys + 1 + tensor).to(tl.uint64))",
    ]
    for slot in rounded:
        lines.append(f"key{slot} = place_key")
        lines += [f"key{slot} = mixed(key{slot}, {byte})" for byte in program.operands[slot].encode()]
    listed = program.num_operands + len(program.number_states) + 1
    return [*lines, "if LISTED:", f"    numbers = {_address(listed)}.to(tl.pointer_type(tl.int64))"]


def _listed(*, is_masked: bool) -> list[str]:
    mask = ", mask=is_here, other=0" if is_masked else ""
    return ["number_of = element", "if LISTED:", f"    number_of = tl.load(numbers + element{mask})"]


def _load(slot: int, program: Program, signature: Signature, *, is_masked: bool) -> list[str]:
    compute, name = TYPES[signature.compute], program.operands[slot]
    value = f"tl.load(p{slot} + element{', mask=is_here, other=0' if is_masked else ''})"
    lines = [f"s{slot} = {_read(value, signature.operands[slot])}.to({compute})"]
    if name == "grad":
        lines += ["if HAS_SCALE:", f"    s{slot} = s{slot} * inverse"]
    return [*lines, f"s{slot} = negative(s{slot})"] if name in signature.negated else lines


def _read(value: str, dtype: torch.dtype) -> str:
    return f"from_bfloat16({value})" if dtype == torch.bfloat16 else value


def _written(value: str, dtype: torch.dtype) -> str:
    conversions = {torch.bfloat16: f"to_bfloat16({value})", torch.float16: f"to_float16({value})"}
    return conversions.get(dtype) or f"{value}.to({TYPES[dtype]})"


def _store(slot: int, signature: Signature, *, is_rounded: bool, is_masked: bool) -> str:
    value = _written(f"s{slot}", signature.operands[slot])
    if is_rounded:
        value = f"to_bfloat16_stochastically(s{slot}, number_of, key{slot})"
    return f"tl.store(p{slot} + element, {value}{', mask=is_here' if is_masked else ''})"


def _line(
    step: Instruction | Reduction, blocks: dict[str, str], expressions: Expressions, sums: list[str], *, is_masked: bool
) -> str:
    """Return an instruction; its scalar becomes one of the blocks."""
    if isinstance(step, Reduction):
        value = template(step.kind, REDUCTIONS).format(f"s{step.input}")
        value = f"tl.where(is_here, {value}, 0.0)" if is_masked else value
        return f"r{sums.index(step.name)} += {value}"
    scalar = "" if step.scalar is None else blocks.setdefault(expressions.of(step.scalar), f"f{len(blocks)}")
    inputs = (f"s{slot}" for slot in step.inputs)
    return f"s{step.output} = {template(step.op, OPERATIONS).format(*inputs, s=scalar)}"


def _expressions(program: Program, signature: Signature) -> Expressions:
    shared = {name: f"tl.load(row + {1 + k})" for k, name in enumerate(shared_names(program))}
    reductions = reduction_names(program)
    own = {name: f"tl.load(totals + tensor * {len(reductions)} + {k})" for k, name in enumerate(reductions)}
    own[NUMEL] = "tl.load(counts + tensor)"
    for k, (name, dtype) in enumerate(zip(program.number_states, signature.numbers, strict=True)):
        pointer = f"{_address(program.num_operands + k)}.to(tl.pointer_type({MOVED_AS[dtype]}))"
        own[name] = f"{_read(f'tl.load({pointer})', dtype)}.to(tl.float64)"
    return Expressions(shared | own, Language(SCALAR_OPERATIONS, _literal, "{name} = {value}"))


def _literal(value: float) -> str:
    number = repr(value) if math.isfinite(value) else f'float("{value}")'
    return f"tl.full((), {number}, tl.float64)"


def _finish(program: Program, signature: Signature) -> str:
    """Return the kernel that writes the number states, and counts the update where a counter is on the device."""
    expressions = _expressions(program, signature)
    values = [expressions.of(value) for _, value in program.numbers]
    body = [
        "tensor = tl.program_id(0)",
        "happens = tl.program_id(0) >= 0",
        *_row(program),
        "if HAS_CLOCK:",
        "    happens = happens & is_inside",
        "    tl.atomic_add(missed, 1, mask=is_inside == 0)",
        "if HAS_GUARD:",
        "    happens = happens & (tl.load(found_inf) == 0.0)",
        *expressions.lines,
    ]
    for k, (value, dtype) in enumerate(zip(values, signature.numbers, strict=True)):
        pointer = f"{_address(program.num_operands + k)}.to(tl.pointer_type({MOVED_AS[dtype]}))"
        body.append(f"tl.store({pointer}, {_written(value, dtype)}, mask=happens)")
    body += ["if HAS_CLOCK:", "    tl.store(clock, tl.load(clock) + 1.0, mask=happens)"]
    return _kernel("finish", body)


def _place() -> str:
    """Return the kernel that writes addresses into a table: as arguments they belong to the launch, and to a graph."""
    names = [f"a{k}" for k in range(ADDRESSES)]
    quoted = ", ".join(f'"{name}"' for name in ("start", *names))
    stores = "\n".join(f"    tl.store(target + start + {k}, {name})" for k, name in enumerate(names))
    return f"@triton.jit(do_not_specialize=[{quoted}])\ndef place(target, start, {', '.join(names)}):\n{stores}\n"
