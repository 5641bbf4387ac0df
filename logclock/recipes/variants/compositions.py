"""What stands around a direction, as optimizers of their own: masks, spheres, gains, averages and other decays."""

from logclock.algorithms import MuonSpec, NormuonSpec
from logclock.recipes.protocol import plain_decay, study_schedule
from logclock.recipes.variants.settings import adamw, plain
from logclock.recipes.variants.variant import (
    DECAY_AXIS,
    MOMENT_AXES,
    TABLES_AXIS,
    Variant,
    as_adamw,
    guess,
    memory_axis,
)
from logclock.rules import Spec
from logclock.rules.apply import Apply, CautiousDecay, HuberDecay, Hyperball, InitialDecay, MagnitudeDirection
from logclock.rules.wrappers import EmaNesterov, Grams, Wrapper
from logclock.schedules import Constant, Join, Product
from logclock.train.config import Optimizers

BESIDE_AN_ANGLE = 0.8
"""AdamW's rate for the rest, in units of an angle: 8e-3 beside 1e-2."""

AN_ANGLE = {"demo": guess(1e-2, "an angle of 0.01 radians")}

MEMORY = memory_axis("ema1", "x0.5", "x2")


def muon(lr: float, total_steps: int, apply: Apply | None = None, wrappers: tuple[Wrapper, ...] = ()) -> MuonSpec:
    """Muon with the size of AdamW's updates, without decay where the apply stage has none to give."""
    around = {"wrappers": wrappers} if apply is None else {"apply": apply, "wrappers": wrappers}
    decay = plain(total_steps) if apply is None or apply.decays else {"weight_decay": 0.0}
    return MuonSpec(lr=lr, scale_rule="match_rms_adamw", iteration_dtype="bfloat16", **around, **decay)


def on_a_sphere(hidden: Spec, lr: float, total_steps: int) -> Optimizers:
    """Hidden matrices on a sphere, and AdamW for the rest."""
    return Optimizers(hidden, adamw(BESIDE_AN_ANGLE * lr, total_steps))


def lookahead(total_steps: int) -> EmaNesterov:
    """EMA-Nesterov as its record has it: 0.6 times the schedule, from a sixth to three quarters of the run.

    The memory is 3 % of the run, 100 of 3,125 updates, and ten updates at least.
    """
    off, on = Constant(value=0.0), Product(factors=(Constant(value=0.6), study_schedule(total_steps)))
    window = (max(1, total_steps // 6), max(2, 3 * total_steps // 4))
    ahead = Join(schedules=(off, on, off), at=window)
    return EmaNesterov(lookahead=ahead, memory_weight=min(0.1, 31 / total_steps))


COMPOSITIONS = (
    Variant(
        name="grams",
        question="AdamW's sizes with the newest gradient's signs (Grams): how much of a step is its sign?",
        setup=lambda lr, steps, kappa: adamw(lr, steps, wrappers=(Grams(),)),
        peak_lr=as_adamw(),
    ),
    Variant(
        name="ema-nesterov-adamw",
        question="AdamW with gradients ahead along its own path (EMA-Nesterov): does a long look-ahead help?",
        setup=lambda lr, steps, kappa: adamw(lr, steps, wrappers=(lookahead(steps),)),
        peak_lr=as_adamw(),
    ),
    Variant(
        name="soda-adamw",
        question="AdamW that decays by 1 / t toward its initial weights (SODA): does the center of decay matter?",
        setup=lambda lr, steps, kappa: adamw(lr, steps, weight_decay=0.0, apply=InitialDecay()),
        peak_lr=as_adamw(),
        axes=MOMENT_AXES,
    ),
    Variant(
        name="adamhd",
        question="AdamW whose decay stops growing at a bound (AdamHD): do a few large weights deserve mercy?",
        setup=lambda lr, steps, kappa: adamw(lr, steps, apply=HuberDecay()),
        peak_lr=as_adamw(),
    ),
    Variant(
        name="adamc",
        question="AdamW whose decay of hidden matrices follows the schedule twice (AdamC): do their norms then settle?",
        setup=lambda lr, steps, kappa: Optimizers(
            adamw(lr, steps, weight_decay=Product(factors=(plain_decay(steps), study_schedule(steps)))),
            adamw(lr, steps),
        ),
        peak_lr=as_adamw(),
    ),
    Variant(
        name="adamh",
        question="AdamW with hidden matrices on a sphere, without decay (AdamH): is an angle the better learning rate?",
        setup=lambda lr, steps, kappa: on_a_sphere(adamw(lr, steps, weight_decay=0.0, apply=Hyperball()), lr, steps),
        peak_lr=AN_ANGLE,
        axes=(*MOMENT_AXES, TABLES_AXIS),
    ),
    Variant(
        name="adamw-md",
        question="AdamW on directions of hidden matrices, Adam on their gains (MD): do the two want other steps?",
        setup=lambda lr, steps, kappa: Optimizers(
            adamw(lr, steps, weight_decay=0.0, apply=MagnitudeDirection(gain_lr=lr)), adamw(lr, steps)
        ),
        peak_lr=as_adamw(),
        axes=(*MOMENT_AXES, TABLES_AXIS),
    ),
    Variant(
        name="muon-cwd",
        question="Muon that decays only weights that the step shrinks anyway (CWD): which of its decay is wasted?",
        setup=lambda lr, steps, kappa: Optimizers(muon(lr, steps, CautiousDecay()), adamw(lr, steps)),
        peak_lr={"demo": guess(5e-3, "Muon's")},
        axes=(DECAY_AXIS, MEMORY, TABLES_AXIS),
    ),
    Variant(
        name="muonh",
        question="Muon on a sphere, without decay (MuonH): is an angle the better learning rate for it too?",
        setup=lambda lr, steps, kappa: on_a_sphere(muon(lr, steps, Hyperball()), lr, steps),
        peak_lr=AN_ANGLE,
        axes=(MEMORY, TABLES_AXIS),
    ),
    Variant(
        name="normuonh",
        question="NorMuon on a sphere, without decay (NorMuonH): do rows of equal size add to the angle?",
        setup=lambda lr, steps, kappa: on_a_sphere(
            NormuonSpec(lr=lr, iteration_dtype="bfloat16", weight_decay=0.0, apply=Hyperball()), lr, steps
        ),
        peak_lr=AN_ANGLE,
        axes=(MEMORY, memory_axis("ema2", "x0.5", "x2"), TABLES_AXIS),
    ),
    Variant(
        name="muon-md",
        question="Muon on the directions of hidden matrices, Adam on their gains (MD): what is left for gains to do?",
        setup=lambda lr, steps, kappa: Optimizers(muon(lr, steps, MagnitudeDirection(gain_lr=lr)), adamw(lr, steps)),
        peak_lr={"demo": guess(5e-3, "Muon's")},
        axes=(MEMORY, TABLES_AXIS),
    ),
    Variant(
        name="ema-nesterov-muon",
        question="Muon with gradients ahead along its own path (EMA-Nesterov), as in the record it holds: by how much?",
        setup=lambda lr, steps, kappa: Optimizers(muon(lr, steps, wrappers=(lookahead(steps),)), adamw(lr, steps)),
        peak_lr={"demo": guess(5e-3, "Muon's")},
        axes=(DECAY_AXIS, MEMORY, TABLES_AXIS),
    ),
)
"""Variants of this file, in the order of the list."""
