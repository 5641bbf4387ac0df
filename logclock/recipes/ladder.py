"""What can two CPU cores say about growth with size in an afternoon? Sizes and runs of the micro ladder."""

from logclock.models import EnokiConfig
from logclock.recipes.demo import BATCH_SIZE, SEQUENCE_LENGTH, cpu_peak_lr, cpu_run
from logclock.recipes.variants import get_variant
from logclock.train.config import RunConfig

__all__ = ["OPTIMIZERS", "SIZES", "ladder", "ladder_model"]

SIZES = (2, 3, 4, 5, 6)
"""Numbers of heads: 7 k to 249 k non-embedding parameters, 2.6 decades of compute by 6 P."""

OPTIMIZERS = ("adamw", "adamw-log-time-decay", "adana", "dana-star-mk4", "ademamix-log-time-decay", "muon")
"""What the ladder compares; the first is the baseline."""

HEAD_DIM = 12
"""Half the cost of the demo's 16, so that six optimizers can be tuned at five sizes in an afternoon."""

VOCAB_SIZE = 512
"""Small, so that D is not all vocabulary: at 4 heads P is 63 % of D; with the demo's 2048 words it would be 30 %."""

TOKENS_PER_PARAM = 20.0


def ladder_model(heads: int) -> EnokiConfig:
    """Return the model of a size: heads of 12, the paper's depth floor(3 heads / 4), and 512 words."""
    return EnokiConfig(heads=heads, head_dim=HEAD_DIM, vocab_size=VOCAB_SIZE)


def ladder(optimizer: str, *, heads: int = 4, seed: int = 0, total_steps: int | None = None) -> RunConfig:
    """An Enoki of the micro ladder: the demo with heads of 12, the paper's depth floor(3 heads / 4), and 512 words.

    The demo's learning rates follow P^-0.6; the ladder's search moves its grid where this is not right.

    Args:
        optimizer: A name of `variants.VARIANTS`.
        heads: The size; the width is 12 heads.
        seed: Seed of the initial weights and of the data order.
        total_steps: Updates; None for 20 tokens per total parameter, in batches of 8 x 64.
    """
    variant = get_variant(optimizer)
    model = ladder_model(heads)
    if total_steps is None:
        total_steps = model.size().steps_for(tokens_per_step=BATCH_SIZE * SEQUENCE_LENGTH, ratio=TOKENS_PER_PARAM)
    optimizers = variant.build(total_steps, lr=cpu_peak_lr(variant, model=model))
    return cpu_run(optimizers, model=model, total_steps=total_steps, seed=seed)
