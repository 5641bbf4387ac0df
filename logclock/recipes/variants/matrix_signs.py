"""Optimizers of hidden matrices with little or no state beside a momentum, each with another one for the rest."""

from typing import Literal

from logclock.algorithms import (
    AdamuonSpec,
    Muon2Spec,
    MuonSpec,
    NormuonSpec,
    ScaleSpec,
    ScionSpec,
    SignumSpec,
    SinkgdSpec,
    SwanSpec,
)
from logclock.recipes.variants.settings import adamw, plain
from logclock.recipes.variants.variant import DECAY_AXIS, Variant, as_adamw, guess
from logclock.sweep.search import Axis
from logclock.train.config import Optimizers

EMA2_AXIS = Axis(path="optimizer.ema2", values=("0.02", "0.1"))
"""Second moments of orthogonalized updates that remember 50 and 10 of them, around the papers' 20."""

DTYPE: Literal["bfloat16"] = "bfloat16"
"""Of the iterations, named so that a run does not depend on the machine."""

MATRIX_SIGNS = (
    Variant(
        name="muon-polar-express",
        question="Muon with Polar Express coefficients, AdamW for the rest: does a truer polar factor train better?",
        setup=lambda lr, steps, kappa: Optimizers(
            MuonSpec(
                lr=lr,
                scale_rule="match_rms_adamw",
                coefficients="polar-express",
                iteration_dtype=DTYPE,
                **plain(steps),
            ),
            adamw(lr, steps),
        ),
        peak_lr={"demo": guess(5e-3, "Muon's")},
        axes=(DECAY_AXIS, Axis(path="optimizer.coefficients", values=("quintic", "cans"))),
    ),
    Variant(
        name="normuon",
        question="NorMuon at AdamW's update size, AdamW for the rest: should all rows of a Muon step move alike?",
        setup=lambda lr, steps, kappa: Optimizers(
            NormuonSpec(lr=lr, scale_rule="match_rms_adamw", iteration_dtype=DTYPE, **plain(steps)), adamw(lr, steps)
        ),
        peak_lr={"demo": guess(5e-3, "Muon's")},
        axes=(DECAY_AXIS, EMA2_AXIS),
    ),
    Variant(
        name="adamuon",
        question="AdaMuon, AdamW for the rest: what does an element's own scale add to an orthogonalized sign?",
        setup=lambda lr, steps, kappa: Optimizers(
            AdamuonSpec(lr=lr, iteration_dtype=DTYPE, **plain(steps)), adamw(lr, steps)
        ),
        peak_lr={"demo": guess(5e-3, "Muon's")},
        axes=(DECAY_AXIS, EMA2_AXIS),
    ),
    Variant(
        name="muon2",
        question="Muon^2, AdamW for the rest: does Adam's division help before the orthogonalization?",
        setup=lambda lr, steps, kappa: Optimizers(
            Muon2Spec(lr=lr, scale_rule="match_rms_adamw", iteration_dtype=DTYPE, **plain(steps)), adamw(lr, steps)
        ),
        peak_lr={"demo": guess(5e-3, "Muon's")},
        axes=(DECAY_AXIS, EMA2_AXIS),
    ),
    Variant(
        name="scale",
        question="SCALE on hidden matrices, AdamW for the rest: how far do normalized rows go without any state?",
        setup=lambda lr, steps, kappa: Optimizers(ScaleSpec(lr=lr, **plain(steps)), adamw(8 * lr, steps)),
        peak_lr={"demo": guess(1e-3, "the paper's for its small models; AdamW has 8 times as much")},
        axes=(DECAY_AXIS, Axis(path="optimizer.ema1", values=("0.1", "0.05"))),
    ),
    Variant(
        name="swan",
        question="SWAN, AdamW for the rest: does whitening a plain gradient replace momentum and second moments?",
        setup=lambda lr, steps, kappa: Optimizers(
            SwanSpec(lr=lr, iteration_dtype="float32", **plain(steps)), adamw(lr, steps)
        ),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, Axis(path="optimizer.update_rms", values=("x0.5", "x2"))),
    ),
    Variant(
        name="sinkgd",
        question="SinkGD, AdamW for the rest: are balanced rows and columns enough, without state and products?",
        setup=lambda lr, steps, kappa: Optimizers(SinkgdSpec(lr=lr, **plain(steps)), adamw(lr, steps)),
        peak_lr={"demo": guess(2e-2, "the paper's")},
        axes=(DECAY_AXIS, Axis(path="optimizer.update_rms", values=("x0.5", "x2"))),
    ),
    Variant(
        name="scion",
        question="Constrained Scion, signs of a momentum for the rest: what do norms of its own bring to every layer?",
        setup=lambda lr, steps, kappa: Optimizers(
            ScionSpec(lr=lr, iteration_dtype=DTYPE), SignumSpec(lr=10 * lr, weight_decay=0.1)
        ),
        peak_lr={"demo": guess(2**-12, "the authors' for their language models")},
        axes=(
            Axis(path="optimizer.radius", values=("x0.5", "x2")),
            Axis(path="optimizer.ema1", values=("0.05", "0.2")),
        ),
    ),
)
"""Variants of this file, in the order of the list."""
