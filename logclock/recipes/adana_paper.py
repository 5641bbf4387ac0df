"""How were the study's Enoki runs set up, at any size of the ladder?"""

from collections.abc import Mapping

from logclock.analysis import LrRule
from logclock.models import EnokiConfig, ModelConfig
from logclock.recipes.conventions import (
    GRAD_CLIP,
    check_variant,
    default_kappa,
    study_optimizer,
    study_rest_optimizer,
    study_schedule,
)
from logclock.rules import Spec
from logclock.train.config import DataConfig, EvaluationConfig, ExecutionConfig, RunConfig

__all__ = ["DATASET", "LrRules", "adana_paper", "paper_run", "paper_steps", "peak_lr"]

DATASET = "fineweb-gpt2-50257"
"""FineWeb sample-100BT under GPT-2's tokenizer; `adana_paper` says how it is made."""

BATCH_SIZE = 32
SEQUENCE_LENGTH = 2048

LrRules = Mapping[tuple[str, float | None], tuple[float, float, float]]

LR_RULES: LrRules = {
    ("adamw", None): (12.8, 1.67e4, -0.515),
    ("adamw-log-time-decay", None): (65.7, 9.83e3, -0.608),
    ("ademamix", 0.75): (4.51, 6.71e3, -0.503),
    ("ademamix-log-time-decay", 0.75): (7.28, 8.43e3, -0.525),
    ("adana", 0.75): (12.7, 9.55e3, -0.624),
    ("adana", 0.80): (17.6, 3.66e4, -0.624),
    ("adana", 0.85): (22.5, 1.22e5, -0.618),
    ("adana", 0.90): (68.9, 2.95e4, -0.667),
    ("dana-mk4", 0.75): (56.0, 5.71e3, -0.708),
    ("dana-mk4", 0.85): (23.0, 1.46e4, -0.627),
    ("dana-star", 0.75): (41.0, 3.03e4, -0.661),
    ("dana-star", 0.85): (223.0, 2.40e6, -0.724),
    ("dana-star-mk4", 0.75): (41.0, 3.03e4, -0.661),
    ("dana-star-mk4", 0.85): (223.0, 2.40e6, -0.724),
    ("muon", None): (2.19, 5.64e4, -0.417),
}
"""(a, b, d) of peak_lr = a (b + P)^d at batches of 32 x 2048 tokens, by optimizer and kappa; the study's fits."""


def peak_lr(
    optimizer: str, *, non_embedding_params: int, kappa: float | None = None, rules: LrRules = LR_RULES
) -> float:
    """Return the study's peak learning rate a (b + P)^d.

    Args:
        optimizer: A name of `conventions.VARIANTS`.
        non_embedding_params: P.
        kappa: Damping exponent, where the optimizer has one; the study's if None.
        rules: The fits for a family of models; Enoki's unless said otherwise.

    Raises:
        ValueError: The study fitted no rule for it.
    """
    kappa = default_kappa(optimizer) if kappa is None else kappa
    rule = rules.get((optimizer, None)) or rules.get((optimizer, kappa))
    if rule is None:
        known = ", ".join(name if k is None else f"{name} at kappa {k:g}" for name, k in rules)
        advice = "Give another optimizer a rate of your own with conventions.study_optimizer."
        raise ValueError(
            f"the study has no learning-rate rule for {optimizer!r} at kappa {kappa:g}. Known: {known}. {advice}"
        )
    a, b, d = rule
    return LrRule(a=a, b=b, d=d)(non_embedding_params)


def adana_paper(
    optimizer: str, *, heads: int = 6, seed: int = 0, total_steps: int | None = None, kappa: float | None = None
) -> RunConfig:
    """Enoki on FineWeb with the study's learning-rate rules, 20 tokens per parameter; needs an accelerator.

    Prepare the data once, with GPT-2's tokenizer.json:
        logclock data prepare HuggingFaceFW/fineweb ~/.cache/logclock/datasets/fineweb-gpt2-50257
            --subset sample-100BT --tokenizer tokenizer.json

    Deviations: one validation set throughout, of about the study's size (1 M tokens), where the study used half of its
    own during training and all of it at the end.

    Args:
        optimizer: A name of `conventions.VARIANTS` for which the study fitted a learning rate.
        heads: The size; the published ladder is 6 to 24 in steps of 2 and, sparser, up to 44.
        seed: Seed of the initial weights and of the data order.
        total_steps: Updates; None for floor(20 D / 65536).
        kappa: Damping exponent, where the optimizer has one; the study's if None.

    Raises:
        ValueError: The study fitted no learning rate for this optimizer.
    """
    check_variant(optimizer)
    model = EnokiConfig(heads=heads)
    steps = paper_steps(model) if total_steps is None else total_steps
    lr = peak_lr(optimizer, non_embedding_params=model.size().non_embedding_params, kappa=kappa)
    spec = study_optimizer(optimizer, lr=lr, total_steps=steps, kappa=kappa)
    rest = study_rest_optimizer(optimizer, lr=lr, total_steps=steps, kappa=kappa)
    return paper_run(spec, rest=rest, model=model, total_steps=steps, seed=seed)


def paper_steps(model: ModelConfig) -> int:
    """Return the study's length of a run, floor(20 D / 65536) updates."""
    return model.size().steps_for(tokens_per_step=BATCH_SIZE * SEQUENCE_LENGTH)


def paper_run(spec: Spec, *, rest: Spec | None = None, model: ModelConfig, total_steps: int, seed: int) -> RunConfig:
    """Return a run of the study's protocol, which is that of every model.

    Args:
        spec: The optimizer.
        rest: The optimizer of everything but hidden matrices, if `spec` takes those only.
        model: The model.
        total_steps: Updates.
        seed: Seed of the initial weights and of the data order.
    """
    return RunConfig(
        model=model,
        data=DataConfig(dataset=DATASET, batch_size=BATCH_SIZE, sequence_length=SEQUENCE_LENGTH),
        optimizer=spec,
        rest_optimizer=rest,
        lr_schedule=study_schedule(total_steps),
        total_steps=total_steps,
        seed=seed,
        grad_clip=GRAD_CLIP,
        accumulation_steps=4,  # logits of 8 x 2048 tokens are 3.3 GB in float32, of the whole batch 13 GB
        evaluation=EvaluationConfig(interval=115, batches=64, batch_size=8),
        execution=ExecutionConfig(compile_model=True),
    )
