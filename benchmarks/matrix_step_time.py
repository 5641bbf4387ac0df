"""How long is a step of a matrix optimizer, as a ratio to torch.optim.Muon on the same matrices in the same process?

    python benchmarks/matrix_step_time.py [--threads 2] [--repeats 31] [--width 512] [--layers 6]
    python benchmarks/matrix_step_time.py --by-size [--sizes 256x256 256x1024 1024x1024] [--count 4]

The hidden matrices of a transformer: four shapes, one of each per layer. With `--by-size` a table instead, a line for
each size: `count` matrices of it, every form of Muon's iteration, and heavyball's Muon if that is installed (with other
coefficients, as many steps). Every measurement is a pair, ours and the reference right after it; the figure is the
median of the ratios of the pairs. The backend `foreach` stacks matrices of equal shape, `loop` takes them one by one,
as torch does.
"""

import argparse
import importlib.util
import os

import torch
from step_time import WARMUP, seconds, summary

from logclock.optim import ScheduledOptimizer

RUNS = [
    ("muon", "foreach", {"iteration_dtype": "bfloat16"}),
    ("muon", "foreach", {"iteration_dtype": "float32"}),
    ("muon", "foreach", {"iteration_dtype": "float32", "iteration_form": "auto"}),
    ("muon", "loop", {"iteration_dtype": "bfloat16"}),
    ("muon", "loop", {"iteration_dtype": "float32"}),
    ("normuon", "foreach", {"iteration_dtype": "float32"}),
    ("adamuon", "foreach", {"iteration_dtype": "float32"}),
    ("scion", "foreach", {"iteration_dtype": "float32"}),
    ("swan", "foreach", {"iteration_dtype": "float32"}),
    ("sinkgd", "foreach", {}),
    ("scale", "foreach", {}),
    ("soap", "foreach", {}),
    ("normsgd", "foreach", {}),
]

FORMS = ("direct", "gram", "auto")

SIZES = (
    "64x64",
    "64x256",
    "256x256",
    "256x1024",
    "512x512",
    "512x1024",
    "512x1536",
    "512x2048",
    "1024x1024",
    "1024x4096",
)


def make_params(shapes):
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    for param in params:
        param.grad = torch.randn_like(param)
    return params


def layers_of(width, layers):
    return [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)] * layers


def heavyball_muon(params):
    """Return heavyball's Muon, without its compiler; None if it is not installed."""
    if importlib.util.find_spec("heavyball") is None:
        return None
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    import heavyball

    return heavyball.Muon(params, lr=1e-3, consume_grad=False)  # or it would step once and then find no gradients


def paired(optimizer, reference, repeats):
    for _ in range(WARMUP):
        optimizer.step()
        reference.step()
    return summary([(seconds(optimizer.step), seconds(reference.step)) for _ in range(repeats)])


def by_size(sizes, count, repeats):
    print(f"{count} matrices of a size, float32 iterations: ratio to torch.optim.Muon [quartiles]")
    for size in sizes:
        shapes = [tuple(map(int, size.split("x")))] * count
        runs = {
            form: ScheduledOptimizer(
                make_params(shapes),
                "muon",
                lr=1e-3,
                backend="foreach",
                iteration_dtype="float32",
                iteration_form=form,
            )
            for form in FORMS
        }
        peer = heavyball_muon(make_params(shapes))
        runs |= {} if peer is None else {"heavyball": peer}
        reference = torch.optim.Muon(make_params(shapes), lr=1e-3)
        cells = []
        for name, optimizer in runs.items():
            found = paired(optimizer, reference, repeats)
            low, high = found["quartiles"]
            cells.append(f"{name} {found['ratio']:.2f} [{low:.2f}, {high:.2f}]")
        print(f"{size:>10s}  {'  '.join(cells)}   torch {found['reference_milliseconds']:.1f} ms", flush=True)


def layers(width, num_layers, repeats):
    shapes = layers_of(width, num_layers)
    reference = torch.optim.Muon(make_params(shapes), lr=1e-3)
    print(f"{len(shapes)} matrices, {sum(rows * cols for rows, cols in shapes):,} float32 parameters")
    print("optimizer / torch.optim.Muon: median of pairs [quartiles]")
    for name, backend, settings in RUNS:
        ours = ScheduledOptimizer(make_params(shapes), name, lr=1e-3, backend=backend, **settings)
        found = paired(ours, reference, repeats)
        label = " ".join([name, backend, *settings.values()])
        low, high = found["quartiles"]
        times = f"{found['milliseconds']:7.1f} ms against {found['reference_milliseconds']:.1f} ms"
        print(f"{label:34s} {found['ratio']:6.2f} [{low:.2f}, {high:.2f}]   {times}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--by-size", action="store_true")
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--count", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"{arguments.threads} threads, torch {torch.__version__}")
    if arguments.by_size:
        by_size(arguments.sizes, arguments.count, arguments.repeats)
    else:
        layers(arguments.width, arguments.layers, arguments.repeats)


if __name__ == "__main__":
    main()
