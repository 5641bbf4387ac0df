"""Does the best learning rate stay when a model gets wider, with muP and without? Twenty-three short runs."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from logclock.recipes.micro import micro
from logclock.train.config import EvaluationConfig, RunConfig

__all__ = ["BASE_WIDTH", "TransferRun", "transfer_runs"]

BASE_WIDTH = 16
TOTAL_STEPS = 300
NUM_LAYERS = 2

RATES: dict[tuple[str, int], tuple[float, ...]] = {
    ("standard", 16): (0.128, 0.064, 0.032, 0.016, 0.008),
    ("standard", 32): (0.064, 0.032, 0.016, 0.008, 0.004),
    ("standard", 128): (0.016, 0.008, 0.004, 0.002),
    ("mup", 32): (0.064, 0.032, 0.016),
    ("mup", 64): (0.064, 0.032, 0.016),
    ("mup", 128): (0.064, 0.032, 0.016),
}
"""Learning rates by parametrization and width, each grid around its best; at the base width the two are one model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferRun:
    """One run of the transfer test."""

    parametrization: str
    """`standard` or `mup`."""

    width: int
    """d."""

    config: RunConfig
    """The run."""

    @property
    def tags(self) -> dict[str, str]:
        """By which its record is found."""
        return {"study": "mup-transfer", "parametrization": self.parametrization, "width": str(self.width)}


def transfer_runs() -> Iterator[TransferRun]:
    """Yield the runs: AdamW on `micro` with two layers, 300 updates, one seed, widths 16 to 128."""
    for (parametrization, width), rates in RATES.items():
        base: dict[str, Any] = {} if parametrization == "standard" else {"mup_base_width": BASE_WIDTH}
        for lr in rates:
            run = micro("adamw", heads=width // 16, num_layers=NUM_LAYERS, total_steps=TOTAL_STEPS, lr=lr)
            config = dataclasses.replace(
                run,
                model=dataclasses.replace(run.model, **base),  # type: ignore[type-var]
                evaluation=EvaluationConfig(interval=TOTAL_STEPS, batches=16, batch_size=32),
            )
            yield TransferRun(parametrization=parametrization, width=width, config=config)
