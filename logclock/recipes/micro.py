"""What can one CPU core show in seconds? A model so small that horizons, learning rates and seeds can be swept."""

from logclock.models import EnokiConfig
from logclock.recipes.demo import BATCH_SIZE, HEAD_DIM, SEQUENCE_LENGTH, cpu_peak_lr, cpu_run
from logclock.recipes.variants import get_variant
from logclock.train.config import RunConfig

__all__ = ["micro"]

HEADS = 2
"""Width 32. With one layer and 512 words D is 45,056: `essentials` has 160 tokens for each without a repetition.

An update takes about 4 ms on a quiet core, 1.8 of which are calls from Python that no smaller model saves; vocabularies
of 1024 and 2048 cost 1.2 and 2.1 times as much, a second layer 1.5 times (`benchmarks/micro_sizes.py`).
"""


def micro(
    optimizer: str,
    *,
    heads: int = HEADS,
    seed: int = 0,
    total_steps: int | None = None,
    tokens_per_param: float = 20.0,
    num_layers: int = 1,
    vocab_size: int = 512,
    batch_size: int = BATCH_SIZE,
    sequence_length: int = SEQUENCE_LENGTH,
    lr: float | None = None,
    kappa: float | None = None,
) -> RunConfig:
    """Enoki of width 32 on real English text, seconds on a CPU: for sweeps over horizons, learning rates and seeds.

    Everything that is not a dial is as in `demo`.

    Args:
        optimizer: A name of `variants.VARIANTS`.
        heads: The size; the width is 16 heads.
        seed: Seed of the initial weights and of the data order.
        total_steps: Updates; None for what `tokens_per_param` asks for.
        tokens_per_param: The horizon, in tokens for each of the D parameters.
        num_layers: L.
        vocab_size: Words of the model and of the dataset, which is made if it is missing.
        batch_size: Sequences per update.
        sequence_length: Tokens per sequence.
        lr: Peak learning rate; None for the demo's, scaled to this size. The best one moves with the horizon: sweep it.
        kappa: Damping exponent, for an optimizer that has one; the ADANA paper's if None.
    """
    variant = get_variant(optimizer)
    model = EnokiConfig(heads=heads, head_dim=HEAD_DIM, num_layers=num_layers, vocab_size=vocab_size)
    if total_steps is None:
        total_steps = model.size().steps_for(tokens_per_step=batch_size * sequence_length, ratio=tokens_per_param)
    lr = cpu_peak_lr(variant, model=model) if lr is None else lr
    return cpu_run(
        variant.build(total_steps, lr=lr, kappa=kappa),
        model=model,
        total_steps=total_steps,
        seed=seed,
        batch_size=batch_size,
        sequence_length=sequence_length,
        evaluations=10,
    )
