"""Optimizers that choose the size of a step otherwise than AdamW: from other moments, fewer of them, or a curvature."""

from logclock.algorithms import AdafactorSpec, AdamMiniSpec, AdoptSpec, MarsSpec, ProdigySpec, SophiaGSpec
from logclock.recipes.variants.settings import adamw, plain
from logclock.recipes.variants.variant import DECAY_AXIS, Variant, guess
from logclock.sweep.search import Axis
from logclock.train.config import Optimizers

ADAPTIVE_STEPS = (
    Variant(
        name="adopt",
        question="ADOPT with its authors' betas: does dividing by earlier moments alone allow longer memory?",
        setup=lambda lr, steps, kappa: AdoptSpec(lr=lr, **plain(steps)),
        peak_lr={"demo": guess(8e-3, "AdamW's, as in the benchmark of arXiv:2509.01440")},
        axes=(DECAY_AXIS, Axis(path="optimizer.ema2", values=("0.01", "0.001"))),
    ),
    Variant(
        name="mars",
        question="MARS-AdamW for hidden matrices: does extrapolating gradients along their change reduce the noise?",
        setup=lambda lr, steps, kappa: Optimizers(
            MarsSpec(lr=lr, **plain(steps)), adamw(lr, steps, ema1=1 - 0.9, ema2=1 - 0.95)
        ),
        peak_lr={"demo": guess(8e-3, "AdamW's; the authors use three times that of theirs")},
        axes=(DECAY_AXIS, Axis(path="optimizer.gamma", values=("0.01", "0.05"))),
    ),
    Variant(
        name="adafactor",
        question="Adafactor with steps like AdamW's: what do momentum and a whole second moment buy?",
        setup=lambda lr, steps, kappa: AdafactorSpec(lr=lr, relative_step=False, scale_parameter=False, **plain(steps)),
        peak_lr={"demo": guess(4e-3, "half of AdamW's: its steps are not averaged")},
        axes=(DECAY_AXIS, Axis(path="optimizer.memory_exponent", values=("0.7", "0.9"))),
    ),
    Variant(
        name="adam-mini",
        question="Adam-mini, one second moment a head or row: which of AdamW's moments could be left out?",
        setup=lambda lr, steps, kappa: AdamMiniSpec(lr=lr, ema2=0.001, **plain(steps)),
        peak_lr={"demo": guess(8e-3, "AdamW's")},
        axes=(DECAY_AXIS, Axis(path="optimizer.ema2", values=("0.05", "0.01"))),
    ),
    Variant(
        name="prodigy",
        question="Prodigy under the run's schedule: how close comes a rate that nobody tuned to one that was?",
        setup=lambda lr, steps, kappa: ProdigySpec(lr=lr, bias_correction=True, safeguard_warmup=True, **plain(steps)),
        peak_lr={"demo": guess(1.0, "the authors', who do not tune it")},
        axes=(DECAY_AXIS, Axis(path="optimizer.coefficient", values=("0.5", "2"))),
    ),
    Variant(
        name="sophia-g",
        question="Sophia-G, curvature from sampled labels every 10 updates: is it worth a tenth more passes?",
        setup=lambda lr, steps, kappa: SophiaGSpec(lr=lr, **plain(steps)),
        peak_lr={"demo": guess(2e-3, "a quarter of AdamW's, half of what arXiv:2509.02046 found at 130M")},
        axes=(DECAY_AXIS, Axis(path="optimizer.rho", values=("0.0125", "0.1"))),
    ),
)
"""Variants of this file, in the order of the list."""
