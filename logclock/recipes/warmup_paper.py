"""How were the runs with manual warm-ups in the adaptive warm-up study set up?

References: Riabinin et al. 2026, arXiv:2602.05813, released scripts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from logclock.config.registry import suggestion
from logclock.models import LlamaConfig
from logclock.recipes.adana_paper import DATASET
from logclock.rules import Spec
from logclock.schedules import Cosine
from logclock.train.config import DataConfig, EvaluationConfig, ExecutionConfig, Optimizers, RunConfig

__all__ = ["SETTINGS", "WarmupSetting", "warmup_paper"]

TOTAL_STEPS = 64_000
"""1.05 billion tokens; the study's longer runs had twice as many."""

FLOOR = 1e-4
"""Where the cosine ends, as a fraction of where the warm-up starts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupSetting:
    """What the study chose for one optimizer at 124 M parameters and batches of 32 x 512 tokens.

    Args:
        lr: Peak learning rate.
        div: The warm-up starts at lr / div, and the run ends at lr / (div 1e4).
        warmup_steps: The best manual warm-up of the study's grid at 64,000 updates.
        options: Fields of the optimizer's spec that differ from its defaults.
    """

    lr: float
    div: float
    warmup_steps: int
    options: Mapping[str, Any]


SETTINGS: dict[str, WarmupSetting] = {
    "adamw": WarmupSetting(lr=1e-3, div=100, warmup_steps=2000, options={"ema1": 0.2, "ema2": 0.001}),
    "lion": WarmupSetting(lr=1e-3, div=100, warmup_steps=16_000, options={"ema1": 0.1, "ema2": 0.01}),
    "muon": WarmupSetting(
        lr=1e-3,
        div=100,
        warmup_steps=2000,
        options={"scale_rule": "match_rms_adamw", "iteration_dtype": "bfloat16"},
    ),
    "normsgd": WarmupSetting(lr=1e-2, div=2, warmup_steps=200, options={}),
}
"""By registered name of the optimizer.

`adamw` was no optimizer of the study: it has the settings of the AdamW that trained what its Muon did not, and does so
here. Lion's best warm-up is the edge of its grid; below about 12,000 updates it did not train.
"""


def warmup_paper(
    optimizer: str,
    *,
    heads: int = 12,
    seed: int = 0,
    total_steps: int | None = None,
    num_layers: int | None = None,
    warmup_steps: int | None = None,
) -> RunConfig:
    """LLaMA-like models on FineWeb with manual warm-ups, 16,384 tokens per update; needs an accelerator.

    The learning rate rises along half a cosine from lr / div to lr and falls along another to lr / (div 1e4). Weight
    decay is 0.1, coupled; the gradient norm is at most 0.5. The dataset is that of `adana_paper`.

    Deviations: torch's one-cycle schedule, which the study used, has its peak and its end one update earlier; the study
    held out other documents, and reported the loss on all of them.

    Args:
        optimizer: A name of `SETTINGS`.
        heads: The size; the study had 12, with 12 layers (124 M parameters) or 24.
        seed: Seed of the initial weights and of the data order.
        total_steps: Updates; None for 64,000.
        num_layers: L; None for as many as heads.
        warmup_steps: Length of the warm-up; None for the study's best, as a share of `total_steps`.

    Raises:
        ValueError: The study has no settings for the optimizer.
    """
    if optimizer not in SETTINGS:
        hint = suggestion(optimizer, SETTINGS)
        raise ValueError(f"unknown optimizer {optimizer!r}.{hint} warmup_paper knows: {', '.join(SETTINGS)}.")
    setting = SETTINGS[optimizer]
    steps = TOTAL_STEPS if total_steps is None else total_steps
    spec = _spec(optimizer)
    return RunConfig(
        model=LlamaConfig(heads=heads, num_layers=num_layers),
        data=DataConfig(dataset=DATASET, batch_size=32, sequence_length=512),
        optimizer=Optimizers(spec, _spec("adamw") if spec.matrices_only else None),
        lr_schedule=Cosine(
            total_steps=steps,
            warmup_steps=setting.warmup_steps * steps // TOTAL_STEPS if warmup_steps is None else warmup_steps,
            warmup_start=1 / setting.div,
            warmup_shape="cosine",
            final=FLOOR / setting.div,
        ),
        total_steps=steps,
        seed=seed,
        grad_clip=0.5,
        evaluation=EvaluationConfig(interval=115, batches=32),
        execution=ExecutionConfig(compile_model=True),
    )


def _spec(optimizer: str) -> Spec:
    setting = SETTINGS[optimizer]
    spec: Spec = Spec.family.get(optimizer)(
        lr=setting.lr, weight_decay=0.1, decay_coupling="coupled", decay_order="before", **setting.options
    )
    return spec
