"""Optimizers that turn, divide or normalise hidden matrices by what their gradients have in common."""

from collections.abc import Callable
from typing import Any

from logclock.algorithms import AroSpec, CosmosSpec, KlShampooSpec, KlSoapSpec, ShampooSpec, SplusSpec
from logclock.recipes.variants.settings import adamw, plain
from logclock.recipes.variants.variant import DECAY_AXIS, Variant, as_adamw, guess
from logclock.rules import Spec
from logclock.sweep.search import Axis
from logclock.train.config import Optimizers

RATE_OF_SPLUS = 12.5
"""Its rate over AdamW's in the demo, 0.1 / 8e-3: SPlus divides its own by half the sum of a matrix's sides."""


def beside_adamw(
    build: Callable[..., Spec], *, rest_ratio: float = 1, **settings: Any
) -> Callable[[float, int, float], Optimizers]:
    """Return a setup: an optimizer of matrices with AdamW's decay, and AdamW at its rate / rest_ratio beside it."""
    return lambda lr, steps, kappa: Optimizers(build(lr=lr, **plain(steps), **settings), adamw(lr / rest_ratio, steps))


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
    Variant(
        name="splus",
        question="SPlus: does the sign in Shampoo's basis bear a basis that is a hundred updates old?",
        setup=beside_adamw(SplusSpec, rest_ratio=RATE_OF_SPLUS),
        peak_lr={"demo": guess(0.1, "the authors' default")},
        axes=(DECAY_AXIS, Axis(path="optimizer.gram_ema", values=("0.01", "0.05"))),
    ),
)
"""Variants of this file, in the order of the list."""
