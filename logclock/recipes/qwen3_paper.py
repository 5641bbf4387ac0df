"""How were the ADANA paper's Qwen3 runs set up, at any size of their ladder?"""

import dataclasses

from logclock.algorithms import AdanaSpec
from logclock.models import Qwen3Config
from logclock.recipes.adana_paper import paper_run, paper_steps
from logclock.recipes.variants import get_variant
from logclock.train.config import Optimizers, RunConfig

__all__ = ["qwen3_paper"]


def qwen3_paper(
    optimizer: str, *, heads: int = 4, seed: int = 0, total_steps: int | None = None, kappa: float | None = None
) -> RunConfig:
    """Qwen3-like models on FineWeb with the paper's learning-rate rules for them; needs an accelerator.

    Data, batch and schedules are those of `adana_paper`. P counts the 14 d^2 parameters of a layer with its gate and
    SwiGLU. The released table of scaling rules counts 12 d^2: a trap, from which come shorter runs and larger rates.

    What the paper calls ADANA on these models were runs of Dana-MK4 with a clip of 1000, which cannot bind: both
    averages have the same weights, so abs(m) <= sqrt(v), and the gain stays below 8. That is ADANA with 1 added to the
    gain and decay after the update. The learning-rate rule belongs to this form, so the recipe has it.

    Args:
        optimizer: A name of `variants.VARIANTS` for which the paper fitted a rule: adamw, adana, dana-mk4 or
            dana-star-mk4.
        heads: The size; the published ladder is 2 to 12, and 14.
        seed: Seed of the initial weights and of the data order.
        total_steps: Updates; None for floor(20 D / 65536).
        kappa: Damping exponent, for an optimizer that has one; the paper's if None.

    Raises:
        ValueError: The paper fitted no rule for the optimizer, or it has no kappa.
    """
    variant = get_variant(optimizer)
    model = Qwen3Config(heads=heads)
    steps = paper_steps(model) if total_steps is None else total_steps
    params = model.size().non_embedding_params
    lr = variant.fitted_rate("qwen3_paper", non_embedding_params=params, kappa=kappa)
    optimizers = variant.build(steps, lr=lr, kappa=kappa)
    if isinstance(optimizers.hidden, AdanaSpec):
        released = dataclasses.replace(optimizers.hidden, gain_offset=1.0, decay_order="after")
        optimizers = Optimizers(released, optimizers.rest)
    return paper_run(optimizers, model=model, total_steps=steps, seed=seed)
