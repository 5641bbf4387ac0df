"""What can two CPU cores show in six minutes?"""

from logclock.models import EnokiConfig
from logclock.recipes.protocol import GRAD_CLIP, study_schedule
from logclock.recipes.variants import Variant, get_variant
from logclock.rules import Spec
from logclock.train.config import DataConfig, EvaluationConfig, ExecutionConfig, Optimizers, RunConfig

__all__ = ["BATCH_SIZE", "HEAD_DIM", "SEQUENCE_LENGTH", "cpu_peak_lr", "cpu_run", "demo"]

TOTAL_STEPS = 5000
"""Many small steps rather than few large ones: a memory that grows with t needs a t to grow with."""

BATCH_SIZE = 8
SEQUENCE_LENGTH = 64

HEADS = 4
HEAD_DIM = 16
"""Width 64: small enough for a step of some 20 ms on one core."""


def demo(optimizer: str, *, heads: int = HEADS, seed: int = 0, total_steps: int | None = None) -> RunConfig:
    """A micro Enoki on real English text (`essentials`), minutes on a CPU.

    Settings of the ADANA paper: 2 % warm-up, cosine to 10 %, gradient norm at most 0.5, omega 4 (constant decay
    omega / T for AdamW and what stands in its place, log-time decay with offset T / 10 for ADANA's family, unless the
    name says otherwise), delta 8, kappa 0.85 (AdEMAMix 0.75).

    Args:
        optimizer: A name of `variants.VARIANTS`.
        heads: The size. Learning rates were set at 4 heads and follow P^-0.6 from there, about the paper's exponent.
        seed: Seed of the initial weights and of the data order.
        total_steps: Updates; None for what fits in six minutes.
    """
    variant = get_variant(optimizer)
    steps = TOTAL_STEPS if total_steps is None else total_steps
    model = _model(heads)
    return cpu_run(
        variant.build(steps, lr=cpu_peak_lr(variant, model=model)), model=model, total_steps=steps, seed=seed
    )


def cpu_peak_lr(variant: Variant, *, model: EnokiConfig) -> float:
    """Return a variant's peak learning rate for the demo, scaled by P^-0.6 from the demo's model to another.

    The ADANA paper's rules are fitted to P from 7 M on and end far from 0.1 M. On the micro ladder (512 words, heads of
    12) the best rates from P = 83 k on are twice these (Muon) and 2.8 times (AdEMAMix with log-time decay).

    Args:
        variant: The optimizer.
        model: A model of about the demo's size.
    """
    growth = model.size().non_embedding_params / _model(HEADS).size().non_embedding_params
    lr: float = variant.rate("demo") * growth**-0.6
    return lr


def cpu_run(
    optimizer: Spec | Optimizers,
    *,
    model: EnokiConfig,
    total_steps: int,
    seed: int,
    batch_size: int = BATCH_SIZE,
    sequence_length: int = SEQUENCE_LENGTH,
    evaluations: int = 20,
) -> RunConfig:
    """Return a run on `essentials` with the model's vocabulary, and the ADANA paper's schedule and clipping.

    Args:
        optimizer: The optimizer, or the pair of that of hidden matrices and that of the rest.
        model: The model; its vocabulary names the dataset.
        total_steps: Updates.
        seed: Seed of the initial weights and of the data order.
        batch_size: Sequences per update.
        sequence_length: Tokens per sequence.
        evaluations: How often the validation loss is measured in the run; each costs about as much as 30 updates.
    """
    return RunConfig(
        model=model,
        data=DataConfig(
            dataset=f"essentials-bpe-{model.vocab_size}", batch_size=batch_size, sequence_length=sequence_length
        ),
        optimizer=optimizer,
        lr_schedule=study_schedule(total_steps),
        total_steps=total_steps,
        seed=seed,
        grad_clip=GRAD_CLIP,
        evaluation=EvaluationConfig(interval=max(total_steps // evaluations, 1), batches=16, batch_size=32),
        log_interval=20,
        execution=ExecutionConfig(checkpoint_interval=500),
    )


def _model(heads: int) -> EnokiConfig:
    return EnokiConfig(heads=heads, head_dim=HEAD_DIM, num_layers=max(heads // 2, 1), vocab_size=2048)
