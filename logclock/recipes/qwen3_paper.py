"""How were the study's Qwen3 runs set up, at any size of their ladder?"""

import dataclasses

from logclock.algorithms import AdanaSpec
from logclock.models import Qwen3Config
from logclock.recipes.adana_paper import LrRules, paper_run, paper_steps, peak_lr
from logclock.recipes.conventions import check_variant, study_optimizer
from logclock.train.config import RunConfig

__all__ = ["qwen3_paper"]

LR_RULES: LrRules = {
    ("adamw", None): (2.16e4, 7.20e4, -0.873),
    ("adana", 0.85): (3.17, 3.99e4, -0.553),
    ("dana-mk4", 0.85): (1.20, 3.44e4, -0.501),
    ("dana-star-mk4", 0.85): (93.9, 1.71e4, -0.701),
}
"""(a, b, d) of peak_lr = a (b + P)^d at batches of 32 x 2048 tokens, by optimizer and kappa; the study's fits."""


def qwen3_paper(
    optimizer: str, *, heads: int = 4, seed: int = 0, total_steps: int | None = None, kappa: float | None = None
) -> RunConfig:
    """Qwen3-like models on FineWeb with the study's learning-rate rules for them; needs an accelerator.

    Data, batch and schedules are those of `adana_paper`. P counts the 14 d^2 parameters of a layer with its gate and
    SwiGLU. The released table of scaling rules counts 12 d^2: a trap, from which come shorter runs and larger rates.

    What the study calls ADANA on these models were runs of Dana-MK4 with a clip of 1000, which cannot bind: both
    averages have the same weights, so abs(m) <= sqrt(v), and the gain stays below 8. That is ADANA with 1 added to the
    gain and decay after the update. The learning-rate rule belongs to this form, so the recipe has it.

    Args:
        optimizer: A name of `conventions.VARIANTS` for which the study fitted a rule: adamw, adana, dana-mk4 or
            dana-star-mk4.
        heads: The size; the published ladder is 2 to 12, and 14.
        seed: Seed of the initial weights and of the data order.
        total_steps: Updates; None for floor(20 D / 65536).
        kappa: Damping exponent, where the optimizer has one; the study's if None.

    Raises:
        ValueError: The study fitted no rule for the optimizer.
    """
    check_variant(optimizer)
    model = Qwen3Config(heads=heads)
    steps = paper_steps(model) if total_steps is None else total_steps
    lr = peak_lr(optimizer, non_embedding_params=model.size().non_embedding_params, kappa=kappa, rules=LR_RULES)
    spec = study_optimizer(optimizer, lr=lr, total_steps=steps, kappa=kappa)
    if isinstance(spec, AdanaSpec):
        spec = dataclasses.replace(spec, gain_offset=1.0, decay_order="after")
    return paper_run(spec, model=model, total_steps=steps, seed=seed)
