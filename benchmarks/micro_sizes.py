"""Which micro Enoki makes the most updates per second on one core?

    python benchmarks/micro_sizes.py

A whole step (forward, loss, backward, clip, update) of 8 x 64 random tokens, head width 16, one thread, for several
numbers of heads, layers and vocabulary sizes. Interleaved rounds; the smallest time of each size, which is what an idle
machine takes. The optimizer is ADANA unless said otherwise. The last line of each depth is the floor: what the step of
one head and 16 tokens costs, nearly all of it calls from Python.
"""

import argparse
import itertools
import time

import torch

from logclock.models import EnokiConfig, language_model_loss
from logclock.optim import from_spec, param_groups
from logclock.recipes import get_variant
from logclock.recipes.protocol import GRAD_CLIP

BATCH_SIZE, SEQUENCE_LENGTH = 8, 64


def whole_step(optimizer_name, *, heads, num_layers, vocab_size, shape=(BATCH_SIZE, SEQUENCE_LENGTH)):
    model = EnokiConfig(heads=heads, head_dim=16, num_layers=num_layers, vocab_size=vocab_size).build(seed=0)
    optimizer = from_spec(get_variant(optimizer_name).build(10_000, lr=1e-3).hidden, param_groups(model))
    batch_size, length = shape
    tokens = torch.randint(vocab_size, (batch_size, length + 1), generator=torch.Generator().manual_seed(0))

    def step():
        optimizer.zero_grad(set_to_none=True)
        language_model_loss(model(tokens[:, :-1]), tokens[:, 1:]).cross_entropy.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)
        optimizer.step()

    return step


def milliseconds(step, repeats=10):
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return 1e3 * (time.perf_counter() - start) / repeats


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizer", default="adana")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--heads", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[512, 1024, 2048])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes = list(itertools.product(arguments.layers, arguments.heads, arguments.vocabularies))
    steps = {
        (num_layers, heads, vocab_size): whole_step(
            arguments.optimizer, heads=heads, num_layers=num_layers, vocab_size=vocab_size
        )
        for num_layers, heads, vocab_size in sizes
    }
    for num_layers in arguments.layers:
        floor = whole_step(arguments.optimizer, heads=1, num_layers=num_layers, vocab_size=64, shape=(1, 16))
        steps[num_layers, 0, 64] = floor
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(arguments.rounds):
        for size, step in steps.items():
            best[size] = min(best[size], milliseconds(step))
    print(f"ms per step, {arguments.optimizer}; columns are vocabulary sizes {arguments.vocabularies}")
    for num_layers in arguments.layers:
        for heads in arguments.heads:
            row = "  ".join(f"{best[num_layers, heads, v]:6.2f}" for v in arguments.vocabularies)
            print(f"layers {num_layers}, heads {heads}: {row}")
        print(f"layers {num_layers}, floor: {best[num_layers, 0, 64]:6.2f}")


if __name__ == "__main__":
    main()
