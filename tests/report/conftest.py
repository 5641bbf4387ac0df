"""A study that looks like a real one: three optimizers, two seeds, a sweep, one diverged run. All of it invented."""

import math
import random

import pytest

from logclock.records import RunRecord

STEPS, TOKENS_PER_STEP, PARAMS = 6000, 1024, 98_304
# Peak learning rate, multiple of AdamW's speed, best learning rate, bytes of state per parameter, seconds per step.
OPTIMIZERS = {
    "adamw": (6e-3, 1.00, 6e-3, 8, 0.0801),
    "adana": (3e-3, 1.27, 4e-3, 8, 0.0814),
    "dana-star-mk4": (2e-3, 1.12, 2e-3, 12, 0.0872),
}


def _lr_factor(t):
    warmup = STEPS / 50
    return t / warmup if t < warmup else 0.55 + 0.45 * math.cos(math.pi * (t - warmup) / (STEPS - warmup))


def _loss(name, t, lr, rng, *, noise):
    """Return a power law in the optimizer's own time, with an early disadvantage, plus what the decay brings."""
    speed, best = OPTIMIZERS[name][1:3]
    early = 0.12 * (speed - 1) * 8 / (1 + t / 120)
    mistuned = 0.045 * math.log(lr / best) ** 2
    return 3.02 + 4.6 * (1 + t * speed / 20) ** -0.27 - 0.11 * t / STEPS + early + mistuned + rng.gauss(0, noise)


def _schedules(name, steps, lr):
    columns = {"step": steps, "lr": [lr * _lr_factor(t) for t in steps], "eps": [1e-8] * len(steps)}
    if name == "adamw":
        constant = {"ema1": 0.1, "ema2": 0.001}
        return (
            columns
            | {k: [v] * len(steps) for k, v in constant.items()}
            | {"decay": [_lr_factor(t) * 4 / STEPS for t in steps]}
        )
    columns |= {key: [8 / (8 + t) for t in steps] for key in ("ema1", "ema2")}
    columns["decay"] = [_lr_factor(t) * 4 / (STEPS / 10 + t) for t in steps]
    if name == "adana":
        columns["gain"] = [(1 + t) ** 0.15 for t in steps]
    return columns


def _config(name, seed, lr):
    optimizer = {"name": name, "lr": lr, "eps": 1e-8, "decay_coupling": "independent"}
    decay = {"kind": "inverse_time", "scale": 4.0, "offset": STEPS / 10}
    if name == "adamw":
        optimizer |= {"ema1": 0.1, "ema2": 0.001, "weight_decay": 4 / STEPS}
    else:
        optimizer |= {"kappa": 0.85, "delta": 8.0, "weight_decay": decay, "ema1": None, "ema2": None}
    if name == "dana-star-mk4":
        optimizer |= {"clip_snr": 2.0, "gain_offset": 1.0}
    return {
        "model": {"name": "enoki", "heads": 2, "head_dim": 32, "layers": 2, "vocab_size": 2048},
        "data": {"dataset": "essentials-bpe-2048", "batch_size": 8, "sequence_length": 128},
        "optimizer": optimizer,
        "lr_schedule": {"kind": "cosine", "total_steps": STEPS, "warmup_steps": STEPS // 50, "final": 0.1},
        "total_steps": STEPS,
        "seed": seed,
        "grad_clip": 0.5,
        "precision": "float32",
        "evaluation": {"interval": 100, "batches": None, "batch_size": 32},
        "log_interval": 20,
    }


def make_run(name, *, seed=0, lr=None, phase="main", diverged_at=None):
    """Return an invented run; `diverged_at` is the step at which its loss stopped being finite."""
    peak, _, _, state_bytes, step_seconds = OPTIMIZERS[name]
    lr = peak if lr is None else lr
    rng, seed_rng = random.Random(f"{name} {lr} {seed} {phase}"), random.Random(seed)
    offset = seed_rng.gauss(0, 0.012)  # what a seed does to every optimizer alike
    last = diverged_at or STEPS
    log_steps = [20 * i for i in range(1, last // 20 + 1)]
    val_steps = [100 * i for i in range(1, last // 100 + 1)]
    wobble = rng.gauss(0, 0.0015)
    loss = [_loss(name, t, lr, rng, noise=0.0012) + offset + wobble for t in val_steps]
    train = [_loss(name, t, lr, rng, noise=0.05) + offset - 0.02 for t in log_steps]
    if diverged_at:
        for series, steps in ((loss, val_steps), (train, log_steps)):
            series[:] = [value + 2 * (t / diverged_at) ** 9 for value, t in zip(series, steps, strict=True)]
        train[-1:], loss[-1:] = [None], [None] * len(loss[-1:])
    bits = [None if value is None else value / math.log(2) / 3.1 for value in loss]
    shown = [t for t in log_steps if t <= 200 or t % 100 == 0]
    return RunRecord(
        config=_config(name, seed, lr),
        seed=seed,
        label=name,
        tags={"study": "compare", "phase": phase, "baseline": "adamw"},
        status="diverged" if diverged_at else "finished",
        reason=f"step {diverged_at}: training loss is nan" if diverged_at else None,
        model={
            "name": "enoki",
            "non_embedding_params": PARAMS,
            "total_params": PARAMS + 2 * 2048 * 64,
            "compute_6p_per_token": 6 * PARAMS,
            "compute_6d_per_token": 6 * PARAMS + 6 * 2048 * 64,
        },
        data={
            "fingerprint": "3f6c1d0a9be24471",
            "name": "essentials-bpe-2048",
            "vocab_size": 2048,
            "train_tokens": 4_812_345,
            "validation_tokens": 241_118,
        },
        provenance={
            "logclock": "0.1.0",
            "git_commit": "548a2f2c0ffee548a2f2c0ffee548a2f2c0ffee5",
            "git_dirty": False,
            "torch": "2.13.0+cpu",
            "python": "3.11.9",
            "platform": "Linux-6.1-x86_64",
            "device": "cpu",
            "num_threads": 1,
            "rule_hash": f"{sum(map(ord, name)):04x}7be1a02c91d3",
            "command": "logclock compare adamw adana dana-star-mk4 --recipe demo --seeds 2 --lr-sweep",
            "started": f"2026-11-22T06:{10 + seed % 50:02d}:00Z",
            "ended": f"2026-11-22T07:{18 + seed % 40:02d}:00Z",
        },
        train={
            "step": log_steps,
            "tokens": [TOKENS_PER_STEP * t for t in log_steps],
            "loss": train,
            "lr": [lr * _lr_factor(t) for t in log_steps],
            "grad_norm": [1.0 for _ in log_steps],
        },
        validation={
            "step": val_steps,
            "tokens": [TOKENS_PER_STEP * t for t in val_steps],
            "loss": loss,
            "bits_per_byte": bits,
        },
        schedules=_schedules(name, [1, 2, 5, 10, *shown], lr),
        metrics={
            "final_validation_loss": loss[-1] if loss else None,
            "final_bits_per_byte": bits[-1] if bits else None,
            "final_train_loss": train[-1],
            "final_step": last,
        },
        cost={
            "wall_seconds": last * step_seconds,
            "step_seconds": step_seconds,
            "tokens_per_second": TOKENS_PER_STEP / step_seconds,
            "optimizer_step_seconds": step_seconds * (0.04 + 0.01 * state_bytes / 8),
            "optimizer_state_bytes": float(state_bytes * (PARAMS + 2 * 2048 * 64)),
            "peak_memory_bytes": 412e6 + state_bytes * 1e6,
        },
    )


def make_study(*, num_seeds=2, has_sweep=True):
    """Return the records of the invented study, in the order in which they would be written."""
    records = []
    for name, (peak, *_) in OPTIMIZERS.items():
        for factor in (0.25, 0.5, 1, 2, 4) if has_sweep else ():
            fails = name == "dana-star-mk4" and factor == 4
            records.append(
                make_run(name, lr=peak * factor, seed=100, phase="sweep", diverged_at=1400 if fails else None)
            )
    for seed in range(num_seeds):
        records += [make_run(name, seed=seed) for name in OPTIMIZERS]
    return records


@pytest.fixture
def run():
    """The function that makes one invented run."""
    return make_run


@pytest.fixture(scope="session")
def study():
    """The whole invented study, one diverged main run included."""
    return [*make_study(), make_run("dana-star-mk4", seed=2, diverged_at=2300)]


@pytest.fixture(scope="session")
def one_seed():
    """The invented study with one seed and no sweep."""
    return make_study(num_seeds=1, has_sweep=False)
