"""What can two CPU cores say about growth with size in an afternoon? Sizes, runs and search of the micro ladder."""

from logclock.models import EnokiConfig
from logclock.recipes.conventions import check_variant, study_optimizer, study_rest_optimizer
from logclock.recipes.demo import BATCH_SIZE, SEQUENCE_LENGTH, cpu_peak_lr, cpu_run
from logclock.sweep import Axis
from logclock.train.config import RunConfig

__all__ = ["OPTIMIZERS", "SIZES", "ladder", "search_space"]

SIZES = (2, 3, 4, 5, 6)
"""Numbers of heads: 7 k to 249 k non-embedding parameters, 2.6 decades of compute by 6 P."""

OPTIMIZERS = ("adamw", "adamw-log-time-decay", "adana", "dana-star-mk4", "ademamix-log-time-decay", "muon")
"""What the ladder compares where it exists; the first is the baseline."""

HEAD_DIM = 12
"""Half the cost of the demo's 16, so that six optimizers can be tuned at five sizes in an afternoon."""

VOCAB_SIZE = 512
"""Small, so that D is not all vocabulary: at 4 heads P is 63 % of D; with the demo's 2048 words it would be 30 %."""

TOKENS_PER_PARAM = 20.0


def ladder(optimizer: str, *, heads: int = 4, seed: int = 0, total_steps: int | None = None) -> RunConfig:
    """An Enoki of the micro ladder: the demo with heads of 12, the study's depth floor(3 heads / 4), and 512 words.

    The demo's learning rates follow P^-0.6; the ladder's search moves its grid where this is not right.

    Args:
        optimizer: A name of `conventions.VARIANTS`.
        heads: The size; the width is 12 heads.
        seed: Seed of the initial weights and of the data order.
        total_steps: Updates; None for 20 tokens per total parameter, in batches of 8 x 64.
    """
    check_variant(optimizer)
    model = EnokiConfig(heads=heads, head_dim=HEAD_DIM, vocab_size=VOCAB_SIZE)
    if total_steps is None:
        total_steps = model.size().steps_for(tokens_per_step=BATCH_SIZE * SEQUENCE_LENGTH, ratio=TOKENS_PER_PARAM)
    lr = cpu_peak_lr(optimizer, model=model)
    return cpu_run(
        study_optimizer(optimizer, lr=lr, total_steps=total_steps),
        rest=study_rest_optimizer(optimizer, lr=lr, total_steps=total_steps),
        model=model,
        total_steps=total_steps,
        seed=seed,
    )


def search_space(config: RunConfig) -> tuple[Axis, ...]:
    """Return what `logclock ladder --search full` tries beside the learning rate, by what the optimizer has.

    | setting | tried | of |
    |---|---|---|
    | `optimizer.weight_decay` | half and twice the recipe's, whatever its schedule | every optimizer with decay |
    | `optimizer.kappa` | 0.75 and 0.9; the study found 0.75 to 0.9 to work | the ADANA family with its own gain |

    Every optimizer gets as many runs as the one with the most values; see `Search`.

    Args:
        config: A run of the optimizer.
    """
    axes = []
    optimizer = config.optimizer
    if getattr(optimizer, "weight_decay", 0.0) != 0.0:
        axes.append(Axis(path="optimizer.weight_decay", values=("x0.5", "x2")))
    kappa = getattr(optimizer, "kappa", None)
    if kappa is not None and getattr(optimizer, "gain", None) is None:  # a given gain leaves kappa without effect
        axes.append(Axis(path="optimizer.kappa", values=tuple(f"{value:g}" for value in (0.75, 0.9) if value != kappa)))
    return tuple(axes)
