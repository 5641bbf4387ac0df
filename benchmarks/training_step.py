"""What does switching the optimizer cost in a whole training step, and the harness on top of a bare loop?

    python benchmarks/training_step.py

1. Enoki h = 3 (20.2 million parameters), 4 x 256 tokens: a whole step (forward, backward, clip, optimizer) with ADANA
   against the same step with torch's fused AdamW, as the median ratio of pairs, for each backend.
2. The demo's model and batch: seconds per step of `train()`, from the difference between a long and a short run so that
   start-up and the final evaluation cancel, against the median step of a bare loop, as the median over repetitions.
"""

import argparse
import dataclasses
import functools
import statistics
import tempfile
import time

import torch

from logclock.algorithms import AdanaSpec
from logclock.data import Dataset, TrainBatches, prepare
from logclock.models import EnokiConfig, language_model_loss
from logclock.optim import from_spec, param_groups
from logclock.recipes.demo import demo
from logclock.train import train


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def whole_step(make_optimizer):
    model = EnokiConfig(heads=3).build(seed=0)
    optimizer = make_optimizer(model)
    tokens = torch.randint(50_304, (4, 257), generator=torch.Generator().manual_seed(0))

    def step():
        optimizer.zero_grad(set_to_none=True)
        language_model_loss(model(tokens[:, :-1]), tokens[:, 1:]).cross_entropy.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()

    return step


def compare_whole_steps(repeats):
    reference = whole_step(lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True))
    for backend in ("loop", "fused"):
        ours = whole_step(lambda model, b=backend: from_spec(AdanaSpec(lr=1e-3), param_groups(model), backend=b))
        for _ in range(2):
            ours()
            reference()
        pairs = [(seconds(ours), seconds(reference)) for _ in range(repeats)]
        ratio = statistics.median(a / b for a, b in pairs)
        milliseconds = 1e3 * statistics.median(b for _, b in pairs)
        print(f"Enoki h=3, ADANA {backend} / fused AdamW: {ratio:.3f} (a step is {milliseconds:.0f} ms)", flush=True)


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    compare_whole_steps(arguments.repeats)
    torch.set_num_threads(1)
    compare_harness(arguments.repeats)


if __name__ == "__main__":
    main()
