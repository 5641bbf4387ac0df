"""Which of the studies' claims hold on a model that one CPU core trains in a minute?

An experiment is a table of arms. An arm is a run but for its seed and a factor on its learning rate; the factors are
the same for every arm of an experiment. Results and conclusions are in experiments/LOG.md.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

from logclock.algorithms import AdamwSpec, AdanaSpec, DanaMk4Spec
from logclock.config.registry import suggestion
from logclock.recipes import tuning
from logclock.recipes.ablation import Ablation, Build, Setup, alone, arms_on, micro_model
from logclock.recipes.protocol import DELTA, KAPPA, early_decay, log_time_decay_of, matched_decay_of, plain_decay
from logclock.recipes.variants import get_variant
from logclock.rules import Spec
from logclock.schedules import (
    AdaptiveWarmupPlan,
    Constant,
    Cosine,
    DebiasedEma,
    PowerGrowth,
    Schedule,
    log_time_ema,
)

__all__ = ["ABLATIONS", "get_ablation"]


def get_ablation(name: str) -> Ablation:
    """Return an experiment by name.

    Raises:
        ValueError: There is no such experiment.
    """
    if name not in ABLATIONS:
        raise ValueError(f"unknown ablation {name!r}.{suggestion(name, ABLATIONS)} Known: {', '.join(ABLATIONS)}.")
    return ABLATIONS[name]()


def stability() -> Ablation:
    """How much damping does log-time momentum need, and does a bound on its signal-to-noise ratio replace it?

    ADANA over kappa, without and with the clip of Dana-MK4; kappa = 0 without it is undamped log-time Nesterov. The
    factors reach down to 1/64, because the gain at the end of the run is (1 + T)^(1 - kappa).
    """
    builds: dict[str, Build] = {}
    for clip_snr in (None, 0.5):
        for kappa in (0.0, 0.25, 0.5, 0.7, 0.85, 1.0):
            name = f"kappa {kappa:g}" + ("" if clip_snr is None else f" clip {clip_snr:g}")
            builds[name] = alone(_damped(kappa, clip_snr))
    for kappa in (0.85, 0.5):
        builds[f"kappa {kappa:g} constant ema2"] = alone(_with_adam_ema2(kappa))
    return Ablation(
        question="How much damping does log-time momentum need?",
        baseline="kappa 0.85",
        arms=arms_on(micro_model(heads=2), builds, tokens_per_param=40),
        multipliers=(1 / 64, 1 / 16, 1 / 4, 1.0, 2.0),
    )


_ADAM_EMA2 = DebiasedEma(ema=0.001)
"""Adam's second moment with its bias corrected, as a value of ADANA's rule."""


def _adana(steps: int, experiment: str) -> AdanaSpec:
    """Return ADANA at the centre of an experiment's sweep."""
    adana = get_variant("adana")
    spec = adana.build(steps, lr=adana.rate(experiment)).hidden
    assert isinstance(spec, AdanaSpec)
    return spec


def _damped(kappa: float, clip_snr: float | None) -> Callable[[int], Spec]:
    """Return the paper's ADANA with another kappa and, through Dana-MK4's rule, a clip."""

    def build(steps: int) -> Spec:
        adana = _adana(steps, "stability")
        damped: Spec = DanaMk4Spec(
            lr=adana.lr,
            kappa=kappa,
            delta=DELTA,
            clip_snr=clip_snr,
            gain_offset=adana.gain_offset,
            weight_decay=adana.weight_decay,
            decay_order=adana.decay_order,
        )
        return damped

    return build


def _with_adam_ema2(kappa: float) -> Callable[[int], Spec]:
    """Return ADANA with another kappa and Adam's second moment."""
    return lambda steps: dataclasses.replace(_adana(steps, "stability"), kappa=kappa, ema2=_ADAM_EMA2)


def _decay(name: str, steps: int) -> Schedule:
    """Return lambda(t) of T updates by name; `strong` is constant and removes as much in total as `log-time`."""
    match name:
        case "constant":
            return plain_decay(steps)
        case "strong":
            return matched_decay_of(steps)
        case "log-time":
            return log_time_decay_of(steps)
        case "early":
            return early_decay(steps)
    raise AssertionError(name)


def _with_decay(optimizer: str, decay: str) -> Build:
    variant = get_variant(optimizer)

    def build(steps: int) -> Spec:
        spec = variant.build(steps, lr=variant.rate("components")).hidden
        decayed: Spec = dataclasses.replace(spec, weight_decay=_decay(decay, steps))
        return decayed

    return alone(build)


def weight_decay() -> Ablation:
    """How much of log-time weight decay's gain is its shape, and how much its strength?

    The sum of s(t) lambda(t) is 2.2 for `constant`, 6.8 for `log-time` (offset T / 10) and `strong` (a constant), and
    about 17 for `early` (offset 1).
    """
    builds = {
        f"{optimizer} {decay}": _with_decay(optimizer, decay)
        for optimizer in ("adamw", "adana")
        for decay in ("constant", "strong", "log-time", "early")
    }
    return Ablation(
        question="How much of log-time weight decay's gain is its shape, and how much its strength?",
        baseline="adamw constant",
        arms=arms_on(micro_model(heads=4), builds, tokens_per_param=20),
    )


def components() -> Ablation:
    """Which part of ADANA does what: log-time ema1, log-time ema2, the gain and its growth, the "+1", the decay?

    Up to `+ gain` weight decay is constant, omega / T; the last four rows have log-time decay.
    """
    log_time = log_time_ema(DELTA)
    rate = get_variant("adana").rate("components")  # of everything with log-time momentum
    moments = AdamwSpec(lr=rate, bias_correction=False, decay_coupling="independent")

    def momentum_only(ema2: Schedule) -> Build:
        return alone(
            lambda steps: dataclasses.replace(moments, ema1=log_time, ema2=ema2, weight_decay=_decay("constant", steps))
        )

    def adana_with(**changes: Any) -> Build:
        return alone(lambda steps: dataclasses.replace(_adana(steps, "components"), **changes))

    builds: dict[str, Build] = {
        "adamw": _with_decay("adamw", "constant"),
        "log-time ema1": momentum_only(_ADAM_EMA2),
        "log-time ema1 and ema2": momentum_only(log_time),
        "+ gradient": alone(
            lambda steps: dataclasses.replace(
                _adana(steps, "components"), gain=1.0, weight_decay=_decay("constant", steps)
            )
        ),
        "+ gain": _with_decay("adana", "constant"),
        "adana": _with_decay("adana", "log-time"),
        "adana +1": adana_with(gain_offset=1.0),
        "adana frozen gain": alone(
            lambda steps: dataclasses.replace(
                _adana(steps, "components"), gain=Constant(value=PowerGrowth(kappa=KAPPA)(steps))
            )
        ),
        "adana constant ema2": adana_with(ema2=_ADAM_EMA2),
    }
    return Ablation(
        question="Which part of ADANA does what?",
        baseline="adamw",
        arms=arms_on(micro_model(heads=4), builds, tokens_per_param=20),
    )


HORIZON = ("adamw", "adana", "ademamix-log-time-decay", "muon")
"""Arms of the experiments that differ in length alone."""


def horizon(tokens_per_param: float) -> Ablation:
    """How do AdamW, ADANA, AdEMAMix and Muon compare at one horizon, on one model of 45,056 parameters?

    At 160 tokens per parameter the run sees 7.2 M tokens, less than one epoch of `essentials`.
    """

    def arm(name: str) -> Build:
        variant = get_variant(name)
        return lambda steps: Setup(optimizer=variant.build(steps, lr=variant.rate("horizon")))

    return Ablation(
        question=f"Who wins at {tokens_per_param:g} tokens per parameter?",
        baseline="adamw",
        arms=arms_on(
            micro_model(heads=2, num_layers=1),
            {name: arm(name) for name in HORIZON},
            tokens_per_param=tokens_per_param,
        ),
        multipliers=(0.25, 0.5, 1.0),
    )


WARMUP_DIV = 100.0
WARMUP_FLOOR = 0.1
"""Peak over initial learning rate, and the fraction of the peak at the end, for every kind of warm-up."""

UNTUNED_BETA2 = {"muon": 0.999, "lion": 0.99, "normsgd": 0.95}
"""By optimizer of the warm-up experiments. The untuned warm-up takes 2 / (1 - beta2) updates, with AdamW's beta2 for
the rest of Muon, and the only memory of the other two."""


def warmup(optimizer: str) -> Ablation:
    """Does the adaptive warm-up beat the best manual one, for one norm-constrained optimizer?

    Linear and cosine warm-ups over 1 to 50 % of the run, the untuned rule, and the adaptive one (its `robust` settings)
    over end losses on both sides of a good one. All start at a hundredth of the peak and end at a tenth of it, but for
    three that start at a tenth: on runs of a few thousand updates the loss hardly falls at a hundredth, and with it
    the adaptive learning rate hardly rises.
    """

    def setup(schedule: Callable[[int], Schedule | AdaptiveWarmupPlan]) -> Build:
        variant = get_variant(optimizer)
        return lambda steps: Setup(
            optimizer=variant.build(steps, lr=variant.rate("warmup")), lr_schedule=schedule(steps)
        )

    def manual(share: float, shape: Literal["linear", "cosine"] = "linear", *, updates: float | None = None) -> Build:
        return setup(
            lambda steps: Cosine(
                total_steps=steps,
                warmup_steps=share * steps if updates is None else min(updates, steps - 1),
                warmup_start=1 / WARMUP_DIV,
                warmup_shape=shape,
                final=WARMUP_FLOOR,
            )
        )

    def adaptive(end_loss: float, div: float = WARMUP_DIV) -> Build:
        return setup(lambda _: AdaptiveWarmupPlan(end_loss=end_loss, div=div, final=WARMUP_FLOOR))

    builds = {f"linear {share:.0%}": manual(share) for share in (0.01, 0.03, 0.1, 0.3, 0.5)}
    builds |= {f"cosine {share:.0%}": manual(share, "cosine") for share in (0.03, 0.1)}
    builds["linear 2/(1-beta2)"] = manual(0.0, updates=2 / (1 - UNTUNED_BETA2[optimizer]))
    builds |= {f"adaptive {end_loss:g}": adaptive(end_loss) for end_loss in (5.5, 5.0, 4.5, 4.0)}
    builds |= {f"adaptive {end_loss:g} from 1/10": adaptive(end_loss, div=10.0) for end_loss in (5.5, 5.0, 4.5)}
    return Ablation(
        question=f"Does the adaptive warm-up beat the best manual one for {optimizer}?",
        baseline="linear 3%",
        arms=arms_on(micro_model(heads=2, num_layers=1), builds, tokens_per_param=40),
    )


ABLATIONS: dict[str, Callable[[], Ablation]] = {
    "stability": stability,
    "weight-decay": weight_decay,
    "components": components,
    "tuning": tuning.tuning,
    "decay-shape": tuning.decay_shape,
    **{f"memory-{ratio}": functools.partial(tuning.memory, ratio) for ratio in (5, 20, 80, 160)},
    **{f"horizon-{ratio}": functools.partial(horizon, ratio) for ratio in (5, 20, 80, 160)},
    **{f"warmup-{optimizer}": functools.partial(warmup, optimizer) for optimizer in UNTUNED_BETA2},
}
