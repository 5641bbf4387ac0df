"""What is an experiment that takes an optimizer apart, and on which models do its arms run?"""

import dataclasses
from collections.abc import Callable, Mapping

from logclock.models import EnokiConfig
from logclock.recipes.demo import BATCH_SIZE, HEAD_DIM, SEQUENCE_LENGTH, cpu_run
from logclock.rules import Spec
from logclock.schedules import AdaptiveWarmupPlan, Schedule
from logclock.train.config import EvaluationConfig, Optimizers, RunConfig

__all__ = ["Ablation", "Arm", "Build", "Setup", "alone", "arms_on", "micro_model"]

Arm = Callable[[int, int | None], RunConfig]
"""Returns the run of (seed, total_steps) at the arm's centre learning rate; None for the experiment's own length."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """What an arm sets: its optimizers, and its learning-rate schedule if that is not the ADANA paper's."""

    optimizer: Spec | Optimizers
    lr_schedule: Schedule | AdaptiveWarmupPlan | None = None


Build = Callable[[int], Setup]
"""Returns the setup of a run of T updates."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablation:
    """An experiment.

    Args:
        question: What it answers.
        baseline: The arm that the others are compared with.
        arms: By label, in the order of the table.
        multipliers: Factors on the centre learning rate, the same for every arm.
        extensions: How often the grid of an arm may grow while its best factor is at the edge; every arm then gets one
            more run, the others between their best factor and its better neighbour.
        seeds: The first one sweeps the learning rate; all of them run at the best.
    """

    question: str
    baseline: str
    arms: Mapping[str, Arm]
    multipliers: tuple[float, ...] = (0.5, 1.0, 2.0)
    extensions: int = 1
    seeds: tuple[int, ...] = (0, 1, 2)


def micro_model(*, heads: int, num_layers: int = 2) -> EnokiConfig:
    """Return a micro Enoki of width 16 heads with 512 words."""
    return EnokiConfig(heads=heads, head_dim=HEAD_DIM, num_layers=num_layers, vocab_size=512)


def arms_on(model: EnokiConfig, builds: Mapping[str, Build], *, tokens_per_param: float) -> dict[str, Arm]:
    """Return arms on a model, in batches of 8 x 64 tokens."""
    length = model.size().steps_for(tokens_per_step=BATCH_SIZE * SEQUENCE_LENGTH, ratio=tokens_per_param)

    def arm(build: Build) -> Arm:
        def run(seed: int, total_steps: int | None = None) -> RunConfig:
            steps = length if total_steps is None else total_steps
            setup = build(steps)
            config = cpu_run(setup.optimizer, model=model, total_steps=steps, seed=seed)
            # a measurement costs as much as 60 updates of the smallest of these models
            evaluation = EvaluationConfig(interval=max(steps // 5, 1), batches=32, batch_size=32)
            return dataclasses.replace(
                config, evaluation=evaluation, lr_schedule=setup.lr_schedule or config.lr_schedule
            )

        return run

    return {name: arm(build) for name, build in builds.items()}


def alone(build: Callable[[int], Spec]) -> Build:
    """Return the setup of an optimizer that updates every parameter, under the ADANA paper's schedule."""
    return lambda steps: Setup(optimizer=build(steps))
