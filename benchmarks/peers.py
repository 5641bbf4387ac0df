"""How long is a step beside the same optimizer of another package, in one process?

    python benchmarks/peers.py [--threads 2] [--repeats 15] [--only muon ...]
                               [--json benchmarks/results/peers/MACHINE.json]

`--only` measures some again and leaves the other rows of the file as they are.

Elementwise optimizers on the 26 tensors of step_time.py, those of matrices on 24 hidden matrices of a transformer of
width 512. Ours with the backend that `auto` takes; peers in their fastest form that runs on a CPU without a compiler
(`foreach` where they have it). Every measurement is a pair, ours and the peer right after it; the figure is the median
of the ratios of the pairs, so that below 1 ours is faster. Peers that are not installed are left out and named.
`python benchmarks/step_time.py --page` writes the table into docs/performance.md.
"""

import argparse
import datetime
import importlib
import importlib.metadata
import json
import statistics
from pathlib import Path

import torch
from matrix_step_time import layers_of
from step_time import SHAPES, WARMUP, machine, make_params, save, seconds, summary

from logclock.optim import ScheduledOptimizer

ADAMW = ("torch", "AdamW", {"fused": True})

PLAIN = {"adamw": [ADAMW, ("torch", "AdamW", {"foreach": True})]}

CLIPPED = ("adamw", "adana", "nadamw", "laprop", "dana-mk4")
"""Also with the gradient's norm bounded, against `clip_grad_norm_` and then fused AdamW."""

BOUND = 0.5

KOZISTR = {
    "adabelief": "AdaBelief",
    "adafactor": "AdaFactor",
    "adamp": "AdamP",
    "adan": "Adan",
    "ademamix": "AdEMAMix",
    "adopt": "ADOPT",
    "diffgrad": "DiffGrad",
    "exadam": "EXAdam",
    "laprop": "LaProp",
    "lion": "Lion",
    "prodigy": "Prodigy",
    "simplified-ademamix": "SimplifiedAdEMAMix",
    "stable-adamw": "StableAdamW",
}
"""Elementwise optimizers of pytorch_optimizer, by our name; all have `foreach`."""

LOW_RANK = {"rank": 128, "update_proj_gap": 200, "scale": 1.0, "projection_type": "std"}

MATRICES = {
    "muon": [
        ("torch", "Muon", {}),
        ("pytorch_optimizer", "Muon", {}),
        ("pytorch_optimizer", "Muon", {"ns_method": "gram_newton_schulz"}),
        ("heavyball", "Muon", {"consume_grad": False}),
    ],
    "normuon": [("pytorch_optimizer", "NorMuon", {})],
    "adamuon": [("pytorch_optimizer", "AdaMuon", {})],
    "scion": [("pytorch_optimizer", "SCION", {})],
    "soap": [("pytorch_optimizer", "SOAP", {}), ("heavyball", "SOAP", {"consume_grad": False})],
    "splus": [("pytorch_optimizer", "SPlus", {})],
    "psgd-kron": [
        ("pytorch_optimizer", "Kron", {"pre_conditioner_update_probability": 1.0}),
        ("heavyball", "PSGDKron", {"consume_grad": False}),
    ],
    "apollo": [("pytorch_optimizer", "APOLLO", {"scale_type": "channel", **LOW_RANK})],
    "fira": [("pytorch_optimizer", "Fira", LOW_RANK)],
}
"""Peers of optimizers of matrices. Settings make them do the same work: equal ranks, updates and iterations."""

SETTINGS = {"muon": {"iteration_dtype": "float32"}, "apollo": {"rank": 128}, "fira": {"rank": 128}}
"""Of ours, where the default depends on the processor or the peer's differs."""

BLOCKS = {"soap": 10}
"""Steps that are timed as one: the peers of SOAP turn their bases in every tenth step, ours a tenth of them in each."""

IN_GROUPS = {*LOW_RANK}
"""Keywords that a peer reads from a parameter group."""


def rows():
    """Yield our name, our settings, the peer's package, class and settings, and the shapes."""
    for name, peers in PLAIN.items():
        yield from ((name, {}, *peer, SHAPES[26]) for peer in peers)
    yield from ((name, {"clip_norm": BOUND}, *ADAMW, SHAPES[26]) for name in CLIPPED)
    for name, peer in KOZISTR.items():
        yield name, {}, "pytorch_optimizer", peer, {"foreach": True}, SHAPES[26]
    for name, peers in MATRICES.items():
        yield from ((name, SETTINGS.get(name, {}), *peer, layers_of(512, 6)) for peer in peers)


def peer_step(package, cls, settings, params, bound=None):
    """Return the step of another package's optimizer, after bounding the norm of the gradient if that is asked for."""
    module = importlib.import_module("torch.optim" if package == "torch" else package)
    group = {key: value for key, value in settings.items() if key in IN_GROUPS}
    if package == "pytorch_optimizer" and "Muon" in cls:
        group |= {"use_muon": True}
    rest = {key: value for key, value in settings.items() if key not in IN_GROUPS}
    optimizer = getattr(module, cls)([{"params": params, **group}], lr=1e-4, **rest)
    if bound is None:
        return optimizer.step

    def clip_and_step():
        torch.nn.utils.clip_grad_norm_(params, bound)
        optimizer.step()

    return clip_and_step


def measure(name, ours, package, cls, theirs, shapes, repeats):
    optimizer = ScheduledOptimizer(make_params(shapes), name, lr=1e-4, **ours)
    bound = ours.get("clip_norm")
    steps = optimizer.step, peer_step(package, cls, theirs, make_params(shapes), bound)
    block = BLOCKS.get(name, 1)
    for _ in range(WARMUP):
        for step in steps:
            step()
    pairs = [tuple(_block_seconds(step, block) for step in steps) for _ in range(-(-repeats // block) + (block > 1))]
    said = ", ".join(f"{key}={value}" for key, value in theirs.items() if key != "consume_grad")
    return {
        "optimizer": name,
        "backend": optimizer.backends()[0],
        "peer": ("" if bound is None else "clip, ") + f"{package} {cls}" + (f" ({said})" if said else ""),
        "matrices": name in MATRICES,
        "pairs": len(pairs),
        **summary(pairs),
    }


def _block_seconds(step, count):
    """Return the mean seconds of so many steps."""
    return statistics.fmean(seconds(step) for _ in range(count))


def versions():
    found = {}
    for package in ("torch", "pytorch_optimizer", "heavyball"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    result = {
        "date": datetime.date.today().isoformat(),
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        **machine(),
        "versions": versions(),
        "peers": [],
    }
    print(json.dumps({key: value for key, value in result.items() if key != "peers"}))
    if arguments.only and arguments.json and arguments.json.exists():
        before = json.loads(arguments.json.read_text())
        result["peers"] = before["peers"]
        result["versions"] = before["versions"] | result["versions"]
    for name, ours, package, cls, theirs, shapes in rows():
        if arguments.only and name not in arguments.only:
            continue
        if package not in result["versions"]:
            print(f"{name}: {package} is not installed")
            continue
        row = measure(name, ours, package, cls, theirs, shapes, arguments.repeats)
        others = [other for other in result["peers"] if (other["optimizer"], other["peer"]) != (name, row["peer"])]
        result["peers"] = [*others, row]
        low, high = row["quartiles"]
        times = f"{row['milliseconds']:7.1f} ms against {row['reference_milliseconds']:.1f} ms"
        print(f"{name:20s} {row['peer']:60s} {row['ratio']:6.2f} [{low:.2f}, {high:.2f}]  {times}", flush=True)
        save(result, arguments.json)


if __name__ == "__main__":
    main()
