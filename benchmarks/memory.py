"""How many bytes does an optimizer keep, and how many does a step need on top? Linux only.

    python benchmarks/memory.py

State is counted from the tensors. Temporaries are the highest resident size of the process during a step (after one
step of warm-up, with the allocator's free pages returned and the counter reset) minus the resident size before it, each
case in a process of its own.
"""

import argparse
import ctypes
import gc
import pathlib
import re
import subprocess
import sys

import torch
from step_time import SHAPES, make_params

from logclock.optim import ScheduledOptimizer
from logclock.rules import Spec


def resident(field):
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status).group(1)) * 1024


def one(name, backend):
    params = make_params(SHAPES[26])
    optimizer = ScheduledOptimizer(params, name, backend=backend)
    optimizer.step()
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = resident("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark
    optimizer.step()
    temporaries = resident("VmHWM") - before
    per_parameter = optimizer.state_bytes() / sum(p.numel() for p in params)
    print(f"{name:14s} {backend:9s} state {per_parameter:5.2f} B/parameter, temporaries {temporaries / 2**20:5.1f} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "BACKEND"))
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    if arguments.one:
        one(*arguments.one)
        return
    for name in sorted(name for name, spec in Spec.family.members.items() if not spec.matrices_only):
        for backend in ("loop", "foreach", "fused"):
            subprocess.run([sys.executable, __file__, "--one", name, backend], check=True)


if __name__ == "__main__":
    main()
