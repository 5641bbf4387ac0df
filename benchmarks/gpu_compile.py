"""What do the kernels of `fused` look like on a GPU? Compiled ahead of time for sm_80 and sm_90, without a GPU.

    python benchmarks/gpu_compile.py [--optimizers adana ...] [--json benchmarks/results/gpu/compile.json]

For each optimizer with float32 parameters and states, and for ADANA in the other formats: registers of a thread, bytes
that a thread spills to local memory, threads that fit a multiprocessor with so many registers, and bits of the widest
load. The figures do not depend on how busy a machine is. Nothing runs, so nothing is said about time.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "0"  # kernels that are interpreted cannot be compiled

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import logclock.algorithms  # noqa: F401 (registers every optimizer)
from logclock.backends import emit_triton, gpu, triton_module
from logclock.backends.emit import Signature
from logclock.backends.program import plan_of
from logclock.rules import Spec

ARCHITECTURES = (80, 90)

ELEMENTWISE = sorted(name for name, spec in Spec.family.members.items() if spec().rule.is_elementwise)

REGISTERS = 65536
"""Of a multiprocessor, of both architectures."""

MOST_THREADS = 2048

POINTERS = {
    "pointers": "*i64",
    "pieces": "*i32",
    "sizes": "*i64",
    "counts": "*fp64",
    "totals": "*fp64",
    "sums": "*fp64",
    "table": "*fp64",
    "keys": "*i64",
    "scale": "*fp32",
    "found_inf": "*fp32",
    "missed": "*i32",
}
"""Types of the arguments of every kernel; see `emit_triton.ARGUMENTS`."""

ADD_UP = (
    {"sums": "*fp64", "firsts": "*i32", "totals": "*fp64", "num_tensors": "i32", "column": "i32", "num_columns": "i32"},
    {"STRIDE": 2, "at": 1, "BLOCK": gpu.BLOCK},
)

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16

FORMATS = {
    "float32": (F32, F32, F32, False),
    "bfloat16 states": (F32, F32, BF16, False),
    "bfloat16 states, stochastic": (F32, F32, BF16, True),
    "bfloat16 throughout": (BF16, BF16, BF16, False),
    "float16 parameters": (F16, F16, F32, False),
}
"""Parameter, gradient, states, and whether these are rounded stochastically."""


def signature_of(program, formats):
    param, grad, state, is_stochastic = formats
    kinds = {"param": param, "grad": grad, "new_grad": F32, "update": F32, "moved": F32}
    stochastic = frozenset(name for name in program.written if name not in kinds) if is_stochastic else frozenset()
    operands = tuple(kinds.get(name, state) for name in program.operands)
    return Signature(F32, operands, (torch.float64,) * len(program.number_states), frozenset(), stochastic)


def compiled(program, formats, architecture, *, is_clocked=False):
    """Return the compiled kernels that a step would launch."""
    module = triton_module.module(emit_triton.source_of(program, signature_of(program, formats)))
    names = [f"segment_{index}" for index in range(len(program.segments))]
    names += ["finish"] if program.numbers or is_clocked else []
    constants = {"ALIGNED": True, "HAS_CLOCK": is_clocked, "LISTED": False, "HAS_SCALE": is_clocked}
    constants |= {"HAS_GUARD": is_clocked, "PIECE": gpu.PIECE, "BLOCK": gpu.BLOCK}
    types = POINTERS | {"num_tensors": "i32", "num_rows": "i32"}
    target = GPUTarget("cuda", architecture, 32)
    made = {name: one_compiled(getattr(module, name), types, constants, target) for name in names}
    if any(segment.reductions for segment in program.segments):
        made["add_up"] = one_compiled(module.add_up, *ADD_UP, target)
    if is_clocked:
        types = {"target": "*i64", "start": "i32"} | {f"a{k}": "i64" for k in range(emit_triton.ADDRESSES)}
        made["place"] = one_compiled(module.place, types, {}, target)
    return made


def one_compiled(function, types, constants, target):
    aligned = {(k,): [["tt.divisibility", 16]] for k, kind in enumerate(types.values()) if kind.startswith("*")}
    source = ASTSource(function, types | dict.fromkeys(constants, "constexpr"), constexprs=constants, attrs=aligned)
    return triton.compile(source, target=target, options=gpu.OPTIONS)


def resources(kernel):
    """Return what the assembler says about a compiled kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        command = [str(tool), "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
    widths = re.findall(r"ld\.global(?:\.L1::\w+)*(?:\.v(\d))?\.b(\d+)", kernel.asm["ptx"])
    per_warp = -(-used["REG"] * 32 // 256) * 256  # registers are handed out in lots of 256
    return {
        "registers": used["REG"],
        "stack_bytes": used["STACK"] + used["LOCAL"],
        "threads": min(MOST_THREADS, REGISTERS // per_warp * 32),
        "widest_load_bits": max((int(count or 1) * int(bits) for count, bits in widths), default=0),
    }


def rows(names):
    cases = [(name, "float32", False) for name in names]
    if "adana" in names:
        cases += [("adana", formats, False) for formats in FORMATS if formats != "float32"]
        cases.append(("adana", "float32", True))
    for name, formats, is_clocked in cases:
        (program,) = plan_of(Spec.family.get(name)().rule).parts
        for architecture in ARCHITECTURES:
            for kernel, made in compiled(program, FORMATS[formats], architecture, is_clocked=is_clocked).items():
                yield {
                    "optimizer": name,
                    "formats": f"{formats}, capturable" if is_clocked else formats,
                    "architecture": f"sm_{architecture}",
                    "kernel": kernel,
                    **resources(made),
                }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizers", nargs="+", default=ELEMENTWISE, choices=ELEMENTWISE, metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    result = {"triton": triton.__version__, "piece": gpu.PIECE, "block": gpu.BLOCK, "kernels": []}
    for row in rows(arguments.optimizers):
        result["kernels"].append(row)
        print(
            f"{row['optimizer']:14s} {row['formats']:28s} {row['architecture']} {row['kernel']:10s} "
            f"{row['registers']:4d} registers {row['stack_bytes']:4d} bytes of stack {row['threads']:5d} threads "
            f"{row['widest_load_bits']:4d} bits",
            flush=True,
        )
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
