"""How long is an optimizer step, as a ratio to torch's fused AdamW in the same process?

    python benchmarks/step_time.py [--threads 2] [--repeats 31] [--optimizers adana ...] [--backends loop ...]

20 million float32 parameters in the 26 tensors of a transformer. Every measurement is a pair, ours and the reference
right after it; the figure is the median of the ratios of the pairs, so that a busy neighbour hits both. For the
compiled backend the first step of this process and of a second one are timed in fresh processes with a cache folder of
their own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch

from logclock.optim import ScheduledOptimizer
from logclock.rules import Spec
from logclock.schedules import log_time_decay

WIDTH, LAYERS, VOCABULARY = 512, 6, 2048
SHAPES = [
    (VOCABULARY, WIDTH),
    *[(3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)] * LAYERS,
    (WIDTH,),
]

ELEMENTWISE = sorted(name for name, spec in Spec.family.members.items() if spec.rule.is_elementwise)
"""For the others see matrix_step_time.py."""


def make_params():
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for param in params:
        param.grad = torch.randn_like(param)
    return params


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(name, backend, repeats):
    params = make_params()
    reference = torch.optim.AdamW(make_params(), lr=1e-3, fused=True)
    decay = log_time_decay(4.0, offset=1000)
    ours = ScheduledOptimizer(params, name, lr=1e-4, weight_decay=decay, backend=backend)
    return paired(ours.step, reference.step, repeats)


def paired(ours, reference, repeats):
    """Return the median and the quartiles of the ratios of two functions' times, and the median of each in ms."""
    for _ in range(3):
        ours()
        reference()
    pairs = [(seconds(ours), seconds(reference)) for _ in range(repeats)]
    ratios = sorted(a / b for a, b in pairs)
    quarter = len(ratios) // 4
    milliseconds = [1e3 * statistics.median(times) for times in zip(*pairs, strict=True)]
    return statistics.median(ratios), ratios[quarter], ratios[-1 - quarter], *milliseconds


def first_step(name):
    """Print the seconds of the first compiled step in this process; run by `compile_times`."""
    optimizer = ScheduledOptimizer(make_params(), name, backend="compiled")
    torch.compile(lambda x: x)  # the compiler's own import is part of the price
    print(seconds(optimizer.step))


def compile_times(name):
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
        command = [sys.executable, __file__, "--first-step", name]
        return [
            float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
            for _ in range(2)
        ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--optimizers", nargs="+", default=ELEMENTWISE)
    parser.add_argument("--backends", nargs="+", default=["compiled", "loop", "foreach"])
    parser.add_argument("--first-step", metavar="NAME")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.first_step:
        first_step(arguments.first_step)
        return
    count = sum(torch.Size(shape).numel() for shape in SHAPES)
    print(f"{len(SHAPES)} tensors, {count:,} float32 parameters, {arguments.threads} threads, {torch.__version__}")
    print("optimizer / torch.optim.AdamW(fused=True): median of pairs [quartiles]")
    for name in arguments.optimizers:
        for backend in arguments.backends:
            ratio, low, high, ours, reference = measure(name, backend, arguments.repeats)
            print(
                f"{name:14s} {backend:9s} {ratio:6.2f} [{low:.2f}, {high:.2f}]   "
                f"{ours:6.1f} ms against {reference:.1f} ms",
                flush=True,
            )
    if "compiled" in arguments.backends:
        for name in arguments.optimizers:
            first, second = compile_times(name)
            print(f"{name:14s} first compiled step: {first:.1f} s, in a second process {second:.1f} s", flush=True)


if __name__ == "__main__":
    main()
