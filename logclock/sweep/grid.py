"""Which runs make a learning-rate sweep, and which learning rate won?"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from logclock.records import RunRecord
from logclock.sweep.executor import Job
from logclock.train.config import RunConfig

__all__ = ["best_multipliers", "main_jobs", "sweep_jobs", "with_lr_multiplier"]

Build = Callable[[str, int, int | None], RunConfig]
"""Returns the run of (optimizer, seed, total_steps); None for the recipe's own number of steps."""


def with_lr_multiplier(config: RunConfig, multiplier: float) -> RunConfig:
    """Return the run with its peak learning rates multiplied and nothing else changed."""
    if not multiplier > 0:
        raise ValueError(f"a learning-rate multiplier must be > 0, got {multiplier}.")
    optimizers = {"optimizer": config.optimizer, "rest_optimizer": config.rest_optimizer}
    faster = {
        name: dataclasses.replace(spec, lr=spec.lr * multiplier)  # type: ignore[type-var]
        for name, spec in optimizers.items()
        if spec is not None
    }
    return dataclasses.replace(config, **faster)  # type: ignore[arg-type]


def sweep_jobs(
    build: Build,
    optimizers: Sequence[str],
    *,
    multipliers: Sequence[float],
    steps: int,
    seed: int,
    tags: dict[str, str],
) -> list[Job]:
    """Return the runs of a sweep, the same multipliers and steps for every optimizer.

    Args:
        build: Makes the run of an optimizer.
        optimizers: Their names, which become the labels.
        multipliers: Factors on the recipe's learning rates.
        steps: Updates per run; every schedule is built for this horizon.
        seed: Of all runs.
        tags: Common to all runs.
    """
    return [
        Job(
            config=with_lr_multiplier(build(optimizer, seed, steps), multiplier),
            label=optimizer,
            tags=tags | {"phase": "sweep", "lr_multiplier": f"{multiplier:g}"},
        )
        for optimizer in optimizers
        for multiplier in multipliers
    ]


def best_multipliers(optimizers: Sequence[str], records: Sequence[RunRecord]) -> dict[str, float]:
    """Return, for each optimizer, the multiplier whose run ended with the lowest validation loss.

    Args:
        optimizers: The labels.
        records: Of the sweep's runs.

    Raises:
        RuntimeError: No run of an optimizer finished.
    """
    best = {}
    for optimizer in optimizers:
        losses = {
            float(record.tags["lr_multiplier"]): record.metrics["final_validation_loss"]
            for record in records
            if record.label == optimizer and record.status == "finished"
        }
        ranked = sorted((loss, multiplier) for multiplier, loss in losses.items() if loss is not None)
        if not ranked:
            raise RuntimeError(f"no run of the learning-rate sweep of {optimizer!r} finished. Try smaller multipliers.")
        best[optimizer] = ranked[0][1]
    return best


def main_jobs(
    build: Build,
    optimizers: Sequence[str],
    *,
    seeds: Sequence[int],
    multipliers: Mapping[str, float] | None = None,
    tags: dict[str, str],
) -> list[Job]:
    """Return the runs of the comparison itself, every optimizer with every seed.

    Args:
        build: Makes the run of an optimizer.
        optimizers: Their names, which become the labels.
        seeds: Each is a run on other initial weights and another data order, the same for every optimizer.
        multipliers: Factor on the learning rate of each optimizer; None keeps the recipe's.
        tags: Common to all runs.
    """
    factors = multipliers or {}
    return [
        Job(
            config=with_lr_multiplier(build(optimizer, seed, None), factors.get(optimizer, 1.0)),
            label=optimizer,
            tags=tags | {"phase": "main"},
        )
        for seed in seeds
        for optimizer in optimizers
    ]
