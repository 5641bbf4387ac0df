"""Elementwise optimizers whose memory is constant: AdamW, what may stand around it, and its kin."""

from logclock.algorithms import (
    AdagradSpec,
    LapropSpec,
    LionSpec,
    NadamwSpec,
    NormsgdSpec,
    SgdSpec,
    SignumSpec,
)
from logclock.recipes.protocol import early_decay, log_time_decay_of, matched_decay_of
from logclock.recipes.variants.settings import adamw, adamw_of_horizon, plain
from logclock.recipes.variants.sources import COMPONENTS_LOG, DEMO_LOG, HORIZON_LOG, SHORT_SWEEP, WARMUP_LOG
from logclock.recipes.variants.variant import DECAY_AXIS, Variant, as_adamw, fits, guess, measured, memory_axis
from logclock.rules.apply import CautiousDecay
from logclock.rules.wrappers import Cautious, ScheduleFree, TrustRatio
from logclock.sweep.search import Axis

BASELINES = (
    Variant(
        name="adamw",
        question="AdamW with betas (0.9, 0.999) and the constant independent decay omega / T: the baseline.",
        setup=lambda lr, steps, kappa: adamw(lr, steps),
        peak_lr={
            "demo": measured(8e-3, DEMO_LOG),
            "components": measured(1e-2, COMPONENTS_LOG),
            "horizon": measured(3e-2, HORIZON_LOG),
        },
        lr_rules=fits("adamw"),
    ),
    Variant(
        name="adamw-tuned",
        question="AdamW with memories of 1 % of the run and omega 8, the best that was published: the harder baseline.",
        setup=lambda lr, steps, kappa: adamw_of_horizon(lr, steps),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, memory_axis("ema2", "x0.1", "x0.3"), memory_axis("ema1", "x0.5", "x2")),
    ),
    Variant(
        name="adamw-log-time-decay",
        question="AdamW with log-time weight decay: how much of ADANA's gain is the decay alone?",
        setup=lambda lr, steps, kappa: adamw(lr, steps, weight_decay=log_time_decay_of(steps), decay_order="after"),
        peak_lr=as_adamw(),
        lr_rules=fits("adamw-log-time-decay"),
    ),
    Variant(
        name="adamw-strong-decay",
        question="AdamW with a constant decay that removes as much in total as the log-time one: shape or strength?",
        setup=lambda lr, steps, kappa: adamw(lr, steps, weight_decay=matched_decay_of(steps)),
        peak_lr=as_adamw(),
    ),
    Variant(
        name="adamw-early-decay",
        question="AdamW with the log-time decay of offset 1: does strong decay in the first updates help?",
        setup=lambda lr, steps, kappa: adamw(lr, steps, weight_decay=early_decay(steps), decay_order="after"),
        peak_lr=as_adamw(),
    ),
    Variant(
        name="adamw-cautious",
        question="AdamW that moves only where update and gradient agree in sign: does the mask save steps?",
        setup=lambda lr, steps, kappa: adamw(lr, steps, wrappers=(Cautious(),)),
        peak_lr=as_adamw(),
    ),
    Variant(
        name="adamw-cwd",
        question="AdamW that decays only weights that the step shrinks anyway: which decay is wasted?",
        setup=lambda lr, steps, kappa: adamw(lr, steps, apply=CautiousDecay()),
        peak_lr=as_adamw(),
    ),
    Variant(
        name="schedule-free-adamw",
        question="Schedule-free AdamW under the run's own schedule: does averaging the path add to annealing it?",
        setup=lambda lr, steps, kappa: adamw(lr, steps, ema1=1.0, wrappers=(ScheduleFree(),)),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS, memory_axis("ema2", "x3", "x10")),
    ),
    Variant(
        name="lamb",
        question="AdamW whose every tensor moves by lr times its norm (LAMB): do steps relative to the weights help?",
        setup=lambda lr, steps, kappa: adamw(lr, steps, wrappers=(TrustRatio(),)),
        peak_lr={"demo": guess(1e-2, "a step of 1 % of every tensor's norm")},
    ),
    Variant(
        name="nadamw",
        question="NAdamW in AdamW's place: what does Nesterov's look-ahead bring with a memory that does not grow?",
        setup=lambda lr, steps, kappa: NadamwSpec(lr=lr, ema1=0.1, ema2=0.001, **plain(steps)),
        peak_lr=as_adamw(),
    ),
    Variant(
        name="laprop",
        question="LaProp in AdamW's place: does it matter whether gradients are normalized before or after averaging?",
        setup=lambda lr, steps, kappa: LapropSpec(lr=lr, ema1=0.1, ema2=0.001, **plain(steps)),
        peak_lr=as_adamw(),
    ),
    Variant(
        name="lion",
        question="Lion with betas (0.9, 0.99) and AdamW's decay: how far does the sign of one average go?",
        setup=lambda lr, steps, kappa: LionSpec(lr=lr, ema1=0.1, ema2=0.01, **plain(steps)),
        peak_lr={"demo": guess(8e-4, "a tenth of AdamW's"), "warmup": measured(3e-3, WARMUP_LOG)},
        axes=(DECAY_AXIS, memory_axis("ema2", "x0.3", "x3"), memory_axis("ema1", "x0.5", "x2")),
    ),
    Variant(
        name="signum",
        question="Signum with Nesterov momentum 0.95 and AdamW's decay: what do Lion's two betas add to one?",
        setup=lambda lr, steps, kappa: SignumSpec(lr=lr, ema1=0.05, nesterov=True, **plain(steps)),
        peak_lr={"demo": guess(8e-4, "a tenth of AdamW's")},
        axes=(DECAY_AXIS, memory_axis("ema1", "x0.5", "x2"), Axis(path="optimizer.nesterov", values=("false",))),
    ),
    Variant(
        name="sgd",
        question="SGD with Nesterov momentum 0.95 and AdamW's decay: what is a step per coordinate worth?",
        setup=lambda lr, steps, kappa: SgdSpec(lr=lr, momentum=0.95, nesterov=True, **plain(steps)),
        peak_lr={"demo": measured(0.1, SHORT_SWEEP)},
    ),
    Variant(
        name="normsgd",
        question="Normalized SGD with Nesterov momentum 0.95, as in the warm-up paper: is a length per step enough?",
        setup=lambda lr, steps, kappa: NormsgdSpec(lr=lr, **plain(steps)),
        peak_lr={
            "demo": guess(5e-2, "a length of an update, not the size of its elements"),
            "warmup": measured(0.05, WARMUP_LOG),
        },
        axes=(DECAY_AXIS, memory_axis("momentum", "0.9", "0.98"), Axis(path="optimizer.nesterov", values=("false",))),
    ),
    Variant(
        name="adagrad",
        question="AdaGrad with AdamW's decay and cosine: what does forgetting old gradients bring, and momentum?",
        setup=lambda lr, steps, kappa: AdagradSpec(lr=lr, **plain(steps)),
        peak_lr={"demo": guess(5e-2, "the first steps are Adam's, later ones shrink by themselves")},
        axes=(DECAY_AXIS, Axis(path="optimizer.initial", values=("1e-8", "1e-6", "1e-4"))),
    ),
)
"""Variants of this file, in the order of the list."""
