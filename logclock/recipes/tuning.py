"""What does ADANA's lead become when the memories and the decay of AdamW are tuned as hard as its own?

Experiments on the micro ladder's middle size, but for `memory`, which varies the horizon on the model of the horizon
experiments.
"""

from logclock.algorithms import AdamwSpec
from logclock.recipes.ablation import Ablation, Build, alone, arms_on, micro_model
from logclock.recipes.ladder import TOKENS_PER_PARAM, ladder_model
from logclock.recipes.protocol import DELTA, KAPPA, OMEGA, study_schedule
from logclock.recipes.variants import get_variant
from logclock.recipes.variants.settings import adamw, adamw_of_horizon, adana
from logclock.schedules import Schedule, constant_decay, log_time_decay, matched_decay, memory_ema

__all__ = ["decay_shape", "memory", "tuning"]

RATES = {"adamw": 6.3e-3, "adana": 3.9e-3}
"""Best learning rates of experiments/2026-11-24-ladder at four heads, around which the sweeps are laid."""

MEMORIES = (20, 50, 100, 1000)
"""Updates that AdamW's second moment remembers; 1,000 is its default."""


def tuning() -> Ablation:
    """Which memory and which strength of decay are best for AdamW, which delta, kappa and decay for ADANA?

    AdamW: beta1 0.9 and 0.95 by beta2 0.95, 0.98, 0.99 and 0.999 at omega 4, then omega 1, 2 and 8 at the default
    betas, and the published rule for the horizon. ADANA: delta 4, 8 and 16 by kappa 0.8, 0.85 and 0.9, then omega 1, 2
    and 8.
    """
    builds: dict[str, Build] = {}
    for first in (10, 20):
        for second in reversed(MEMORIES):
            builds[_betas(first, second)] = _adamw(ema1=memory_ema(first), ema2=memory_ema(second))
    for omega in (1.0, 2.0, 8.0):
        builds[f"adamw omega {omega:g}"] = _adamw(omega)
    builds["adamw-tuned"] = alone(lambda steps: adamw_of_horizon(RATES["adamw"], steps))
    for kappa in (0.8, KAPPA, 0.9):
        for delta in (4.0, DELTA, 16.0):
            builds[f"adana kappa {kappa:g} delta {delta:g}"] = _adana(kappa=kappa, delta=delta)
    for omega in (1.0, 2.0, 8.0):
        builds[f"adana omega {omega:g}"] = _adana(omega)
    return Ablation(
        question="What is left of ADANA's lead when AdamW's memories and decay are tuned as hard?",
        baseline="adamw 0.9 0.999",
        arms=arms_on(ladder_model(4), builds, tokens_per_param=TOKENS_PER_PARAM),
    )


def _betas(first: int, second: int) -> str:
    """Return the label of AdamW whose averages remember so many updates: its betas."""
    return f"adamw {1 - 1 / first:g} {1 - 1 / second:g}"


def _adamw(omega: float = OMEGA, *, lr: float = RATES["adamw"], **memories: float) -> Build:
    return alone(lambda steps: adamw(lr, steps, weight_decay=constant_decay(omega, total_steps=steps), **memories))


def _adana(omega: float = OMEGA, *, kappa: float = KAPPA, delta: float = DELTA) -> Build:
    return alone(
        lambda steps: adana(
            RATES["adana"], steps, kappa, delta=delta, weight_decay=log_time_decay(omega, total_steps=steps)
        )
    )


def decay_shape() -> Ablation:
    """Does the shape of log-time decay help AdamW when it removes no more than the constant one?

    `log-time omega` is omega / (T / 10 + t), `constant omega` the constant that removes as much in total.
    """
    builds: dict[str, Build] = {}
    for omega in (1.0, 2.0, 4.0):
        builds[f"constant {omega:g}"] = _decayed(omega, is_constant=True)
        builds[f"log-time {omega:g}"] = _decayed(omega, is_constant=False)
    return Ablation(
        question="Is it the shape of log-time decay, or its strength?",
        baseline="constant 1",
        arms=arms_on(ladder_model(4), builds, tokens_per_param=TOKENS_PER_PARAM),
        seeds=(0, 1, 2, 3, 4),
    )


def _decayed(omega: float, *, is_constant: bool) -> Build:
    def spec(steps: int) -> AdamwSpec:
        decay: Schedule = log_time_decay(omega, total_steps=steps)
        if is_constant:
            decay = matched_decay(decay, lr_schedule=study_schedule(steps), total_steps=steps)
        return adamw(RATES["adamw"], steps, weight_decay=decay)

    return alone(spec)


def memory(tokens_per_param: float) -> Ablation:
    """Which memories are best for AdamW at one horizon, and does ADANA lead the best of them?

    The decay of all AdamW arms is the default, omega 4.
    """
    builds: dict[str, Build] = {}
    rate = get_variant("adamw").rate("horizon")
    for first, second in ((10, 20), (10, 50), (10, 100), (10, 1000), (20, 50), (20, 100), (50, 50), (100, 100)):
        builds[_betas(first, second)] = _adamw(lr=rate, ema1=memory_ema(first), ema2=memory_ema(second))
    builds["adana"] = alone(lambda steps: adana(get_variant("adana").rate("horizon"), steps, KAPPA))
    return Ablation(
        question=f"Which memory is best for AdamW at {tokens_per_param:g} tokens per parameter?",
        baseline="adamw 0.9 0.999",
        arms=arms_on(micro_model(heads=2, num_layers=1), builds, tokens_per_param=tokens_per_param),
        multipliers=(0.25, 0.5, 1.0),
        seeds=(0, 1, 2, 3, 4),
    )
