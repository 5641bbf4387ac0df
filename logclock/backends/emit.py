"""How does a program become C++? One function per segment, its instructions as the body of one loop over elements."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from logclock.backends.program import NUMEL, Instruction, Program, Reduction
from logclock.backends.scalars import CONSTANT, NAME, Scalar

__all__ = [
    "TYPES",
    "Expressions",
    "Language",
    "Signature",
    "number_names",
    "shared_names",
    "source_of",
    "template",
    "touched",
    "with_positive_logarithms",
]

TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
"""In C++, of the dtypes that are read and written as they are; others are copied."""

SMALLEST_NORMAL = torch.finfo(torch.float32).tiny

PRELUDE = Path(__file__).with_name("prelude.h")


@dataclasses.dataclass(frozen=True)
class Signature:
    """What the source depends on besides the program: neither sizes nor scalars.

    Args:
        compute: Dtype of the arithmetic.
        operands: Dtype of each operand.
        numbers: Dtype of each state that is one number per parameter.
        negated: Operands whose negative is meant.
        stochastic: Operands that are rounded stochastically.
    """

    compute: torch.dtype
    operands: tuple[torch.dtype, ...]
    numbers: tuple[torch.dtype, ...]
    negated: frozenset[str] = frozenset()
    stochastic: frozenset[str] = frozenset()


def number_names(program: Program) -> tuple[str, ...]:
    """Return the names that have a value for each tensor: its count, its states, then the reductions in order."""
    reductions = [reduction.name for segment in program.segments for reduction in segment.reductions]
    return (NUMEL, *program.number_states, *dict.fromkeys(reductions))


def shared_names(program: Program) -> tuple[str, ...]:
    """Return the names that have one value for all tensors."""
    scalars = [step.scalar for step in program.instructions if step.scalar is not None]
    names = dict.fromkeys(
        name for scalar in (*scalars, *(value for _, value in program.numbers)) for name in sorted(scalar.names())
    )
    return tuple(name for name in names if name not in program.per_tensor)


def source_of(program: Program, signature: Signature) -> str:
    """Return the source of a library with `segment_K` and `total_K` for every segment, `get_numbers` and `set_numbers`.

    `segment_K` is run by every thread, `total_K` by one when they are done.
    """
    parts = [PRELUDE.read_text(), f"typedef {TYPES[signature.compute]} F;\n"]
    for index in range(len(program.segments)):
        parts.append(_segment(program, signature, index))
    parts.append(_numbers(program, signature))
    return "\n".join(parts)


def touched(program: Program, index: int) -> tuple[list[int], list[int]]:
    """Return the operands whose elements a segment reads, and those that it writes."""
    segment = program.segments[index]
    is_last = index == len(program.segments) - 1
    assigned = {step.output for step in segment.instructions} if is_last else set()
    operands = range(program.num_operands)
    return sorted(_read_first(segment.code) & {*operands}), sorted(assigned & {*operands})


OPERATIONS = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "add_scaled": "multiply_add({s}, {1}, {0})",
    "add_scaled_quotient": "{0} + {s} * {1} / {2}",
    "lerp": "lerp({0}, {1}, {s})",
    "add_scalar": "{0} + {s}",
    "mul_scalar": "{0} * {s}",
    "div_scalar": "{0} / {s}",
    "scalar_div": "{s} / {0}",
    "neg": "-{0}",
    "sqrt": "root({0})",
    "absolute": "magnitude({0})",
    "sign": "sign({0})",
    "maximum": "at_least({0}, {s})",
    "minimum": "at_most({0}, {s})",
    "larger": "larger({0}, {1})",
    "smaller": "smaller({0}, {1})",
    "log": "logarithm({0})",
    "log_of_positive": "logarithm_of_positive({0})",
    "exp": "exponential({0})",
    "greater": "number<F>({0} > {1})",
    "greater_equal": "number<F>({0} >= {1})",
    "greater_scalar": "number<F>({0} > {s})",
    "greater_equal_scalar": "number<F>({0} >= {s})",
    "less_scalar": "number<F>({0} < {s})",
    "less_equal_scalar": "number<F>({0} <= {s})",
    "where": "{0} != F(0) ? {1} : {2}",
    "fill": "{s}",
    "copy": "{0}",
}
"""Of `program.OPERATIONS`: {0}, {1}, {2} are the inputs, {s} the scalar."""

REDUCTIONS = {"total": "double({0})", "total_square": "double({0}) * double({0})"}
"""What an element adds to a sum."""

SCALAR_OPERATIONS = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "absolute": "magnitude({0})",
    "sign": "{0} != {0} ? {0} : sign({0})",
    "sqrt": "root({0})",
    "log": "logarithm({0})",
    "exp": "exponential({0})",
    "maximum": "larger({0}, {1})",
    "minimum": "smaller({0}, {1})",
    "greater": "number<double>({0} > {1})",
    "greater_equal": "number<double>({0} >= {1})",
    "where": "{0} != 0 ? {1} : {2}",
}
"""Of `scalars.OPERATIONS`, in double."""


@dataclasses.dataclass(frozen=True)
class Language:
    """How scalars are written in the language of a source.

    Args:
        operations: Those of `scalars.OPERATIONS`: {0}, {1}, {2} are the operands.
        literal: Returns the source of a number.
        declaration: Of a value: {name} is {value}.
    """

    operations: Mapping[str, str]
    literal: Callable[[float], str]
    declaration: str


class Expressions:
    """Scalar expressions as declarations, each distinct one once; `names` says what stands for a name."""

    def __init__(self, names: Mapping[str, str], language: Language) -> None:
        self.sources, self.language = names, language
        self.lines: list[str] = []
        self.names: dict[Scalar, str] = {}

    def of(self, scalar: Scalar) -> str:
        """Return the name of an expression's value in the source."""
        if scalar.op == CONSTANT:
            return self.language.literal(float(scalar.arguments[0]))
        if scalar not in self.names:
            if scalar.op == NAME:
                value = self.sources[scalar.arguments[0]]
            else:
                value = template(scalar.op, self.language.operations).format(*map(self.of, scalar.arguments))
            name = f"e{len(self.names)}"
            self.names[scalar] = name
            self.lines.append(self.language.declaration.format(name=name, value=value))
        return self.names[scalar]


def template(op: str, templates: Mapping[str, str]) -> str:
    """Return how an operation is written.

    Raises:
        NotImplementedError: Nobody has said so for this language.
    """
    if op not in templates:
        raise NotImplementedError(
            f"backend 'fused' cannot write the operation {op!r} in this language yet; it knows {', '.join(templates)}. "
            "Use backend='loop' or 'foreach', or add it to the emitter."
        )
    return templates[op]


def _expressions(program: Program) -> Expressions:
    shared = {name: f"work.scalars[{k}]" for k, name in enumerate(shared_names(program))}
    names = number_names(program)
    own = {name: f"work.numbers[tensor * {len(names)} + {k}]" for k, name in enumerate(names)}
    return Expressions(shared | own, Language(SCALAR_OPERATIONS, _literal, "const double {name} = {value};"))


def _literal(value: float) -> str:
    if math.isfinite(value):
        return f"({value.hex()})"
    return '__builtin_nan("")' if value != value else "__builtin_inf()" if value > 0 else "(-__builtin_inf())"


def _segment(program: Program, signature: Signature, index: int) -> str:
    """Return the function of a piece and the two that `fused` calls: for every thread, and when they are done."""
    sums = list(dict.fromkeys(reduction.name for reduction in program.segments[index].reductions))
    names = number_names(program)
    columns = ", ".join(str(names.index(name)) for name in sums) or "0"
    return "\n".join(
        [
            *_piece(program, signature, index, sums),
            f'extern "C" void segment_{index}(Work *work) {{ share<piece_{index}>(*work); }}',
            f'extern "C" void total_{index}(Work *work) {{',
            f"  const i64 columns[] = {{{columns}}};",
            f"  add_up(*work, {len(sums)}, {len(names)}, columns);",
            "}\n",
        ]
    )


def _piece(program: Program, signature: Signature, index: int, sums: list[str]) -> list[str]:
    """Return the function that runs a segment on a piece, block by block."""
    loaded, stored = touched(program, index)
    used = sorted({*loaded, *stored})
    rounded = [slot for slot in stored if program.operands[slot] in signature.stochastic]
    expressions = _expressions(program)
    phases = _phases(with_positive_logarithms(program.segments[index].code), stored)
    loops = [line for phase in phases for line in _loop(phase, program, signature, expressions, sums)]
    kept = sorted({slot for phase in phases for slot in phase.kept})
    body = [
        "const i64 *const place = work.pieces + 3 * piece;",
        "const i64 tensor = place[0], start = place[1], stop = place[2];",
        *expressions.lines,
        *(_pointer(slot, signature, is_written=slot in stored) for slot in used),
        *(f'const u64 key{slot} = key_of(work, tensor, "{program.operands[slot]}");' for slot in rounded),
        *(["const i64 *const elements = work.elements[tensor];"] if rounded else []),
        *(f"double r{k} = 0;" for k in range(len(sums))),
        *(f"alignas(64) F b{slot}[BLOCK];" for slot in kept),
        "for (i64 from = start; from < stop; from += BLOCK) {",
        "  const i64 count = from + BLOCK < stop ? BLOCK : stop - from;",
        *(f"  prefetch(p{slot} + from);" for slot in used),
        *(line if line.startswith("#") else f"  {line}" for line in loops),
        "}",
        *(f"work.sums[piece * {len(sums)} + {k}] = r{k};" for k in range(len(sums))),
    ]
    lines = [line if line.startswith("#") else f"  {line}" for line in body]
    if not rounded:
        return [f"INLINE void piece_{index}(const Work &work, i64 piece) {{", *lines, "}"]
    return [
        f"template <bool is_listed> INLINE void own_piece_{index}(const Work &work, i64 piece) {{",
        *lines,
        "}",
        f"INLINE void piece_{index}(const Work &work, i64 piece) {{",
        f"  if (work.elements[work.pieces[3 * piece]]) own_piece_{index}<true>(work, piece);",
        f"  else own_piece_{index}<false>(work, piece);",
        "}",
    ]


@dataclasses.dataclass
class _Phase:
    """A part of a segment that has a loop of its own over each block.

    A processor overlaps the iterations of a short loop, where each waits for a root or a quotient, but sees too little
    of a long one. Values pass from one to the next through arrays that stay in the first-level cache.

    Args:
        code: Instructions and reductions.
        loaded: Operands whose old values it reads.
        received: Slots that it takes from earlier phases.
        kept: Slots that it leaves to later ones.
        stored: Operands that have their new values.
    """

    code: list[Instruction | Reduction]
    loaded: list[int]
    received: list[int]
    kept: list[int]
    stored: list[int]


WEIGHTS = {"sqrt": 4, "div": 4, "add_scaled_quotient": 4, "scalar_div": 4, "div_scalar": 4, "log": 16, "exp": 16}
"""Of instructions, in simple ones."""

LONGEST_PHASE = 24


def _phases(code: Iterable[Instruction | Reduction], stored: Iterable[int]) -> list[_Phase]:
    cuts: list[list[Instruction | Reduction]] = []
    weight = LONGEST_PHASE
    for step in code:
        own = WEIGHTS.get(step.op, 1) if isinstance(step, Instruction) else 1
        if weight + own > LONGEST_PHASE:
            cuts.append([])
            weight = 0
        cuts[-1].append(step)
        weight += own
    read = [_read_first(code) for code in cuts]
    assigned = [{step.output for step in code if isinstance(step, Instruction)} for code in cuts]
    phases: list[_Phase] = []
    later: set[int] = set()  # read by later phases
    done: set[int] = set()  # assigned again by them
    for k in reversed(range(len(cuts))):
        before = set().union(*assigned[:k])
        loaded, received = read[k] - before, read[k] & before
        kept, finished = assigned[k] & later, (assigned[k] - done) & {*stored}
        phases.insert(0, _Phase(cuts[k], *map(sorted, (loaded, received, kept, finished))))
        later = (later - assigned[k]) | read[k]
        done |= assigned[k]
    return phases


def _read_first(code: Iterable[Instruction | Reduction]) -> set[int]:
    """Return the slots whose values from before are read."""
    read: set[int] = set()
    assigned: set[int] = set()
    for step in code:
        read |= {*(step.inputs if isinstance(step, Instruction) else (step.input,))} - assigned
        if isinstance(step, Instruction):
            assigned.add(step.output)
    return read


def _loop(
    phase: _Phase, program: Program, signature: Signature, expressions: Expressions, sums: list[str]
) -> list[str]:
    """Return the loop of a phase over a block."""
    reduced = [sums.index(step.name) for step in phase.code if isinstance(step, Reduction)]
    clause = f" reduction(+ : {', '.join(f'r{k}' for k in reduced)})" if reduced else ""
    assigned = {step.output for step in phase.code if isinstance(step, Instruction)}
    rounded = [slot for slot in phase.stored if program.operands[slot] in signature.stochastic]
    return [
        f"#pragma omp simd{clause}",
        "for (i64 j = 0; j < count; ++j) {",
        *(f"  F s{slot} = {_load(slot, program, signature)};" for slot in phase.loaded),
        *(f"  F s{slot} = b{slot}[j];" for slot in phase.received),
        *(f"  F s{slot};" for slot in sorted(assigned - {*phase.loaded, *phase.received})),
        *(f"  {_line(step, expressions, sums)}" for step in phase.code),
        *(["  const u64 element = u64(is_listed ? elements[from + j] : from + j);"] if rounded else []),
        *(f"  {_store(slot, is_rounded=slot in rounded)}" for slot in phase.stored),
        *(f"  b{slot}[j] = s{slot};" for slot in phase.kept),
        "}",
    ]


def with_positive_logarithms(code: Iterable[Instruction | Reduction]) -> list[Instruction | Reduction]:
    """Spare a logarithm the care for 0 and below where its argument has just been bounded, as that of a power."""
    steps: list[Instruction | Reduction] = []
    positive: set[int] = set()
    for step in code:
        if isinstance(step, Instruction):
            if step.op == "log" and step.inputs[0] in positive:
                step = dataclasses.replace(step, op="log_of_positive")
            number = _constant_value(step.scalar)
            is_bounded = step.op == "maximum" and number >= SMALLEST_NORMAL
            is_raised = step.op == "add_scalar" and number >= 0 and step.inputs[0] in positive
            positive -= {step.output}
            positive |= {step.output} if is_bounded or is_raised else set()
        steps.append(step)
    return steps


def _constant_value(scalar: Scalar | None) -> float:
    """Return the value of an expression that depends on nothing, else NaN."""
    return math.nan if scalar is None or scalar.names() else float(scalar({}))


def _line(step: Instruction | Reduction, expressions: Expressions, sums: list[str]) -> str:
    if isinstance(step, Reduction):
        return f"r{sums.index(step.name)} += {template(step.kind, REDUCTIONS).format(f's{step.input}')};"
    scalar = "" if step.scalar is None else f"F({expressions.of(step.scalar)})"
    return f"s{step.output} = {template(step.op, OPERATIONS).format(*(f's{slot}' for slot in step.inputs), s=scalar)};"


def _pointer(slot: int, signature: Signature, *, is_written: bool) -> str:
    kind = f"{'' if is_written else 'const '}{TYPES[signature.operands[slot]]} *"
    return f"{kind}__restrict p{slot} = ({kind})work.operands[{slot} * work.num_tensors + tensor];"


def _load(slot: int, program: Program, signature: Signature) -> str:
    return f"{'-' if program.operands[slot] in signature.negated else ''}F(loaded(p{slot}[from + j]))"


def _store(slot: int, *, is_rounded: bool) -> str:
    if is_rounded:
        return f"store_stochastically(p{slot}[from + j], s{slot}, random_bits(element, key{slot}));"
    return f"store(p{slot}[from + j], s{slot});"


def _numbers(program: Program, signature: Signature) -> str:
    """Return the functions that read the states that are one number per tensor, and write their new values."""
    expressions = _expressions(program)
    values = [expressions.of(value) for _, value in program.numbers]
    places = [
        f"*({TYPES[dtype]} *)work.operands[{program.num_operands + k} * work.num_tensors + tensor]"
        for k, dtype in enumerate(signature.numbers)
    ]
    reads = [
        f"{expressions.sources[name]} = double(loaded({place}));"
        for name, place in zip(program.number_states, places, strict=True)
    ]
    writes = [*expressions.lines, *(f"store({place}, {v});" for place, v in zip(places, values, strict=True))]
    return "\n".join(
        f'extern "C" void {name}(Work *data) {{\n  const Work &work = *data;\n'
        f"  for (i64 tensor = 0; tensor < work.num_tensors; tensor++) {{\n{_indented(lines)}\n  }}\n}}"
        for name, lines in (("get_numbers", reads), ("set_numbers", writes))
    )


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
