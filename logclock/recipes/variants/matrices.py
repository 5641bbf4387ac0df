"""Optimizers of hidden matrices, each with another one for everything else."""

from logclock.algorithms import SoapSpec
from logclock.recipes.protocol import KAPPA
from logclock.recipes.variants.settings import BESIDE_ADAMW, adamw, adana, dana_star_mk4, muon, plain
from logclock.recipes.variants.sources import HORIZON_LOG, SMALL_SWEEP, WARMUP_LOG
from logclock.recipes.variants.variant import DECAY_AXIS, TABLES_AXIS, Variant, as_adamw, fits, measured, memory_axis
from logclock.train.config import Optimizers

MATRICES = (
    Variant(
        name="muon",
        question="Muon with AdamW for the rest, as in the ADANA paper: is orthogonalized momentum the stronger rival?",
        setup=lambda lr, steps, kappa: muon(lr, steps, adamw(lr, steps, ema1=1 - 0.8, ema2=1 - 0.999)),
        peak_lr={
            "demo": measured(5e-3, SMALL_SWEEP),
            "horizon": measured(3e-2, HORIZON_LOG),
            "warmup": measured(3e-2, WARMUP_LOG),
        },
        lr_rules=fits("muon"),
        axes=(DECAY_AXIS, memory_axis("ema1", "x0.5", "x2"), TABLES_AXIS),
    ),
    Variant(
        name="muon-adana",
        question="Muon for hidden matrices, ADANA for the rest: do the two gains add up?",
        setup=lambda lr, steps, kappa: muon(lr, steps, adana(lr / BESIDE_ADAMW, steps, kappa)),
        peak_lr=as_adamw(),
        kappa=KAPPA,
        axes=(DECAY_AXIS, memory_axis("ema1", "x0.5", "x2"), TABLES_AXIS),
    ),
    Variant(
        name="muon-dana-star-mk4",
        question="Muon for hidden matrices, Dana-Star-MK4 for the rest: does the paper's Manau beat both?",
        setup=lambda lr, steps, kappa: muon(lr, steps, dana_star_mk4(lr / BESIDE_ADAMW, steps, kappa)),
        peak_lr=as_adamw(),
        kappa=KAPPA,
        axes=(DECAY_AXIS, memory_axis("ema1", "x0.5", "x2"), TABLES_AXIS),
    ),
    Variant(
        name="soap",
        question="SOAP with betas (0.95, 0.95) and AdamW's for the rest: does Adam in a turned basis beat Muon?",
        setup=lambda lr, steps, kappa: Optimizers(
            SoapSpec(lr=lr, **plain(steps)), adamw(lr, steps, ema1=1 - 0.95, ema2=1 - 0.95)
        ),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, memory_axis("ema2", "x0.5", "x2"), TABLES_AXIS),
    ),
)
"""Variants of this file, in the order of the list."""
