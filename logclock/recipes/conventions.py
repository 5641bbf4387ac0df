"""What do all runs of the log-time study share, whatever their size?

References: Ferbach et al. 2026, arXiv:2602.05298, released launcher.
"""

import dataclasses
from collections.abc import Callable

from logclock.algorithms import (
    AdamwSpec,
    AdanaSpec,
    AdemamixSpec,
    DanaMk4Spec,
    DanaStarMk4Spec,
    DanaStarSpec,
    LapropSpec,
    LionSpec,
    MuonSpec,
    NadamwSpec,
    NormsgdSpec,
    SignumSpec,
    SoapSpec,
)
from logclock.config.registry import suggestion
from logclock.rules import Spec
from logclock.schedules import (
    Constant,
    Cosine,
    DebiasedEma,
    HalfLifeRamp,
    InverseTime,
    LinearRamp,
    PowerGrowth,
    check,
    constant_decay,
    log_time_decay,
    log_time_ema,
    matched_decay,
)

__all__ = [
    "DELTA",
    "GRAD_CLIP",
    "KAPPA",
    "KAPPA_ADEMAMIX",
    "OMEGA",
    "RESTS",
    "VARIANTS",
    "check_variant",
    "default_kappa",
    "study_optimizer",
    "study_rest_optimizer",
    "study_schedule",
]

Variant = Callable[[float, int, float], Spec]
"""Returns the optimizer for (peak learning rate, total_steps, kappa)."""

OMEGA = 4.0
"""Strength of weight decay, for every optimizer of the study."""

DELTA = 8.0
"""Log-time offset; the study found little effect."""

KAPPA = 0.85
"""Damping exponent of the study's main text runs."""

KAPPA_ADEMAMIX = 0.75
"""The same for its AdEMAMix, whose gain ends at T^(1 - kappa)."""

GRAD_CLIP = 0.5
"""Bound on the global gradient norm, for every optimizer of the study."""


def study_schedule(total_steps: int) -> Cosine:
    """Return the study's learning-rate schedule: 2 % warm-up from 1 % of the peak, then a cosine to 10 % of it."""
    return Cosine(total_steps=total_steps, warmup_steps=total_steps // 50, warmup_start=0.01, final=0.1)


def default_kappa(name: str) -> float:
    """Return the damping exponent that the study gave to an optimizer of `VARIANTS`."""
    return KAPPA_ADEMAMIX if name.startswith("ademamix") else KAPPA


def study_optimizer(name: str, *, lr: float, total_steps: int, kappa: float | None = None) -> Spec:
    """Return an optimizer with the settings of the study.

    Args:
        name: One of `VARIANTS`.
        lr: Peak learning rate.
        total_steps: Planned updates T, from which the weight decay follows.
        kappa: Damping exponent, where there is one; the study's if None.

    Raises:
        ValueError: There is no such optimizer.
    """
    check_variant(name)
    return VARIANTS[name](lr, total_steps, default_kappa(name) if kappa is None else kappa)


def study_rest_optimizer(name: str, *, lr: float, total_steps: int, kappa: float | None = None) -> Spec | None:
    """Return the optimizer of everything but hidden matrices, or None if `study_optimizer` updates every parameter.

    AdamW has the learning rate of the matrices, as in the study's Muon, log-time optimizers a third of it. Arguments
    and errors are those of `study_optimizer`.
    """
    check_variant(name)
    rest = RESTS.get(name)
    return None if rest is None else rest(lr, total_steps, default_kappa(name) if kappa is None else kappa)


def check_variant(name: str) -> None:
    """Raise a ValueError for a name that recipes do not know."""
    if name not in VARIANTS:
        hint = suggestion(name, VARIANTS)
        raise ValueError(f"unknown optimizer {name!r}.{hint} Recipes know: {', '.join(VARIANTS)}.")


def _adamw(lr: float, total_steps: int, kappa: float) -> AdamwSpec:
    """AdamW with betas (0.9, 0.999) and the constant independent decay omega / T."""
    decay = _constant_decay(total_steps)
    return AdamwSpec(lr=lr, ema1=0.1, ema2=0.001, weight_decay=decay, decay_coupling="independent")


def _adamw_log_time_decay(lr: float, total_steps: int, kappa: float) -> Spec:
    """AdamW with log-time weight decay: how much of ADANA's gain is the decay alone?"""
    adamw = _adamw(lr, total_steps, kappa)
    return dataclasses.replace(adamw, weight_decay=_log_time_decay(total_steps), decay_order="after")


def _adamw_strong_decay(lr: float, total_steps: int, kappa: float) -> Spec:
    """AdamW with a constant decay that removes as much in total as the log-time one: shape or strength?"""
    return dataclasses.replace(_adamw(lr, total_steps, kappa), weight_decay=_equally_strong_decay(total_steps))


def _adamw_early_decay(lr: float, total_steps: int, kappa: float) -> Spec:
    """AdamW with the log-time decay of offset 1: does strong decay in the first updates help?"""
    adamw = _adamw(lr, total_steps, kappa)
    return dataclasses.replace(adamw, weight_decay=log_time_decay(OMEGA, offset=1), decay_order="after")


def _nadamw(lr: float, total_steps: int, kappa: float) -> Spec:
    """NAdamW in AdamW's place: what does Nesterov's look-ahead bring with a memory that does not grow?"""
    decay = _constant_decay(total_steps)
    return NadamwSpec(lr=lr, ema1=0.1, ema2=0.001, weight_decay=decay, decay_coupling="independent")


def _laprop(lr: float, total_steps: int, kappa: float) -> Spec:
    """LaProp in AdamW's place: does it matter whether gradients are normalised before or after averaging?"""
    decay = _constant_decay(total_steps)
    return LapropSpec(lr=lr, ema1=0.1, ema2=0.001, weight_decay=decay, decay_coupling="independent")


def _lion(lr: float, total_steps: int, kappa: float) -> Spec:
    """Lion with betas (0.9, 0.99) and AdamW's decay: how far does the sign of one average go?"""
    decay = _constant_decay(total_steps)
    return LionSpec(lr=lr, ema1=0.1, ema2=0.01, weight_decay=decay, decay_coupling="independent")


def _signum(lr: float, total_steps: int, kappa: float) -> Spec:
    """Signum with Nesterov momentum 0.95 and AdamW's decay: what do Lion's two betas add to one?"""
    decay = _constant_decay(total_steps)
    return SignumSpec(lr=lr, ema1=0.05, nesterov=True, weight_decay=decay, decay_coupling="independent")


def _ademamix(lr: float, total_steps: int, kappa: float) -> AdemamixSpec:
    """Log-time AdEMAMix with AdamW's decay: is a second, growing memory all that ADANA needs?"""
    check(total_steps > DELTA, "total_steps", f"exceed delta = {DELTA:g} for AdEMAMix", total_steps)
    return AdemamixSpec(
        lr=lr,
        ema1=0.1,
        ema2=0.001,
        ema_slow=HalfLifeRamp(start=0.1, end=DELTA / total_steps, steps=total_steps),
        gain=LinearRamp(start=0.0, end=total_steps ** (1 - kappa), steps=total_steps),
        weight_decay=_constant_decay(total_steps),
        decay_coupling="independent",
    )


def _ademamix_log_time_decay(lr: float, total_steps: int, kappa: float) -> Spec:
    """Log-time AdEMAMix with log-time weight decay: the study's closest rival of ADANA."""
    return dataclasses.replace(_ademamix(lr, total_steps, kappa), weight_decay=_log_time_decay(total_steps))


def _log_adam(lr: float, total_steps: int, kappa: float) -> Spec:
    """Adam with ADANA's averages and decay: does a growing memory help without the gradient term and its gain?"""
    return AdamwSpec(
        lr=lr,
        ema1=log_time_ema(DELTA),
        ema2=log_time_ema(DELTA),
        bias_correction=False,
        weight_decay=_log_time_decay(total_steps),
        decay_coupling="independent",
    )


def _adana(lr: float, total_steps: int, kappa: float) -> AdanaSpec:
    """ADANA as the study's Enoki runs had it: gain (1 + t)^(1 - kappa), decay before the update."""
    return AdanaSpec(lr=lr, kappa=kappa, delta=DELTA, weight_decay=_log_time_decay(total_steps))


def _log_adam_nesterov(lr: float, total_steps: int, kappa: float) -> Spec:
    """ADANA with the constant gain 1: how much of the gain in loss is the growth of the gain?"""
    return dataclasses.replace(_adana(lr, total_steps, kappa), gain=1.0)


def _adana_frozen_gain(lr: float, total_steps: int, kappa: float) -> Spec:
    """ADANA with the gain held at its final value (1 + T)^(1 - kappa): does the gain have to grow?"""
    return dataclasses.replace(_adana(lr, total_steps, kappa), gain=PowerGrowth(kappa=kappa)(total_steps))


def _adana_constant_ema2(lr: float, total_steps: int, kappa: float) -> Spec:
    """ADANA with AdamW's second moment, ema2 = 0.001: does a short memory in v go with a long one in m?

    Bias-corrected, as it is in AdamW: without that the root starts 30 times too small, a question of its own.
    """
    return dataclasses.replace(_adana(lr, total_steps, kappa), ema2=DebiasedEma(ema=0.001))


def _adana_undamped(lr: float, total_steps: int, kappa: float) -> Spec:
    """ADANA with kappa = 0, log-time Nesterov as it stands: does the gain need damping?"""
    return dataclasses.replace(_adana(lr, total_steps, kappa), kappa=0.0)


def _adana_plus_one(lr: float, total_steps: int, kappa: float) -> Spec:
    """ADANA with the released code's gain 1 + (1 + t)^(1 - kappa): does the 1 matter?"""
    return dataclasses.replace(_adana(lr, total_steps, kappa), gain_offset=1.0)


def _adana_constant_decay(lr: float, total_steps: int, kappa: float) -> Spec:
    """ADANA with AdamW's constant decay omega / T: how much of its gain is the momentum alone?"""
    return dataclasses.replace(_adana(lr, total_steps, kappa), weight_decay=_constant_decay(total_steps))


def _adana_early_decay(lr: float, total_steps: int, kappa: float) -> Spec:
    """ADANA with the log-time decay of offset 1, near the paper's omega / t: too strong too early?"""
    return dataclasses.replace(_adana(lr, total_steps, kappa), weight_decay=log_time_decay(OMEGA, offset=1))


def _dana_mk4(lr: float, total_steps: int, kappa: float) -> Spec:
    """Dana-MK4: the released form, with the launcher's clip of 2."""
    return DanaMk4Spec(lr=lr, kappa=kappa, delta=DELTA, clip_snr=2.0, weight_decay=_log_time_decay(total_steps))


def _dana_star(lr: float, total_steps: int, kappa: float) -> Spec:
    """Dana-Star as the study ran it: time per coordinate, a clip on the gradient, no constant part in the gain."""
    return DanaStarSpec(lr=lr, kappa=kappa, delta=DELTA, weight_decay=_log_time_decay(total_steps))


def _dana_star_mk4(lr: float, total_steps: int, kappa: float) -> Spec:
    """Dana-Star-MK4: time per coordinate and the launcher's clip of 2."""
    return DanaStarMk4Spec(lr=lr, kappa=kappa, delta=DELTA, clip_snr=2.0, weight_decay=_log_time_decay(total_steps))


def _muon(lr: float, total_steps: int, kappa: float) -> Spec:
    """Muon with the size of AdamW's updates (Moonlight), AdamW for the rest: the study's Muon."""
    decay = _constant_decay(total_steps)
    return MuonSpec(
        lr=lr,
        scale_rule="match_rms_adamw",
        iteration_dtype="bfloat16",
        weight_decay=decay,
        decay_coupling="independent",
    )


def _muon_adana(lr: float, total_steps: int, kappa: float) -> Spec:
    """Muon for hidden matrices, ADANA for the rest: do the two gains add up?"""
    return _muon(lr, total_steps, kappa)


def _muon_dana_star_mk4(lr: float, total_steps: int, kappa: float) -> Spec:
    """Muon for hidden matrices, Dana-Star-MK4 for the rest: the study's Manau."""
    return _muon(lr, total_steps, kappa)


def _soap(lr: float, total_steps: int, kappa: float) -> Spec:
    """SOAP with betas (0.95, 0.95) and a new basis every 10 updates, AdamW with the same betas for the rest."""
    return SoapSpec(lr=lr, weight_decay=_constant_decay(total_steps), decay_coupling="independent")


def _normsgd(lr: float, total_steps: int, kappa: float) -> Spec:
    """Normalised SGD with Nesterov momentum 0.95 for every parameter, as in the warm-up study."""
    return NormsgdSpec(lr=lr, weight_decay=_constant_decay(total_steps), decay_coupling="independent")


def _at_a_third(variant: Variant) -> Variant:
    """Return a log-time optimizer for the rest at a third of the rate, about what it wants beside AdamW's."""
    return lambda lr, total_steps, kappa: variant(lr / 3, total_steps, kappa)


def _adamw_with(beta1: float, beta2: float) -> Variant:
    """Return AdamW for the rest with a matrix optimizer's learning rate and decay."""

    def build(lr: float, total_steps: int, kappa: float) -> Spec:
        return dataclasses.replace(_adamw(lr, total_steps, kappa), ema1=1 - beta1, ema2=1 - beta2)

    return build


def _constant_decay(total_steps: int) -> Constant:
    """Return omega / T, the study's decay for AdamW."""
    return constant_decay(OMEGA, total_steps=total_steps)


def _equally_strong_decay(total_steps: int) -> Constant:
    """Return the constant that removes as much in total as the log-time decay."""
    return matched_decay(_log_time_decay(total_steps), lr_schedule=study_schedule(total_steps), total_steps=total_steps)


def _log_time_decay(total_steps: int) -> InverseTime:
    """Return omega / (T / 10 + t), the launcher's default."""
    return log_time_decay(OMEGA, offset=max(total_steps // 10, 1))


VARIANTS: dict[str, Variant] = {
    "adamw": _adamw,
    "adamw-log-time-decay": _adamw_log_time_decay,
    "adamw-strong-decay": _adamw_strong_decay,
    "adamw-early-decay": _adamw_early_decay,
    "nadamw": _nadamw,
    "laprop": _laprop,
    "lion": _lion,
    "signum": _signum,
    "ademamix": _ademamix,
    "ademamix-log-time-decay": _ademamix_log_time_decay,
    "log-adam": _log_adam,
    "log-adam-nesterov": _log_adam_nesterov,
    "adana": _adana,
    "adana-frozen-gain": _adana_frozen_gain,
    "adana-constant-ema2": _adana_constant_ema2,
    "adana-undamped": _adana_undamped,
    "adana-plus-one": _adana_plus_one,
    "adana-constant-decay": _adana_constant_decay,
    "adana-early-decay": _adana_early_decay,
    "dana-mk4": _dana_mk4,
    "dana-star": _dana_star,
    "dana-star-mk4": _dana_star_mk4,
    "muon": _muon,
    "muon-adana": _muon_adana,
    "muon-dana-star-mk4": _muon_dana_star_mk4,
    "soap": _soap,
    "normsgd": _normsgd,
}
"""Constructors by the name that `logclock compare` takes; a name is an algorithm, or one with a value of its own."""

RESTS: dict[str, Variant] = {
    "muon": _adamw_with(0.8, 0.999),
    "muon-adana": _at_a_third(_adana),
    "muon-dana-star-mk4": _at_a_third(_dana_star_mk4),
    "soap": _adamw_with(0.95, 0.95),
}
"""Constructors of the optimizer of embeddings, head and vectors, for variants whose own takes hidden matrices only."""
