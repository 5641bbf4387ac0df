"""How long is a step of a matrix optimizer, as a ratio to torch.optim.Muon on the same matrices in the same process?

    python benchmarks/matrix_step_time.py [--threads 2] [--repeats 31] [--width 512] [--layers 6]

The hidden matrices of a transformer: four shapes, one of each per layer. Every measurement is a pair, ours and the
reference right after it; the figure is the median of the ratios of the pairs. The
backend `foreach` stacks matrices of equal shape, `loop` takes them one by one, as torch does.
"""

import argparse

import torch
from step_time import WARMUP, seconds, summary

from logclock.optim import ScheduledOptimizer

RUNS = [
    ("muon", "foreach", {"iteration_dtype": "bfloat16"}),
    ("muon", "foreach", {"iteration_dtype": "float32"}),
    ("muon", "loop", {"iteration_dtype": "bfloat16"}),
    ("muon", "loop", {"iteration_dtype": "float32"}),
    ("soap", "foreach", {}),
    ("normsgd", "foreach", {}),
]


def make_matrices(width, layers):
    shapes = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)] * layers
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    for param in params:
        param.grad = torch.randn_like(param)
    return params


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    matrices = make_matrices(arguments.width, arguments.layers)
    count = sum(param.numel() for param in matrices)
    print(f"{len(matrices)} matrices, {count:,} float32 parameters, {arguments.threads} threads, {torch.__version__}")
    print("optimizer / torch.optim.Muon: median of pairs [quartiles]")
    for name, backend, settings in RUNS:
        ours = ScheduledOptimizer(
            make_matrices(arguments.width, arguments.layers), name, lr=1e-3, backend=backend, **settings
        )
        reference = torch.optim.Muon(matrices, lr=1e-3)
        for _ in range(WARMUP):
            ours.step()
            reference.step()
        found = summary([(seconds(ours.step), seconds(reference.step)) for _ in range(arguments.repeats)])
        label = " ".join([name, backend, *settings.values()])
        low, high = found["quartiles"]
        times = f"{found['milliseconds']:7.1f} ms against {found['reference_milliseconds']:.1f} ms"
        print(f"{label:28s} {found['ratio']:6.2f} [{low:.2f}, {high:.2f}]   {times}", flush=True)


if __name__ == "__main__":
    main()
