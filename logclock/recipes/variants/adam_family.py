"""Relatives of Adam from the reading list, most of them in AdamW's place."""

from logclock.algorithms import (
    AdabeliefSpec,
    AdampSpec,
    AdamsSpec,
    AdanSpec,
    DiffgradSpec,
    DualadamSpec,
    ExadamSpec,
    InvadamSpec,
    ScaledAdamSpec,
    SgdpSpec,
    SimplifiedAdemamixSpec,
    StableAdamwSpec,
)
from logclock.recipes.variants.settings import plain
from logclock.recipes.variants.variant import DECAY_AXIS, Variant, as_adamw, guess
from logclock.sweep.search import Axis

ADAM_FAMILY = (
    Variant(
        name="exadam",
        question="EXAdam in AdamW's place: does the gradient, added to its own average, help beyond the longer steps?",
        setup=lambda lr, steps, kappa: ExadamSpec(lr=lr, **plain(steps)),
        peak_lr={"demo": guess(4e-3, "half of AdamW's, because steps settle at twice the length")},
        axes=(DECAY_AXIS, Axis(path="optimizer.ema2", values=("x10",))),
    ),
    Variant(
        name="adabelief",
        question="AdaBelief in AdamW's place: is the deviation from the average a better yardstick than the square?",
        setup=lambda lr, steps, kappa: AdabeliefSpec(lr=lr, **plain(steps)),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.eps", values=("1e-12", "1e-8"))),
    ),
    Variant(
        name="adamp",
        question="AdamP in AdamW's place: does it matter that momentum lengthens scale-invariant weights?",
        setup=lambda lr, steps, kappa: AdampSpec(lr=lr, **plain(steps)),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.cosine_bound", values=("x0.5", "x10"))),
    ),
    Variant(
        name="sgdp",
        question="SGDP with Nesterov momentum 0.9: how far does SGD come with a projection?",
        setup=lambda lr, steps, kappa: SgdpSpec(lr=lr, momentum=0.9, nesterov=True, **plain(steps)),
        peak_lr={"demo": guess(1e-1, "the usual rate of SGD with momentum")},
        axes=(DECAY_AXIS, Axis(path="optimizer.momentum", values=("0.95",))),
    ),
    Variant(
        name="adams",
        question="AdamS in AdamW's place: can the momentum's own square stand in for the second moment?",
        setup=lambda lr, steps, kappa: AdamsSpec(lr=lr, **plain(steps)),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.ema2", values=("x0.5", "x2"))),
    ),
    Variant(
        name="diffgrad",
        question="diffGrad in AdamW's place: does a friction on gradients that no longer change help a decoder?",
        setup=lambda lr, steps, kappa: DiffgradSpec(lr=lr, **plain(steps)),
        peak_lr={"demo": guess(1.6e-2, "twice AdamW's, because small gradients make the friction 1/2")},
        axes=(DECAY_AXIS, Axis(path="optimizer.ema2", values=("x10",))),
    ),
    Variant(
        name="invadam",
        question="InvAdam in AdamW's place: what do steps do that grow with the square of the gradient?",
        setup=lambda lr, steps, kappa: InvadamSpec(lr=lr, **plain(steps)),
        peak_lr={"demo": guess(1e2, "AdamW's over the square of a gradient of 0.01 per element")},
        axes=(DECAY_AXIS, Axis(path="optimizer.ema2", values=("x10",))),
    ),
    Variant(
        name="dualadam",
        question="DualAdam in AdamW's place: do a hundred updates of its inverse at the start change the end?",
        setup=lambda lr, steps, kappa: DualadamSpec(lr=lr, **plain(steps)),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.switch_rate", values=("x0.1", "x10"))),
    ),
    Variant(
        name="adan",
        question="Adan with betas (0.98, 0.92, 0.99): does an average of the gradient's changes pay for its memory?",
        setup=lambda lr, steps, kappa: AdanSpec(lr=lr, **plain(steps)),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.ema1", values=("x2",))),
    ),
    Variant(
        name="scaled-adam",
        question="ScaledAdam, steps in units of each tensor's size: does a learned size replace weight decay?",
        setup=lambda lr, steps, kappa: ScaledAdamSpec(lr=lr),
        peak_lr={"demo": guess(3e-2, "the authors'")},
        axes=(Axis(path="optimizer.size_lr", values=("x0.5", "x2")),),
    ),
    Variant(
        name="simplified-ademamix",
        question="Simplified AdEMAMix, ADANA with a memory and a gain that stay: must they grow?",
        setup=lambda lr, steps, kappa: SimplifiedAdemamixSpec(lr=lr, grad_weight=10.0, **plain(steps)),
        peak_lr={"demo": guess(8e-5, "a hundredth of AdamW's, because the momentum is a sum of a hundred gradients")},
        axes=(DECAY_AXIS, Axis(path="optimizer.grad_weight", values=("0", "100"))),
    ),
    Variant(
        name="stable-adamw",
        question="StableAdamW in AdamW's place: do steps that shorten at surprising gradients save a run?",
        setup=lambda lr, steps, kappa: StableAdamwSpec(lr=lr, ema1=0.1, **plain(steps)),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.ema2", values=("x0.1", "x5"))),
    ),
)
"""Variants of this file, in the order of the list."""
