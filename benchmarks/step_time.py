"""How long is an optimizer step, as a ratio to torch's fused AdamW in the same process?

    python benchmarks/step_time.py [--threads 2] [--repeats 31] [--optimizers adana ...] [--backends fused ...]
                                   [--tensors 26 300] [--device cuda] [--json benchmarks/results/MACHINE.json]
    python benchmarks/step_time.py --page

20 million float32 parameters in the 26 or the 300 tensors of a transformer. Every measurement is a pair, ours and the
reference right after it; the figure is the median of the ratios of the pairs, so that a busy neighbor hits both. The
backends of an optimizer take turns. The first step with `fused` is timed in a fresh process with an empty cache folder,
and in a second one that finds what the first has built.

`--page` writes docs/performance.md from the results in benchmarks/results/. `--level run` measures `backends.X.run`
without the optimizer class around it.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import logclock.algorithms  # noqa: F401 (registers every optimizer)
from logclock import backends
from logclock.backends import emit, fused, gpu, native
from logclock.backends.program import plan_of
from logclock.rules import Spec
from logclock.schedules import log_time_decay

RESULTS = Path(__file__).parent / "results"
KERNELS = RESULTS / "gpu" / "compile.json"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def transformer(width, layers, *, vocabulary=None, vectors=0, last=False):
    block = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width), *[(width,)] * vectors]
    return [*([(vocabulary, width)] if vocabulary else []), *block * layers, *([(width,)] if last else [])]


SHAPES = {
    26: transformer(512, 6, vocabulary=2048, last=True),
    300: transformer(182, 50, vectors=2),
}

ELEMENTWISE = sorted(name for name, spec in Spec.family.members.items() if spec().rule.is_elementwise)
"""For the others see matrix_step_time.py."""

WARMUP = 3


DEVICE = torch.device("cpu")


def make_params(shapes):
    params = [torch.nn.Parameter(torch.randn(shape, device=DEVICE)) for shape in shapes]
    for param in params:
        param.grad = torch.randn_like(param)
    return params


def seconds(function):
    """Return the wall time of a call; on a GPU until the device has done what the call asked for."""
    wait()
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def wait():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def make_step(name, backend, params, level):
    """Return a function that makes one update of the parameters, with a schedule that runs."""
    decay = log_time_decay(4.0, offset=1000)
    if level == "optimizer":
        from logclock.optim import ScheduledOptimizer

        optimizer = ScheduledOptimizer(params, name, lr=1e-4, weight_decay=decay, backend=backend)
        grads = [param.grad for param in params]

        def update():
            if optimizer.is_due("curvature"):  # every tenth step of Sophia; what it takes in is the gradient again
                with optimizer.curvature(samples=1024):
                    for param, grad in zip(params, grads, strict=True):
                        param.grad = grad
            optimizer.step()

        return update
    spec = Spec.family.get(name)(lr=1e-4, weight_decay=decay)
    rule, count = spec.rule, 0
    run = {"fused": fused.run, **backends.BACKENDS}[backend]
    states = [[torch.zeros_like(param) for param in params] for _ in rule.state_names]

    @torch.no_grad()
    def step():
        nonlocal count
        count += 1
        run(rule, params, [param.grad for param in params], states, spec.scalars(count))

    return step


def measure(name, backend_names, num_tensors, repeats, level):
    """Return a row for each backend; they take turns, each followed by the reference."""
    params = make_params(SHAPES[num_tensors])
    reference = torch.optim.AdamW(make_params(SHAPES[num_tensors]), lr=1e-3, fused=True).step
    steps = {backend: make_step(name, backend, params, level) for backend in backend_names}
    pairs = {backend: [] for backend in backend_names}
    for repeat in range(WARMUP + repeats):
        for backend, step in steps.items():
            pair = (seconds(step), seconds(reference))
            if repeat >= WARMUP:
                pairs[backend].append(pair)
    return [
        {"optimizer": name, "backend": backend, "tensors": num_tensors, **summary(pairs[backend])}
        for backend in backend_names
    ]


def summary(pairs):
    ratios = sorted(ours / reference for ours, reference in pairs)
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    ours, reference = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
    return {
        "ratio": round(median, 3),
        "quartiles": [round(low, 3), round(high, 3)],
        "milliseconds": round(ours, 2),
        "reference_milliseconds": round(reference, 2),
    }


def bytes_moved(name):
    """Return the bytes that a float32 parameter's update must read and write with the passes that its program makes."""
    programs = plan_of(Spec.family.get(name)().rule).parts
    passes = [emit.touched(program, index) for program in programs for index in range(len(program.segments))]
    return 4 * sum(len(read) + len(written) for read, written in passes)


def first_step(name, level):
    """Print the seconds of the first fused step in this process; run by `first_steps`."""
    step = make_step(name, "fused", make_params(SHAPES[26]), level)
    torch.optim.AdamW(make_params([(1000, 1000)]), fused=True).step()  # wakes the threads
    print(seconds(step))


def first_steps(name, arguments):
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"LOGCLOCK_CACHE": cache, "TRITON_CACHE_DIR": cache}
        command = [sys.executable, __file__, "--first-step", name, "--level", arguments.level]
        command += ["--threads", str(arguments.threads), "--device", DEVICE.type]
        cold, warm = (
            float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
            for _ in range(2)
        )
    return {"optimizer": name, "cold_seconds": round(cold, 2), "warm_seconds": round(warm, 2)}


def machine():
    try:
        with open("/proc/cpuinfo") as file:
            lines = (line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
            model = next(lines, platform.machine())
    except OSError:
        model = platform.processor() or platform.machine()
    return {
        "processor": model if DEVICE.type == "cpu" else torch.cuda.get_device_name(DEVICE),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "compiler": compiler(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def compiler():
    if DEVICE.type == "cuda":
        return f"triton {importlib.metadata.version('triton')}"
    command = native.find_compiler()
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    return version.splitlines()[0]


def run_all(arguments):
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    result = {
        "date": datetime.date.today().isoformat(),
        "device": DEVICE.type,
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "level": arguments.level,
        **machine(),
        "parameters": {str(n): sum(torch.Size(shape).numel() for shape in SHAPES[n]) for n in arguments.tensors},
        "bytes": {name: bytes_moved(name) for name in sorted({"adamw", *arguments.optimizers})},
        "steps": [],
        "first_steps": [],
    }
    print(", ".join(f"{key} {value}" for key, value in result.items() if isinstance(value, int | float | str)))
    for num_tensors in arguments.tensors:
        for name in arguments.optimizers:
            for row in measure(name, arguments.backends, num_tensors, arguments.repeats, arguments.level):
                result["steps"].append(row)
                times = f"{row['milliseconds']:6.1f} ms against {row['reference_milliseconds']:.1f} ms"
                print(f"{num_tensors:4d} tensors {name:14s} {row['backend']:8s} {ratio(row):20s} {times}", flush=True)
            save(result, arguments.json)
    for name in arguments.optimizers if "fused" in arguments.backends else []:
        row = first_steps(name, arguments)
        result["first_steps"].append(row)
        print(f"{name:14s} first step: {row['cold_seconds']} s, cached {row['warm_seconds']} s", flush=True)
        save(result, arguments.json)


def save(result, path):
    """Write what there is so far: all of it takes half an hour."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")


INTRODUCTION = """\
# Performance of a step

How long is an optimizer step on a CPU, as a ratio to `torch.optim.AdamW(fused=True)` in the same process? Every figure
is the median over pairs of steps, ours and the reference right after it, with quartiles in brackets; the backends of an
optimizer take turns. `python benchmarks/step_time.py --json benchmarks/results/MACHINE.json` measures on your machine,
and `python benchmarks/step_time.py --page` writes this page from the files there.

**What the limit is.** A step on more parameters than fit a cache waits for memory. AdamW reads parameter, gradient and
two averages and writes three of them: 28 bytes a parameter. The column *bytes* says what each program moves, *floor* is
that over 28: what the ratio would be if nothing but memory counted and the reference reached the same bandwidth.
`fused` goes below the floor where it asks for memory ahead of time and the reference does not.
"""


NOT_ON_A_GPU = """\
**Nothing here has run on a GPU yet.** `fused` on CUDA (Triton) and `capturable=True` are tested against `loop` by
Triton's interpreter and compiled ahead of time; times, CUDA graphs, nccl and a card's own arithmetic are not tested. On
a machine with a GPU, `make test-gpu` runs the contract, the golden runs, GradScaler, graphs and FSDP2, and
`make bench-gpu` measures. Until somebody has done that, `auto` stays `foreach` on GPUs."""


def page(results):
    """Return the text of the page."""
    kernels = json.loads(KERNELS.read_text())
    others = [scaling_section(result) for result in found("scaling")] + [peer_section(r) for r in found("peers")]
    others += [training_section(result) for result in found("training")]
    return "\n".join([INTRODUCTION, *(section(result) for result in results), *others, gpu_section(results, kernels)])


def found(folder):
    """Return the results that another benchmark has left in a folder of its own."""
    return [json.loads(path.read_text()) for path in sorted((RESULTS / folder).glob("*.json"))]


def scaling_section(result):
    """Return the ratios over sizes and numbers of tensors, from scaling.py."""
    names = list(result["bytes"])
    lines = [
        f"## From small to large, {result['processor']}, {plural(result['threads'], 'thread')}",
        "",
        f"{result['date']}, {result['repeats']} pairs each, load {result['load_before']} before the start "
        "(`python benchmarks/scaling.py --json benchmarks/results/scaling/MACHINE.json`). In parentheses what the cost "
        "model says: the bytes of the update over the bandwidth of a copy, as a ratio to the time of the reference. "
        "Where everything fits the caches the model is of no use.",
        "",
    ]
    for axis, title in (("parameters", "millions, 26 tensors"), ("tensors", "tensors, 20 million")):
        rows = {(row["value"], row["optimizer"]): row for row in result["rows"] if row["axis"] == axis}
        values = list(dict.fromkeys(value for value, _ in rows))
        cells = [[str(value), *(_with_model(rows[value, name]) for name in names)] for value in values]
        lines += [*table([title, *names], cells), ""]
    return "\n".join(lines)


def _with_model(row):
    return f"{row['ratio']:.2f} ({row['model_milliseconds'] / row['reference_milliseconds']:.2f})"


def peer_section(result):
    """Return our steps over those of other packages, from peers.py."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"## Beside other packages, {result['processor']}, {plural(result['threads'], 'thread')}",
        "",
        f"Our step over the peer's in the same process, below 1 where ours is faster: {result['date']}, {versions}, "
        f"load {result['load_before']} before the last start (`python benchmarks/peers.py --json "
        "benchmarks/results/peers/MACHINE.json`, which says what the settings are, and which steps are timed in blocks "
        "of ten). Peers that compile themselves are measured without that.",
        "",
    ]
    for is_matrix, title in ((False, "26 tensors"), (True, "24 hidden matrices")):
        rows = [
            [r["optimizer"], r["backend"], r["peer"], ratio(r), str(r["pairs"])]
            for r in result["peers"]
            if r["matrices"] == is_matrix
        ]
        lines += [*table([title, "backend", "peer", "ours / peer", "pairs"], rows), ""]
    return "\n".join(lines)


WAYS = {
    "plain": "ADANA on `loop`, `clip_grad_norm_`, all logits at once",
    "torch": "torch's fused AdamW, `clip_grad_norm_`, all logits at once",
    "eager": "ADANA as `train` runs it: `fused`, the bound within the update, logits chunk by chunk",
    "compiled": "the same, and torch.compile of the model",
}


def training_section(result):
    """Return what a whole training step takes, from training_step.py."""
    lines = [
        f"## A whole training step, {result['processor']}, {plural(result['threads'], 'thread')}",
        "",
        f"Enoki h = 3 (20.2 million parameters), 4 x 256 tokens, forward, backward and update: {result['date']}, "
        f"{result['repeats']} rounds, load {result['load_before']} before the start "
        "(`python benchmarks/training_step.py --json benchmarks/results/training/MACHINE.json`). *Speedup* is the time "
        "of the first row over that of a row. `train` compiles long runs where a timing before the first step shows "
        "that it pays.",
        "",
    ]
    rows = [
        [
            WAYS[row["way"]],
            f"{row['milliseconds']:.0f} ms",
            f"{row['tokens_per_second']:,}",
            ratio(row),
            f"{row['peak_bytes'] / 2**20:,.0f} MiB",
        ]
        for row in result["ways"]
    ]
    lines += [*table(["step", "time", "tokens/s", "speedup", "peak memory"], rows), ""]
    if "harness" in result:
        lines += [
            f"`train()` takes {result['harness']:.2f} times a bare loop on the demo's model, one thread: batches, "
            "logging and everything else that it does beside.",
            "",
        ]
    return "\n".join(lines)


def section(result):
    lines = [
        f"## {result['processor']}" + (f", {plural(result['threads'], 'thread')}" if on_cpu(result) else ""),
        "",
        f"{result['date']}, {result['cores']} cores, torch {result['torch']}, {result['compiler']}; "
        f"{result['repeats']} pairs each; load {result['load_before']} before the start"
        + ("; measured without the optimizer class." if result["level"] == "run" else "."),
        "",
    ]
    names = list(dict.fromkeys(row["optimizer"] for row in result["steps"]))
    backend_names = list(dict.fromkeys(row["backend"] for row in result["steps"]))
    for num_tensors, count in result["parameters"].items():
        rows = {(r["optimizer"], r["backend"]): r for r in result["steps"] if r["tensors"] == int(num_tensors)}
        cells = [[name, str(result["bytes"][name]), f"{result['bytes'][name] / 28:.2f}"] for name in names]
        for line, name in zip(cells, names, strict=True):
            line += [ratio(rows.get((name, backend))) for backend in backend_names]
        lines += [f"{count / 1e6:.1f} million float32 parameters in {num_tensors} tensors:", ""]
        lines += [*table(["optimizer", "bytes", "floor", *(f"`{name}`" for name in backend_names)], cells), ""]
    if result["first_steps"]:
        lines += [
            "Seconds of the first `fused` step of a process: the compiler runs (cold), or has run before (cached).",
            "",
            *table(
                ["optimizer", "cold", "cached"],
                [[r["optimizer"], str(r["cold_seconds"]), str(r["warm_seconds"])] for r in result["first_steps"]],
            ),
            "",
        ]
    return "\n".join(lines)


def on_cpu(result):
    return result.get("device", "cpu") == "cpu"


def gpu_section(results, kernels):
    """Return what is known about GPUs: measured figures or that there are none, and what the kernels compile to."""
    lines = ["## GPUs", ""]
    if all(map(on_cpu, results)):
        lines += [NOT_ON_A_GPU, ""]
    lines += [
        f"What the compiler makes of the kernels (triton {kernels['triton']}, blocks of {kernels['block']} elements, "
        "four warps): registers of a thread, bytes of its stack, where spilled registers go, and how many of 2,048 "
        "threads a multiprocessor has room for. `python benchmarks/gpu_compile.py` prints it on any Linux machine.",
        "",
    ]
    shown = {}
    for row in kernels["kernels"]:
        cells = shown.setdefault((row["optimizer"], row["formats"], row["kernel"]), {})
        cells[row["architecture"]] = [str(row["registers"]), str(row["stack_bytes"]), f"{row['threads']:,}"]
    names = list(dict.fromkeys(row["architecture"] for row in kernels["kernels"]))
    head = [
        "optimizer",
        "formats",
        "kernel",
        *(f"{n} {what}" for n in names for what in ("registers", "stack", "threads")),
    ]
    rows = [[*key, *(cell for n in names for cell in cells[n])] for key, cells in shown.items()]
    return "\n".join([*lines, *table(head, rows), ""])


def ratio(row):
    return "" if row is None else f"{row['ratio']:.2f} [{row['quartiles'][0]:.2f}, {row['quartiles'][1]:.2f}]"


def plural(count, noun):
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(head, rows):
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def set_device(name):
    global DEVICE
    DEVICE = torch.device(name)
    reason = gpu.unavailable_reason(DEVICE) if name == "cuda" else None
    if reason is not None:
        sys.exit(reason)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--optimizers", nargs="+", default=ELEMENTWISE, choices=ELEMENTWISE, metavar="NAME")
    parser.add_argument("--backends", nargs="+", default=["fused", "loop", "foreach"])
    parser.add_argument("--tensors", nargs="+", type=int, default=[26, 300], choices=[26, 300])
    parser.add_argument("--level", choices=["optimizer", "run"], default="optimizer")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--first-step", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    set_device(arguments.device)
    if arguments.page:
        PAGE.write_text(page([json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]))
    elif arguments.first_step:
        torch.set_num_threads(arguments.threads)
        first_step(arguments.first_step, arguments.level)
    else:
        run_all(arguments)


if __name__ == "__main__":
    main()
