"""Which of the studies' claims hold on a model that one CPU core trains in a minute?

An experiment is a table of arms. An arm is a run but for its seed and a factor on its learning rate; the factors are
the same for every arm of an experiment. Results and conclusions are in experiments/LOG.md.
"""

import dataclasses
from collections.abc import Callable, Mapping

from logclock.config.registry import suggestion
from logclock.models import EnokiConfig
from logclock.recipes.conventions import DELTA, OMEGA, study_optimizer, study_schedule
from logclock.recipes.demo import BATCH_SIZE, HEAD_DIM, SEQUENCE_LENGTH, demo
from logclock.rules import AdamwSpec, AdanaSpec, DanaMk4Spec, Spec
from logclock.schedules import (
    Constant,
    DebiasedEma,
    PowerGrowth,
    Schedule,
    constant_decay,
    log_time_decay,
    log_time_ema,
    matched_decay,
)
from logclock.train.config import EvaluationConfig, RunConfig

__all__ = ["ABLATIONS", "Ablation", "Arm", "get_ablation"]

Arm = Callable[[int], RunConfig]
"""Returns the run of a seed, at the arm's centre learning rate."""

Build = Callable[[int], Spec]
"""Returns the optimizer of a run of T updates."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablation:
    """An experiment.

    Args:
        question: What it answers.
        baseline: The arm that the others are compared with.
        arms: By label, in the order of the table.
        multipliers: Factors on the centre learning rate, for every arm; extended while the best one is at an edge.
        seeds: The first one sweeps the learning rate; all of them run at the best.
    """

    question: str
    baseline: str
    arms: Mapping[str, Arm]
    multipliers: tuple[float, ...] = (0.5, 1.0, 2.0)
    seeds: tuple[int, ...] = (0, 1, 2)


def get_ablation(name: str) -> Ablation:
    """Return an experiment by name.

    Raises:
        ValueError: There is no such experiment.
    """
    if name not in ABLATIONS:
        raise ValueError(f"unknown ablation {name!r}.{suggestion(name, ABLATIONS)} Known: {', '.join(ABLATIONS)}.")
    return ABLATIONS[name]()


def _arm(build: Build, *, heads: int, tokens_per_param: float) -> Arm:
    """Return an arm on a two-layer Enoki of width 16 heads and 512 tokens of vocabulary."""
    model = EnokiConfig(heads=heads, head_dim=HEAD_DIM, num_layers=2, vocab_size=512)
    steps = model.size().steps_for(tokens_per_step=BATCH_SIZE * SEQUENCE_LENGTH, ratio=tokens_per_param)

    def run(seed: int) -> RunConfig:
        base = demo("adamw", heads=heads, seed=seed, total_steps=steps)
        return dataclasses.replace(
            base,
            model=model,
            data=dataclasses.replace(base.data, dataset="essentials-bpe-512"),
            optimizer=build(steps),
            evaluation=EvaluationConfig(interval=max(steps // 5, 1), batches=32, batch_size=32),
        )

    return run


def _arms(builds: Mapping[str, Build], *, heads: int, tokens_per_param: float) -> dict[str, Arm]:
    return {name: _arm(build, heads=heads, tokens_per_param=tokens_per_param) for name, build in builds.items()}


def stability() -> Ablation:
    """How much damping does log-time momentum need, and does a bound on its signal-to-noise ratio replace it?

    ADANA over kappa, without and with the clip of Dana-MK4; kappa = 0 without it is undamped log-time Nesterov. The
    factors reach down to 1/64, because the gain at the end of the run is (1 + T)^(1 - kappa).
    """
    builds: dict[str, Build] = {}
    for clip_snr in (None, 0.5):
        for kappa in (0.0, 0.25, 0.5, 0.7, 0.85, 1.0):
            name = f"kappa {kappa:g}" + ("" if clip_snr is None else f" clip {clip_snr:g}")
            builds[name] = _damped(kappa, clip_snr)
    builds["kappa 0.85 constant ema2"] = lambda steps: dataclasses.replace(_adana(steps, lr=5e-3), ema2=_ADAM_EMA2)
    builds["kappa 0.5 constant ema2"] = lambda steps: dataclasses.replace(
        _adana(steps, lr=5e-3), kappa=0.5, ema2=_ADAM_EMA2
    )
    return Ablation(
        question="How much damping does log-time momentum need?",
        baseline="kappa 0.85",
        arms=_arms(builds, heads=2, tokens_per_param=40),
        multipliers=(1 / 64, 1 / 16, 1 / 4, 1.0, 2.0),
        seeds=(0,),
    )


_ADAM_EMA2 = DebiasedEma(ema=0.001)
"""Adam's second moment with its bias corrected, as a value of ADANA's rule."""


def _adana(steps: int, *, lr: float) -> AdanaSpec:
    spec = study_optimizer("adana", lr=lr, total_steps=steps)
    assert isinstance(spec, AdanaSpec)
    return spec


def _damped(kappa: float, clip_snr: float | None) -> Build:
    """Return the paper's ADANA with another kappa and, through Dana-MK4's rule, a clip."""

    def build(steps: int) -> Spec:
        adana = _adana(steps, lr=5e-3)
        return DanaMk4Spec(
            lr=adana.lr,
            kappa=kappa,
            delta=DELTA,
            clip_snr=clip_snr,
            gain_offset=adana.gain_offset,
            weight_decay=adana.weight_decay,
            decay_order=adana.decay_order,
        )

    return build


def _decay(name: str, steps: int) -> Schedule:
    """Return lambda(t) of T updates by name; `strong` is constant and removes as much in total as `log-time`."""
    log_time = log_time_decay(OMEGA, offset=max(steps // 10, 1))
    match name:
        case "constant":
            return constant_decay(OMEGA, total_steps=steps)
        case "strong":
            return matched_decay(log_time, lr_schedule=study_schedule(steps), total_steps=steps)
        case "log-time":
            return log_time
        case "early":
            return log_time_decay(OMEGA, offset=1.0)
    raise AssertionError(name)


def _with_decay(optimizer: str, lr: float, decay: str) -> Build:
    def build(steps: int) -> Spec:
        spec = study_optimizer(optimizer, lr=lr, total_steps=steps)
        return dataclasses.replace(spec, weight_decay=_decay(decay, steps))  # type: ignore[type-var]

    return build


ADAMW_LR = 1e-2
"""Centre of AdamW's sweep at width 64."""

ADANA_LR = 3.5e-3
"""Centre of the sweep of everything with log-time momentum at width 64."""


def weight_decay() -> Ablation:
    """How much of log-time weight decay's gain is its shape, and how much its strength?

    The sum of s(t) lambda(t) is 2.2 for `constant`, 6.8 for `log-time` (offset T / 10) and `strong` (a constant), and
    about 17 for `early` (offset 1).
    """
    rates = {"adamw": ADAMW_LR, "adana": ADANA_LR}
    builds = {
        f"{optimizer} {decay}": _with_decay(optimizer, lr, decay)
        for optimizer, lr in rates.items()
        for decay in ("constant", "strong", "log-time", "early")
    }
    return Ablation(
        question="How much of log-time weight decay's gain is its shape, and how much its strength?",
        baseline="adamw constant",
        arms=_arms(builds, heads=4, tokens_per_param=20),
    )


def components() -> Ablation:
    """Which part of ADANA does what: log-time ema1, log-time ema2, the gain and its growth, the "+1", the decay?

    Up to `+ gain` weight decay is constant, omega / T; the last four rows have log-time decay.
    """
    log_time = log_time_ema(DELTA)
    adana = _with_decay("adana", ADANA_LR, "log-time")
    moments = AdamwSpec(lr=ADANA_LR, bias_correction=False, decay_coupling="independent")

    def momentum_only(ema2: Schedule) -> Build:
        return lambda steps: dataclasses.replace(
            moments, ema1=log_time, ema2=ema2, weight_decay=_decay("constant", steps)
        )

    builds: dict[str, Build] = {
        "adamw": _with_decay("adamw", ADAMW_LR, "constant"),
        "log-time ema1": momentum_only(_ADAM_EMA2),
        "log-time ema1 and ema2": momentum_only(log_time),
        "+ gradient": lambda steps: dataclasses.replace(
            _adana(steps, lr=ADANA_LR), gain=1.0, weight_decay=_decay("constant", steps)
        ),
        "+ gain": _with_decay("adana", ADANA_LR, "constant"),
        "adana": adana,
        "adana +1": lambda steps: dataclasses.replace(_adana(steps, lr=ADANA_LR), gain_offset=1.0),
        "adana frozen gain": lambda steps: dataclasses.replace(
            _adana(steps, lr=ADANA_LR), gain=Constant(value=PowerGrowth(kappa=_adana(steps, lr=ADANA_LR).kappa)(steps))
        ),
        "adana constant ema2": lambda steps: dataclasses.replace(_adana(steps, lr=ADANA_LR), ema2=_ADAM_EMA2),
    }
    return Ablation(
        question="Which part of ADANA does what?",
        baseline="adamw",
        arms=_arms(builds, heads=4, tokens_per_param=20),
    )


ABLATIONS: dict[str, Callable[[], Ablation]] = {
    "stability": stability,
    "weight-decay": weight_decay,
    "components": components,
}
