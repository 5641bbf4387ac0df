"""How were the ADANA paper's Enoki runs set up, at any size of the ladder?"""

from logclock.models import EnokiConfig, ModelConfig
from logclock.recipes.protocol import GRAD_CLIP, study_schedule
from logclock.recipes.variants import get_variant
from logclock.rules import Spec
from logclock.train.config import DataConfig, EvaluationConfig, ExecutionConfig, Optimizers, RunConfig

__all__ = ["DATASET", "adana_paper", "paper_run", "paper_steps"]

DATASET = "fineweb-gpt2-50257"
"""FineWeb sample-100BT under GPT-2's tokenizer; `adana_paper` says how it is made."""

BATCH_SIZE = 32
SEQUENCE_LENGTH = 2048


def adana_paper(
    optimizer: str, *, heads: int = 6, seed: int = 0, total_steps: int | None = None, kappa: float | None = None
) -> RunConfig:
    """Enoki on FineWeb with the paper's learning-rate rules, 20 tokens per parameter; needs an accelerator.

    Prepare the data once, with GPT-2's tokenizer.json:
        logclock data prepare HuggingFaceFW/fineweb ~/.cache/logclock/datasets/fineweb-gpt2-50257
            --subset sample-100BT --tokenizer tokenizer.json

    Deviations: one validation set throughout, of about the paper's size (1 M tokens), where the paper used half of its
    own during training and all of it at the end.

    Args:
        optimizer: A name of `variants.VARIANTS` for which the paper fitted a learning rate.
        heads: The size; the published ladder is 6 to 24 in steps of 2 and, sparser, up to 44.
        seed: Seed of the initial weights and of the data order.
        total_steps: Updates; None for floor(20 D / 65536).
        kappa: Damping exponent, for an optimizer that has one; the paper's if None.

    Raises:
        ValueError: The paper fitted no learning rate for this optimizer, or it has no kappa.
    """
    variant = get_variant(optimizer)
    model = EnokiConfig(heads=heads)
    steps = paper_steps(model) if total_steps is None else total_steps
    params = model.size().non_embedding_params
    lr = variant.fitted_rate("adana_paper", non_embedding_params=params, kappa=kappa)
    return paper_run(variant.build(steps, lr=lr, kappa=kappa), model=model, total_steps=steps, seed=seed)


def paper_steps(model: ModelConfig) -> int:
    """Return the paper's length of a run, floor(20 D / 65536) updates."""
    return model.size().steps_for(tokens_per_step=BATCH_SIZE * SEQUENCE_LENGTH)


def paper_run(optimizer: Spec | Optimizers, *, model: ModelConfig, total_steps: int, seed: int) -> RunConfig:
    """Return a run of the paper's protocol, which is that of every model.

    Args:
        optimizer: The optimizer, or the pair of that of hidden matrices and that of the rest.
        model: The model.
        total_steps: Updates.
        seed: Seed of the initial weights and of the data order.
    """
    return RunConfig(
        model=model,
        data=DataConfig(dataset=DATASET, batch_size=BATCH_SIZE, sequence_length=SEQUENCE_LENGTH),
        optimizer=optimizer,
        lr_schedule=study_schedule(total_steps),
        total_steps=total_steps,
        seed=seed,
        grad_clip=GRAD_CLIP,
        accumulation_steps=4,  # logits of 8 x 2048 tokens are 3.3 GB in float32, of the whole batch 13 GB
        evaluation=EvaluationConfig(interval=115, batches=64, batch_size=8),
        execution=ExecutionConfig(compile_model=True),
    )
