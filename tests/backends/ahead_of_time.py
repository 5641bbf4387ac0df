"""Compile what the benchmark does not for GPUs: every operation in both arithmetics, compositions, every option.

Run as a script in a process of its own, because kernels that are interpreted cannot be compiled, with the folders
benchmarks and tests on the path. It raises if the compiler does: what an interpreter accepts need not compile (code
after a `return`, say).
"""

import sys

import gpu_compile  # before Triton, which it tells to compile
import torch
from backends.operations import ALL, COMPOSITIONS, spec_of
from triton.backends.compiler import GPUTarget

from logclock.backends import emit_triton, gpu, triton_module
from logclock.backends.emit import Signature
from logclock.backends.program import trace

F32, F64 = torch.float32, torch.float64


def compile_all(program, signature, architecture, *, is_everything_on):
    module = triton_module.module(emit_triton.source_of(program, signature))
    options = ("ALIGNED", "HAS_CLOCK", "LISTED", "HAS_SCALE", "HAS_GUARD")
    constants = dict.fromkeys(options, is_everything_on) | {"PIECE": gpu.PIECE, "BLOCK": gpu.BLOCK}
    types = gpu_compile.POINTERS | {"num_tensors": "i32", "num_rows": "i32"}
    for name in [*(f"segment_{index}" for index in range(len(program.segments))), "finish"]:
        gpu_compile.one_compiled(getattr(module, name), types, constants, GPUTarget("cuda", architecture, 32))
        print(name, flush=True)


def operations():
    for dtype in (F32, F64):
        compile_all(ALL, Signature(dtype, (dtype,) * ALL.num_operands, ()), 90, is_everything_on=False)


def compositions():
    for data in COMPOSITIONS:
        program = trace(spec_of(data).rule)
        for architecture in gpu_compile.ARCHITECTURES:
            signature = gpu_compile.signature_of(program, gpu_compile.FORMATS["bfloat16 states, stochastic"])
            compile_all(program, signature, architecture, is_everything_on=True)
    program = trace(spec_of("dana-star-mk4").rule)
    signature = Signature(F64, (F64,) * program.num_operands, (), frozenset({"grad"}))
    compile_all(program, signature, 80, is_everything_on=False)


if __name__ == "__main__":
    {"operations": operations, "compositions": compositions}[sys.argv[1]]()
