"""What does a whole training step cost, and the harness on top of a bare loop?

    python benchmarks/training_step.py [--repeats 9] [--json benchmarks/results/training/MACHINE.json]

1. Enoki h = 3 (20.2 million parameters), 4 x 256 tokens: forward, backward, bound on the gradient, update. `plain` is
   ADANA on backend `loop` after `clip_grad_norm_` with all logits at once; `eager` is what `train` does, which bounds
   within a `fused` update and takes the loss chunk by chunk; `compiled` is that with torch.compile of the model. Ways
   take turns; ratios are medians of `plain` over the other, and memory is the peak of a process of its own.
2. The demo's model and batch: seconds per step of `train()`, from the difference between a long and a short run so that
   start-up and the final evaluation cancel, against the median step of a bare loop, as the median over repetitions.

`python benchmarks/step_time.py --page` writes the table into docs/performance.md.
"""

import argparse
import dataclasses
import datetime
import functools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from step_time import machine, save

from logclock.algorithms import AdanaSpec
from logclock.data import Dataset, TrainBatches, prepare
from logclock.models import EnokiConfig, language_model_loss
from logclock.optim import from_spec, param_groups
from logclock.recipes.demo import demo
from logclock.train import train
from logclock.train.passes import Passes

TOKENS = (4, 256)

BOUND = 0.5

WAYS = ("plain", "torch", "eager", "compiled")


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def whole_step(way):
    """Return a training step of Enoki h = 3; `torch` is `plain` with torch's fused AdamW."""
    torch.manual_seed(0)
    model = EnokiConfig(heads=3).build(seed=0)
    tokens = torch.randint(50_304, (TOKENS[0], TOKENS[1] + 1), generator=torch.Generator().manual_seed(0))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    if way in ("plain", "torch"):
        if way == "torch":
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        else:
            optimizer = from_spec(AdanaSpec(lr=1e-3), param_groups(model), backend="loop")

        def plain():
            optimizer.zero_grad(set_to_none=True)
            language_model_loss(model(inputs), targets).cross_entropy.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), BOUND)
            optimizer.step()

        return plain
    optimizer = from_spec(AdanaSpec(lr=1e-3), param_groups(model), backend="fused", clip_norm=BOUND)
    passes = Passes(model)
    if way == "compiled":
        passes.compile()

    def ours():
        optimizer.zero_grad(set_to_none=True)
        passes.objective(inputs, targets, z_loss=0.0).value.backward()
        optimizer.step()

    return ours


def peak_bytes(way, threads):
    """Return the peak memory of a process that makes three steps in one way."""
    command = [sys.executable, __file__, "--peak", way, "--threads", str(threads)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def compare_whole_steps(repeats, threads, done):
    steps = {way: whole_step(way) for way in WAYS}
    for step in (*steps.values(), *steps.values()):
        step()
    times = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, step in steps.items():
            times[way].append(seconds(step))
    for way, own in times.items():
        ratios = [plain / other for plain, other in zip(times["plain"], own, strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        row = {
            "way": way,
            "milliseconds": round(1e3 * statistics.median(own), 1),
            "tokens_per_second": round(TOKENS[0] * TOKENS[1] / statistics.median(own)),
            "ratio": round(median, 3),
            "quartiles": [round(low, 3), round(high, 3)],
            "peak_bytes": peak_bytes(way, threads),
        }
        done(row)
        print(
            f"Enoki h=3 {way:9s} {row['milliseconds']:.0f} ms, {row['tokens_per_second']:,} tokens/s, plain over it "
            f"{median:.2f} [{low:.2f}, {high:.2f}], {row['peak_bytes'] / 2**20:,.0f} MiB",
            flush=True,
        )


def bare_loop(config, dataset, steps):
    """Return the median seconds of a step: batch, forward, backward, clip, update, and nothing else."""
    model = config.model.build(seed=0)
    optimizer = from_spec(config.optimizers.hidden, param_groups(model), backend=config.backend)
    batches = TrainBatches(
        dataset.train, batch_size=config.data.batch_size, sequence_length=config.data.sequence_length, seed=0
    )
    times = []
    for step in range(1, steps + 1):
        start = time.perf_counter()
        inputs, targets = batches.at(step)
        optimizer.zero_grad(set_to_none=True)
        language_model_loss(model(inputs), targets).cross_entropy.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        times.append(time.perf_counter() - start)
    return sum(times[steps // 4 :]) / len(times[steps // 4 :])


def compare_harness(repeats, short=100, long=500):
    with tempfile.TemporaryDirectory() as folder:
        source = prepare("synthetic", f"{folder}/data", vocab_size=2048, limit_bytes=4_000_000, root=folder)
        ratios = []
        for repeat in range(repeats):
            durations = {}
            for steps in (short, long):
                config = demo("adana", seed=repeat, total_steps=steps)
                config = dataclasses.replace(
                    config,
                    data=dataclasses.replace(config.data, dataset=str(source)),
                    evaluation=dataclasses.replace(config.evaluation, interval=10**6, batches=1),
                )
                out = f"{folder}/{repeat}-{steps}"
                durations[steps] = seconds(functools.partial(train, config, out=out))
            ours = (durations[long] - durations[short]) / (long - short)
            bare = bare_loop(config, Dataset.open(source), long)
            ratios.append(ours / bare)
            print(f"harness {1e3 * ours:.2f} ms a step, bare loop {1e3 * bare:.2f} ms: {ratios[-1]:.3f}", flush=True)
    print(f"harness / bare loop, median of {repeats}: {statistics.median(ratios):.3f}")
    return round(statistics.median(ratios), 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--peak", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        step = whole_step(arguments.peak)
        for _ in range(3):
            step()
        status = Path("/proc/self/status").read_text()  # getrusage would tell the peak of the parent
        print(1024 * int(status.split("VmHWM:")[1].split()[0]))
        return
    result = {
        "date": datetime.date.today().isoformat(),
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        **machine(),
        "ways": [],
    }

    def done(row):
        result["ways"].append(row)
        save(result, arguments.json)

    compare_whole_steps(arguments.repeats, arguments.threads, done)
    torch.set_num_threads(1)
    result["harness"] = compare_harness(arguments.repeats)
    save(result, arguments.json)


if __name__ == "__main__":
    main()
