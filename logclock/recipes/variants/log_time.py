"""Optimizers whose memory grows with the run: ADANA, its parts and its family, and log-time AdEMAMix."""

from logclock.algorithms import DanaMk4Spec, DanaSpec, DanaStarSpec
from logclock.recipes.protocol import DELTA, KAPPA, KAPPA_ADEMAMIX, early_decay, log_time_decay_of, plain_decay
from logclock.recipes.variants.settings import adamw, adana, adana_mix, ademamix, dana_star_mk4
from logclock.recipes.variants.sources import (
    COMPONENTS_LOG,
    DEMO_LOG,
    HORIZON_LOG,
    SHORT_SWEEP,
    SMALL_SWEEP,
    STABILITY_LOG,
)
from logclock.recipes.variants.variant import (
    DECAY_AXIS,
    DELTA_AXIS,
    KAPPA_AXIS,
    LOG_TIME_AXES,
    Variant,
    as_adamw,
    as_adana,
    fits,
    guess,
    measured,
    memory_axis,
)
from logclock.rules.apply import Hyperball
from logclock.schedules import DebiasedEma, PowerGrowth, log_time_ema
from logclock.sweep.search import Axis

SLOW_AXES = (DECAY_AXIS, memory_axis("ema_slow", "x0.5", "x2"), Axis(path="optimizer.gain", values=("x0.5", "x2")))
"""Of log-time AdEMAMix, whose gain holds its kappa."""

MIX_AXES = (DECAY_AXIS, memory_axis("ema1", "x0.5", "x2"), Axis(path="optimizer.gain_factor", values=("0", "4")))
"""Of ADANA-mix: without the log-time average it is AdamW with a memory of its horizon."""

LOG_TIME = (
    Variant(
        name="ademamix",
        question="Log-time AdEMAMix with AdamW's decay: is a second, growing memory all that ADANA needs?",
        setup=ademamix,
        peak_lr={"demo": guess(4.5e-3, "between AdamW's and ADANA's")},
        lr_rules=fits("ademamix"),
        kappa=KAPPA_ADEMAMIX,
        axes=SLOW_AXES,
    ),
    Variant(
        name="ademamix-log-time-decay",
        question="Log-time AdEMAMix with log-time weight decay: does ADANA's closest rival in the paper catch up?",
        setup=lambda lr, steps, kappa: ademamix(lr, steps, kappa, weight_decay=log_time_decay_of(steps)),
        peak_lr={"demo": measured(2e-3, SMALL_SWEEP), "horizon": measured(2e-2, HORIZON_LOG)},
        lr_rules=fits("ademamix-log-time-decay"),
        kappa=KAPPA_ADEMAMIX,
        axes=SLOW_AXES,
    ),
    Variant(
        name="log-adam",
        question="Adam with ADANA's averages and decay: does a growing memory help without the gradient term?",
        setup=lambda lr, steps, kappa: adamw(
            lr,
            steps,
            ema1=log_time_ema(DELTA),
            ema2=log_time_ema(DELTA),
            bias_correction=False,
            weight_decay=log_time_decay_of(steps),
        ),
        peak_lr=as_adamw(),
        axes=(DECAY_AXIS,),
        ablates="adana",
    ),
    Variant(
        name="log-adam-nesterov",
        question="ADANA with the constant gain 1: how much of the gain in loss is the growth of the gain?",
        setup=lambda lr, steps, kappa: adana(lr, steps, KAPPA, gain=1.0),
        peak_lr=as_adana(),
        axes=(DECAY_AXIS, DELTA_AXIS),
        ablates="adana",
    ),
    Variant(
        name="adana",
        question="ADANA as the paper's Enoki runs had it, decay before the update: does log-time momentum win?",
        setup=adana,
        peak_lr={
            "demo": measured(2.5e-3, DEMO_LOG),
            "components": measured(3.5e-3, COMPONENTS_LOG),
            "horizon": measured(1e-2, HORIZON_LOG),
            "stability": measured(5e-3, STABILITY_LOG),
        },
        lr_rules=fits("adana"),
        kappa=KAPPA,
        axes=LOG_TIME_AXES,
    ),
    Variant(
        name="adana-frozen-gain",
        question="ADANA with the gain held at its final value (1 + T)^(1 - kappa): does the gain have to grow?",
        setup=lambda lr, steps, kappa: adana(lr, steps, kappa, gain=PowerGrowth(kappa=kappa)(steps)),
        peak_lr=as_adana(),
        ablates="adana",
        kappa=KAPPA,
        axes=(DECAY_AXIS, DELTA_AXIS),
    ),
    Variant(
        # bias-corrected, as in AdamW: otherwise the root starts 30 times too small, a question of its own
        name="adana-constant-ema2",
        question="ADANA with AdamW's second moment, ema2 = 0.001: does a short memory in v go with a long one in m?",
        setup=lambda lr, steps, kappa: adana(lr, steps, kappa, ema2=DebiasedEma(ema=0.001)),
        peak_lr=as_adana(),
        ablates="adana",
        kappa=KAPPA,
        axes=LOG_TIME_AXES,
    ),
    Variant(
        name="adana-undamped",
        question="ADANA with kappa = 0, log-time Nesterov as it stands: does the gain need damping?",
        setup=lambda lr, steps, kappa: adana(lr, steps, 0.0),
        peak_lr=as_adana(),
        axes=(DECAY_AXIS, DELTA_AXIS),
        ablates="adana",
    ),
    Variant(
        name="adana-plus-one",
        question="ADANA with the released code's gain 1 + (1 + t)^(1 - kappa): does the 1 matter?",
        setup=lambda lr, steps, kappa: adana(lr, steps, kappa, gain_offset=1.0),
        peak_lr=as_adana(),
        ablates="adana",
        kappa=KAPPA,
        axes=LOG_TIME_AXES,
    ),
    Variant(
        name="adana-constant-decay",
        question="ADANA with AdamW's constant decay omega / T: how much of its gain is the momentum alone?",
        setup=lambda lr, steps, kappa: adana(lr, steps, kappa, weight_decay=plain_decay(steps)),
        peak_lr=as_adana(),
        ablates="adana",
        kappa=KAPPA,
        axes=LOG_TIME_AXES,
    ),
    Variant(
        name="adana-early-decay",
        question="ADANA with the log-time decay of offset 1, near the paper's omega / t: too strong too early?",
        setup=lambda lr, steps, kappa: adana(lr, steps, kappa, weight_decay=early_decay(steps)),
        peak_lr=as_adana(),
        ablates="adana",
        kappa=KAPPA,
        axes=LOG_TIME_AXES,
    ),
    Variant(
        name="adana-mix",
        question="ADANA's average added to AdamW's, with AdamW's decay: is a mixture right at every batch and horizon?",
        setup=adana_mix,
        peak_lr={"demo": guess(4.5e-3, "between AdamW's and ADANA's")},
        kappa=KAPPA,
        axes=MIX_AXES,
    ),
    Variant(
        name="adana-h",
        question="ADANA-H, ADANA on a sphere (Hyperball) without decay: does a fixed norm do what its decay does?",
        setup=lambda lr, steps, kappa: adana(lr, steps, kappa, weight_decay=0.0, apply=Hyperball()),
        peak_lr={"demo": guess(1e-2, "an angle of 0.01 radians")},
        kappa=KAPPA,
        axes=(DELTA_AXIS, KAPPA_AXIS),
    ),
    Variant(
        name="dana",
        question="DANA, the theory's SGD, with ADANA's decay: how far does log-time momentum go without Adam's root?",
        setup=lambda lr, steps, kappa: DanaSpec(lr=lr, weight_decay=log_time_decay_of(steps)),
        peak_lr={"demo": measured(2.0, SHORT_SWEEP)},
    ),
    Variant(
        name="dana-mk4",
        question="Dana-MK4, the released form with the launcher's clip of 2: does a clip on the momentum matter?",
        setup=lambda lr, steps, kappa: DanaMk4Spec(
            lr=lr, kappa=kappa, delta=DELTA, clip_snr=2.0, weight_decay=log_time_decay_of(steps)
        ),
        peak_lr=as_adana(),
        lr_rules=fits("dana-mk4"),
        kappa=KAPPA,
        axes=LOG_TIME_AXES,
    ),
    Variant(
        name="dana-star",
        question="Dana-Star, without a constant part in the gain: do a time per coordinate and a clip help?",
        setup=lambda lr, steps, kappa: DanaStarSpec(
            lr=lr, kappa=kappa, delta=DELTA, weight_decay=log_time_decay_of(steps)
        ),
        peak_lr={"demo": guess(4e-3, "Dana-Star-MK4's")},
        lr_rules=fits("dana-star"),
        kappa=KAPPA,
        axes=LOG_TIME_AXES,
    ),
    Variant(
        name="dana-star-mk4",
        question="Dana-Star-MK4: do a time per coordinate and the launcher's clip of 2 help together?",
        setup=dana_star_mk4,
        peak_lr={"demo": measured(4e-3, DEMO_LOG)},
        lr_rules=fits("dana-star-mk4"),
        kappa=KAPPA,
        axes=LOG_TIME_AXES,
    ),
)
"""Variants of this file, in the order of the list."""
