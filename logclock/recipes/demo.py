"""What can two CPU cores show in six minutes?"""

from logclock.models import EnokiConfig
from logclock.recipes.conventions import GRAD_CLIP, check_variant, study_optimizer, study_rest_optimizer, study_schedule
from logclock.rules import Spec
from logclock.train.config import DataConfig, EvaluationConfig, ExecutionConfig, RunConfig

__all__ = ["BATCH_SIZE", "HEAD_DIM", "SEQUENCE_LENGTH", "cpu_peak_lr", "cpu_run", "demo"]

TOTAL_STEPS = 5000
"""Many small steps rather than few large ones: a memory that grows with t needs a t to grow with."""

BATCH_SIZE = 8
SEQUENCE_LENGTH = 64

HEADS = 4
HEAD_DIM = 16
"""Width 64: small enough for a step of some 20 ms on one core."""

PEAK_LR = {
    "adamw": 8e-3,
    "adamw-log-time-decay": 8e-3,
    "adamw-strong-decay": 8e-3,
    "adamw-early-decay": 8e-3,
    "nadamw": 8e-3,
    "laprop": 8e-3,
    "lion": 8e-4,
    "signum": 8e-4,
    "ademamix": 4.5e-3,
    "ademamix-log-time-decay": 2e-3,
    "log-adam": 8e-3,
    "log-adam-nesterov": 2.5e-3,
    "muon": 5e-3,
    "muon-adana": 8e-3,
    "muon-dana-star-mk4": 8e-3,
    "soap": 8e-3,
    "normsgd": 5e-2,
    "adana": 2.5e-3,
    "adana-frozen-gain": 2.5e-3,
    "adana-constant-ema2": 2.5e-3,
    "adana-undamped": 2.5e-3,
    "adana-plus-one": 2.5e-3,
    "adana-constant-decay": 2.5e-3,
    "adana-early-decay": 2.5e-3,
    "dana-mk4": 2.5e-3,
    "dana-star": 4e-3,
    "dana-star-mk4": 4e-3,
}
"""Peak learning rates at this size; the study's rules are fitted to P from 7 M on and end far from 0.1 M.

For `adamw`, `adana` and `dana-star-mk4` near the minimum of a parabola in ln(lr) through full-length runs at three
rates, a factor 2 apart, with the best in the middle or (ADANA) 0.004 nats from it; see experiments/LOG.md. For `muon`
and `ademamix-log-time-decay` the best of four rates at P = 12 k, 20 tokens per parameter, times (98 k / 12 k)^-0.6;
on the micro ladder (512 words, heads of 12) the best from P = 83 k on are twice (Muon) and 2.8 times (AdEMAMix) that.
The others are not measured: they take the rate of their nearest relative, the two that take signs a tenth of AdamW's,
AdEMAMix one between AdamW's and ADANA's, and NormSGD's is the length of an update, not the size of its elements.
"""


def demo(optimizer: str, *, heads: int = HEADS, seed: int = 0, total_steps: int | None = None) -> RunConfig:
    """A micro Enoki on real English text (`essentials`), minutes on a CPU.

    Conventions of the study: 2 % warm-up, cosine to 10 %, gradient norm at most 0.5, omega 4 (constant decay omega / T
    for AdamW and what stands in its place, log-time decay with offset T / 10 for ADANA's family, unless the name says
    otherwise), delta 8, kappa 0.85 (AdEMAMix 0.75).

    Args:
        optimizer: A name of `conventions.VARIANTS`.
        heads: The size. Learning rates were set at 4 heads and follow P^-0.6 from there, about the study's exponent.
        seed: Seed of the initial weights and of the data order.
        total_steps: Updates; None for what fits in six minutes.
    """
    check_variant(optimizer)
    steps = TOTAL_STEPS if total_steps is None else total_steps
    model = _model(heads)
    lr = cpu_peak_lr(optimizer, model=model)
    spec = study_optimizer(optimizer, lr=lr, total_steps=steps)
    rest = study_rest_optimizer(optimizer, lr=lr, total_steps=steps)
    return cpu_run(spec, rest=rest, model=model, total_steps=steps, seed=seed)


def cpu_peak_lr(optimizer: str, *, model: EnokiConfig) -> float:
    """Return the peak learning rate of `PEAK_LR`, scaled by P^-0.6 from the demo's model to another.

    Args:
        optimizer: A name of `conventions.VARIANTS`.
        model: A model of about the demo's size.
    """
    growth = model.size().non_embedding_params / _model(HEADS).size().non_embedding_params
    lr: float = PEAK_LR[optimizer] * growth**-0.6
    return lr


def cpu_run(
    spec: Spec,
    *,
    rest: Spec | None = None,
    model: EnokiConfig,
    total_steps: int,
    seed: int,
    batch_size: int = BATCH_SIZE,
    sequence_length: int = SEQUENCE_LENGTH,
    evaluations: int = 20,
) -> RunConfig:
    """Return a run on `essentials` with the model's vocabulary, the study's schedule and clipping.

    Args:
        spec: The optimizer.
        rest: The optimizer of everything but hidden matrices, if `spec` takes those only.
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
        optimizer=spec,
        rest_optimizer=rest,
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
