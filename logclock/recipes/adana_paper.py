"""How were the study's Enoki runs set up, at any size of the ladder?"""

from logclock.analysis import LrRule
from logclock.models import EnokiConfig
from logclock.recipes.conventions import GRAD_CLIP, KAPPA, check_variant, study_optimizer, study_schedule
from logclock.train.config import DataConfig, EvaluationConfig, ExecutionConfig, RunConfig

__all__ = ["adana_paper", "peak_lr"]

BATCH_SIZE = 32
SEQUENCE_LENGTH = 2048

LR_RULES: dict[tuple[str, float | None], tuple[float, float, float]] = {
    ("adamw", None): (12.8, 1.67e4, -0.515),
    ("adamw-log-time-decay", None): (65.7, 9.83e3, -0.608),
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
}
"""(a, b, d) of peak_lr = a (b + P)^d at batches of 32 x 2048 tokens, by optimizer and kappa; the study's fits."""


def peak_lr(optimizer: str, *, non_embedding_params: int, kappa: float = KAPPA) -> float:
    """Return the study's peak learning rate a (b + P)^d.

    Args:
        optimizer: A name of `conventions.VARIANTS`.
        non_embedding_params: P.
        kappa: Damping exponent, where the optimizer has one.

    Raises:
        ValueError: The study fitted no rule for it.
    """
    rule = LR_RULES.get((optimizer, None)) or LR_RULES.get((optimizer, kappa))
    if rule is None:
        known = ", ".join(name if k is None else f"{name} at kappa {k:g}" for name, k in LR_RULES)
        raise ValueError(f"the study has no learning-rate rule for {optimizer!r} at kappa {kappa:g}. Known: {known}.")
    a, b, d = rule
    return LrRule(a=a, b=b, d=d)(non_embedding_params)


def adana_paper(
    optimizer: str, *, heads: int = 6, seed: int = 0, total_steps: int | None = None, kappa: float = KAPPA
) -> RunConfig:
    """Enoki on FineWeb with the study's learning-rate rules, 20 tokens per parameter; needs an accelerator.

    Prepare the data once, with GPT-2's tokenizer.json:
        logclock data prepare HuggingFaceFW/fineweb ~/.cache/logclock/datasets/fineweb-gpt2-50257
            --subset sample-100BT --tokenizer tokenizer.json

    Deviations: one validation set throughout, of about the study's size (1 M tokens), where the study used half of its
    own during training and all of it at the end.

    Args:
        optimizer: A name of `conventions.VARIANTS`.
        heads: The size; the published ladder is 6 to 24 in steps of 2 and, sparser, up to 44.
        seed: Seed of the initial weights and of the data order.
        total_steps: Updates; None for floor(20 D / 65536).
        kappa: Damping exponent, where the optimizer has one.
    """
    check_variant(optimizer)
    model = EnokiConfig(heads=heads)
    size = model.size()
    steps = size.steps_for(tokens_per_step=BATCH_SIZE * SEQUENCE_LENGTH) if total_steps is None else total_steps
    lr = peak_lr(optimizer, non_embedding_params=size.non_embedding_params, kappa=kappa)
    return RunConfig(
        model=model,
        data=DataConfig(dataset="fineweb-gpt2-50257", batch_size=BATCH_SIZE, sequence_length=SEQUENCE_LENGTH),
        optimizer=study_optimizer(optimizer, lr=lr, total_steps=steps, kappa=kappa),
        lr_schedule=study_schedule(steps),
        total_steps=steps,
        seed=seed,
        grad_clip=GRAD_CLIP,
        accumulation_steps=4,  # logits of 8 x 2048 tokens are 3.3 GB in float32, of the whole batch 13 GB
        evaluation=EvaluationConfig(interval=115, batches=64, batch_size=8),
        execution=ExecutionConfig(compile_model=True),
    )
