"""Optimizers of hidden matrices that project, choose or fit: little memory, or a preconditioner of two factors."""

from logclock.algorithms import ApolloMiniSpec, ApolloSpec, Dion2Spec, FiraSpec, PsgdKronSpec
from logclock.recipes.variants.settings import adamw, plain
from logclock.recipes.variants.variant import DECAY_AXIS, Variant, guess
from logclock.sweep.search import Axis
from logclock.train.config import Optimizers

RANK = 16
"""A quarter of the demo's width, as the papers have it."""

BELOW_ADAMW = 4
"""By which PSGD-Kron's rate is below AdamW's in arXiv:2509.02046; the rest has AdamW's own."""

RANK_AXIS = Axis(path="optimizer.rank", values=("8", "32"))
SCALE_AXIS = Axis(path="optimizer.scale", values=("x0.5", "x2"))

LOW_RANK = (
    Variant(
        name="apollo",
        question="APOLLO and AdamW for the rest: is a gradient whose rows are rescaled as good as one with moments?",
        setup=lambda lr, steps, kappa: Optimizers(ApolloSpec(lr=lr, rank=RANK, **plain(steps)), adamw(lr, steps)),
        peak_lr={"demo": guess(1e-2, "its paper's")},
        axes=(DECAY_AXIS, RANK_AXIS),
    ),
    Variant(
        name="apollo-mini",
        question="APOLLO-Mini, two numbers a row, and AdamW for the rest: is one length for a whole matrix enough?",
        setup=lambda lr, steps, kappa: Optimizers(ApolloMiniSpec(lr=lr, **plain(steps)), adamw(lr, steps)),
        peak_lr={"demo": guess(1e-2, "its paper's")},
        axes=(DECAY_AXIS, SCALE_AXIS),
    ),
    Variant(
        name="fira",
        question="Fira and AdamW for the rest: what is the part of the gradient worth that a projection throws away?",
        setup=lambda lr, steps, kappa: Optimizers(FiraSpec(lr=lr, rank=RANK, **plain(steps)), adamw(lr, steps)),
        peak_lr={"demo": guess(1e-2, "its paper's")},
        axes=(DECAY_AXIS, RANK_AXIS, SCALE_AXIS),
    ),
    Variant(
        name="dion2",
        question="Dion2 on a quarter of the rows and AdamW for the rest: how much of Muon's work can wait?",
        setup=lambda lr, steps, kappa: Optimizers(
            Dion2Spec(lr=lr, iteration_dtype="bfloat16", **plain(steps)), adamw(lr, steps)
        ),
        peak_lr={"demo": guess(1e-2, "its authors' code's")},
        axes=(DECAY_AXIS, Axis(path="optimizer.share", values=("x0.5", "x2"))),
    ),
    Variant(
        name="psgd-kron",
        question="PSGD-Kron and AdamW for the rest: do fitted triangular factors beat SOAP's eigenbases?",
        setup=lambda lr, steps, kappa: Optimizers(PsgdKronSpec(lr=lr, **plain(steps)), adamw(BELOW_ADAMW * lr, steps)),
        peak_lr={"demo": guess(2e-3, f"AdamW's by {BELOW_ADAMW}, as in arXiv:2509.02046")},
        axes=(DECAY_AXIS, Axis(path="optimizer.fit_rate", values=("x2", "x5"))),
    ),
)
"""Variants of this file, in the order of the list."""
