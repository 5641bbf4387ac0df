"""How does the ratio to fused AdamW change with the number of parameters and of tensors, and what does memory allow?

    python benchmarks/scaling.py [--threads 2] [--repeats 15] [--json benchmarks/results/scaling/MACHINE.json]

Parameters from 1 to 200 million in the 26 tensors of a transformer, and 20 million in 5 to 500 tensors, float32. The
cost model beside it: the bytes that an update reads and writes over the bandwidth that a copy of as many bytes reaches
here. Pairs as in step_time.py, whose `--page` writes the tables into docs/performance.md.
"""

import argparse
import datetime
import math
import statistics
from pathlib import Path

import torch
from step_time import WARMUP, bytes_moved, machine, make_params, save, seconds, summary, transformer

from logclock.optim import ScheduledOptimizer

OPTIMIZERS = ("adamw", "adana", "lion", "ademamix", "dana-star-mk4")

MILLIONS = (1, 5, 20, 50, 200)

TENSORS = (5, 26, 100, 300, 500)


def of_size(millions):
    """Return the shapes of a transformer of 6 layers, in 26 tensors, with about so many parameters."""
    width = round(math.sqrt(1e6 * millions / 76))  # 12 width^2 in each layer, and 4 width rows in the vocabulary
    return transformer(width, 6, vocabulary=4 * width, last=True)


def in_tensors(count):
    """Return as many equal matrices with 20 million parameters together."""
    side = round(math.sqrt(20e6 / count))
    return [(side, side)] * count


def measure(name, shapes, repeats):
    ours = ScheduledOptimizer(make_params(shapes), name, lr=1e-4)
    reference = torch.optim.AdamW(make_params(shapes), lr=1e-4, fused=True)
    for _ in range(WARMUP):
        ours.step()
        reference.step()
    pairs = [(seconds(ours.step), seconds(reference.step)) for _ in range(repeats)]
    return {"optimizer": name, "backend": ours.backends()[0], **summary(pairs)}


def bandwidth(num_params, repeats=9):
    """Return the bytes a second that a copy reads and writes, of 28 bytes for each of so many parameters."""
    source = torch.ones(28 * num_params // 8)  # a copy moves each of its 4-byte elements twice
    target = torch.empty_like(source)

    def copy():
        target.copy_(source)

    copy()
    return 8 * source.numel() / statistics.median(seconds(copy) for _ in range(repeats))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    result = {
        "date": datetime.date.today().isoformat(),
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        **machine(),
        "bytes": {name: bytes_moved(name) for name in OPTIMIZERS},
        "rows": [],
    }
    cases = [("parameters", millions, of_size(millions)) for millions in MILLIONS]
    cases += [("tensors", count, in_tensors(count)) for count in TENSORS]
    for axis, value, shapes in cases:
        num_params = sum(math.prod(shape) for shape in shapes)
        speed = bandwidth(num_params)
        for name in OPTIMIZERS:
            row = measure(name, shapes, arguments.repeats)
            model = 1e3 * result["bytes"][name] * num_params / speed
            row |= {"axis": axis, "value": value, "parameters": num_params, "model_milliseconds": round(model, 2)}
            result["rows"].append(row)
            low, high = row["quartiles"]
            print(
                f"{axis} {value:4d} {name:14s} {row['ratio']:.2f} [{low:.2f}, {high:.2f}]  {row['milliseconds']:.2f}, "
                f"fused AdamW {row['reference_milliseconds']:.2f}, memory {model:.2f} ms",
                flush=True,
            )
            save(result, arguments.json)


if __name__ == "__main__":
    main()
