"""Optimizers that turn, divide or normalise hidden matrices by what their gradients have in common."""

from collections.abc import Callable
from typing import Any

from logclock.algorithms import AroSpec, CosmosSpec, KlShampooSpec, KlSoapSpec, ShampooSpec
from logclock.recipes.variants.settings import adamw, plain
from logclock.recipes.variants.variant import DECAY_AXIS, Variant, as_adamw
from logclock.rules import Spec
from logclock.sweep.search import Axis
from logclock.train.config import Optimizers


def beside_adamw(build: Callable[..., Spec], **settings: Any) -> Callable[[float, int, float], Optimizers]:
    """Return a setup: an optimizer of matrices with AdamW's decay, and AdamW at the same rate for the rest."""
    return lambda lr, steps, kappa: Optimizers(build(lr=lr, **plain(steps), **settings), adamw(lr, steps))


PRECONDITIONED = (
    Variant(
        name="shampoo",
        question="Shampoo with Adam's sizes, roots every 10 updates: are its directions as good as SOAP's?",
        setup=beside_adamw(ShampooSpec, ema2=0.05, refresh_interval=10),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.ema2", values=("0.02", "0.1"))),
    ),
    Variant(
        name="kl-shampoo",
        question="KL-Shampoo: do factors that whiten each other make grafting superfluous?",
        setup=beside_adamw(KlShampooSpec),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.gram_ema", values=("0.02", "0.1"))),
    ),
    Variant(
        name="kl-soap",
        question="KL-SOAP: does SOAP gain from the basis of factors that whiten each other?",
        setup=beside_adamw(KlSoapSpec),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.ema2", values=("0.02", "0.1"))),
    ),
    Variant(
        name="cosmos",
        question="COSMOS with the settings of its README: is SOAP needed in more than a few directions?",
        setup=beside_adamw(CosmosSpec, ema1=0.05, ema2=0.05, update_rms=0.2),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.share", values=("0.1", "0.5"))),
    ),
    Variant(
        name="aro",
        question="ARO with Sinkhorn's normalisation: does a basis of its own choice beat the eigenvectors?",
        setup=beside_adamw(AroSpec),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.ema1", values=("0.02", "0.1"))),
    ),
)
"""Variants of this file, in the order of the list."""
