"""What do all runs of the log-time study share, whatever their size?

References: Ferbach et al. 2026, arXiv:2602.05298, released launcher.
"""

from collections.abc import Callable

from logclock.config.registry import suggestion
from logclock.rules import AdamwSpec, AdanaSpec, DanaMk4Spec, DanaStarMk4Spec, DanaStarSpec, Spec
from logclock.schedules import Cosine, InverseTime, constant_decay, log_time_decay

__all__ = ["DELTA", "GRAD_CLIP", "KAPPA", "OMEGA", "VARIANTS", "check_variant", "study_optimizer", "study_schedule"]

OMEGA = 4.0
"""Strength of weight decay, for every optimizer of the study."""

DELTA = 8.0
"""Log-time offset; the study found little effect."""

KAPPA = 0.85
"""Damping exponent of the study's main text runs."""

GRAD_CLIP = 0.5
"""Bound on the global gradient norm, for every optimizer of the study."""


def study_schedule(total_steps: int) -> Cosine:
    """Return the study's learning-rate schedule: 2 % warm-up from 1 % of the peak, then a cosine to 10 % of it."""
    return Cosine(total_steps=total_steps, warmup_steps=total_steps // 50, warmup_start=0.01, final=0.1)


def study_optimizer(name: str, *, lr: float, total_steps: int, kappa: float = KAPPA) -> Spec:
    """Return an optimizer with the settings of the study.

    Args:
        name: One of `VARIANTS`.
        lr: Peak learning rate.
        total_steps: Planned updates T, from which the weight decay follows.
        kappa: Damping exponent, where there is one.

    Raises:
        ValueError: The study has no such optimizer.
    """
    check_variant(name)
    return VARIANTS[name](lr, total_steps, kappa)


def check_variant(name: str) -> None:
    """Raise a ValueError for a name that recipes do not know."""
    if name not in VARIANTS:
        hint = suggestion(name, VARIANTS)
        raise ValueError(f"unknown optimizer {name!r}.{hint} Recipes know: {', '.join(VARIANTS)}.")


def _adamw(lr: float, total_steps: int, kappa: float) -> Spec:
    """AdamW with betas (0.9, 0.999) and the constant independent decay omega / T."""
    decay = constant_decay(OMEGA, total_steps=total_steps)
    return AdamwSpec(lr=lr, ema1=0.1, ema2=0.001, weight_decay=decay, decay_coupling="independent")


def _adamw_log_time_decay(lr: float, total_steps: int, kappa: float) -> Spec:
    """AdamW with log-time weight decay: how much of ADANA's gain is the decay alone?"""
    return AdamwSpec(
        lr=lr,
        ema1=0.1,
        ema2=0.001,
        weight_decay=_log_time_decay(total_steps),
        decay_coupling="independent",
        decay_order="after",
    )


def _adana(lr: float, total_steps: int, kappa: float) -> Spec:
    """ADANA as the study's Enoki runs had it: gain (1 + t)^(1 - kappa), decay before the update."""
    return AdanaSpec(lr=lr, kappa=kappa, delta=DELTA, weight_decay=_log_time_decay(total_steps))


def _dana_mk4(lr: float, total_steps: int, kappa: float) -> Spec:
    """Dana-MK4: the released form, with the launcher's clip of 2."""
    return DanaMk4Spec(lr=lr, kappa=kappa, delta=DELTA, clip_snr=2.0, weight_decay=_log_time_decay(total_steps))


def _dana_star(lr: float, total_steps: int, kappa: float) -> Spec:
    """Dana-Star as the study ran it: time per coordinate, a clip on the gradient, no constant part in the gain."""
    return DanaStarSpec(lr=lr, kappa=kappa, delta=DELTA, weight_decay=_log_time_decay(total_steps))


def _dana_star_mk4(lr: float, total_steps: int, kappa: float) -> Spec:
    """Dana-Star-MK4: time per coordinate and the launcher's clip of 2."""
    return DanaStarMk4Spec(lr=lr, kappa=kappa, delta=DELTA, clip_snr=2.0, weight_decay=_log_time_decay(total_steps))


def _log_time_decay(total_steps: int) -> InverseTime:
    """Return omega / (T / 10 + t), the launcher's default."""
    return log_time_decay(OMEGA, offset=max(total_steps // 10, 1))


VARIANTS: dict[str, Callable[[float, int, float], Spec]] = {
    "adamw": _adamw,
    "adamw-log-time-decay": _adamw_log_time_decay,
    "adana": _adana,
    "dana-mk4": _dana_mk4,
    "dana-star": _dana_star,
    "dana-star-mk4": _dana_star_mk4,
}
"""Constructors by the name that `logclock compare` takes; a name is an algorithm, or one with a value of its own."""
