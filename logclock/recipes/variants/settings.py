"""How do recipes set the optimizers that several variants share, for a run of T updates?"""

from typing import Any

from logclock.algorithms import AdamwSpec, AdanaMixSpec, AdanaSpec, AdemamixSpec, DanaStarMk4Spec, MuonSpec
from logclock.recipes.protocol import DELTA, log_time_decay_of, plain_decay
from logclock.rules import Spec
from logclock.schedules import HalfLifeRamp, LinearRamp, check, constant_decay, memory_ema
from logclock.train.config import Optimizers

__all__ = ["adamw", "adamw_of_horizon", "adana", "adana_mix", "ademamix", "dana_star_mk4", "muon", "plain"]


def adamw(lr: float, total_steps: int, **changes: Any) -> AdamwSpec:
    """AdamW with betas (0.9, 0.999) and the constant independent decay omega / T."""
    return AdamwSpec(lr=lr, **{"ema1": 0.1, "ema2": 0.001} | plain(total_steps) | changes)


def adamw_of_horizon(lr: float, total_steps: int) -> AdamwSpec:
    """AdamW with both memories 1 % of the run, but five updates at least, and the constant decay 8 / T.

    Both are best at 20 tokens per parameter in Everett & Qiu 2026, arXiv:2609.04577; not confirmed here.
    """
    ema = min(0.2, 100 / total_steps)
    return adamw(lr, total_steps, ema1=ema, ema2=ema, weight_decay=constant_decay(8.0, total_steps=total_steps))


def plain(total_steps: int) -> dict[str, Any]:
    """AdamW's decay, for whatever stands in its place."""
    return {"weight_decay": plain_decay(total_steps), "decay_coupling": "independent"}


def ademamix(lr: float, total_steps: int, kappa: float, **changes: Any) -> AdemamixSpec:
    """Log-time AdEMAMix with AdamW's decay."""
    check(total_steps > DELTA, "total_steps", f"exceed delta = {DELTA:g} for AdEMAMix", total_steps)
    settings: dict[str, Any] = {
        "ema1": 0.1,
        "ema2": 0.001,
        "ema_slow": HalfLifeRamp(start=0.1, end=DELTA / total_steps, steps=total_steps),
        "gain": LinearRamp(start=0.0, end=total_steps ** (1 - kappa), steps=total_steps),
    }
    return AdemamixSpec(lr=lr, **settings | plain(total_steps) | changes)


def adana(lr: float, total_steps: int, kappa: float, **changes: Any) -> AdanaSpec:
    """ADANA as the paper's Enoki runs had it: gain (1 + t)^(1 - kappa), decay before the update."""
    settings: dict[str, Any] = {"kappa": kappa, "delta": DELTA, "weight_decay": log_time_decay_of(total_steps)}
    return AdanaSpec(lr=lr, **settings | changes)


def adana_mix(lr: float, total_steps: int, kappa: float, **changes: Any) -> AdanaMixSpec:
    """ADANA-mix with AdamW's decay and second moment; its fast average remembers 2 % of the run, 1 to 10 updates."""
    settings: dict[str, Any] = {
        "ema1": memory_ema(min(max(FAST_SHARE * total_steps, 1.0), 10.0)),
        "ema2": 0.001,
        "kappa": kappa,
        "delta": DELTA,
    }
    return AdanaMixSpec(lr=lr, **settings | plain(total_steps) | changes)


FAST_SHARE = 1 / 50
"""Memory of ADANA-mix's fast average over the length of the run, as in a prototype of November 2026."""


def dana_star_mk4(lr: float, total_steps: int, kappa: float) -> DanaStarMk4Spec:
    """Dana-Star-MK4 with the launcher's clip of 2."""
    decay = log_time_decay_of(total_steps)
    return DanaStarMk4Spec(lr=lr, kappa=kappa, delta=DELTA, clip_snr=2.0, weight_decay=decay)


def muon(lr: float, total_steps: int, rest: Spec) -> Optimizers:
    """Muon with the size of AdamW's updates (Moonlight), and an optimizer for the rest."""
    muon = MuonSpec(lr=lr, scale_rule="match_rms_adamw", iteration_dtype="bfloat16", **plain(total_steps))
    return Optimizers(muon, rest)


BESIDE_ADAMW = 3
"""By which the rate of a log-time optimizer for the rest is divided, about what it wants beside AdamW's; AdamW itself
has that of the matrices, as in the ADANA paper's Muon."""
