"""Which optimizers do recipes set up, what is each there to find out, and at which learning rate?

A variant is an algorithm with every setting of a run of T updates. It is all that a recipe, a search and a table know
of an optimizer; `logclock list` prints the names with their questions.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

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
from logclock.analysis import LrRule
from logclock.config.registry import suggestion
from logclock.recipes.protocol import (
    DELTA,
    KAPPA,
    KAPPA_ADEMAMIX,
    early_decay,
    log_time_decay_of,
    matched_decay_of,
    plain_decay,
)
from logclock.rules import Spec
from logclock.rules.apply import CautiousDecay, Hyperball
from logclock.rules.wrappers import Cautious, ScheduleFree, TrustRatio
from logclock.schedules import DebiasedEma, HalfLifeRamp, LinearRamp, PowerGrowth, check, log_time_ema
from logclock.sweep.search import Axis, Trial, configure
from logclock.train.config import Optimizers, RunConfig

__all__ = ["VARIANTS", "Rate", "Variant", "get_variant"]

Setup = Callable[[float, int, float], Spec | Optimizers]
"""Returns the optimizers for (peak learning rate, total_steps, kappa)."""

DECAY_AXIS = Axis(path="optimizer.weight_decay", values=("x0.5", "x2"))
"""Half and twice the recipe's decay, whatever its schedule."""

KAPPA_AXIS = Axis(path="optimizer.kappa", values=("0.75", "0.9"))
"""The ADANA paper found 0.75 to 0.9 to work."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """A peak learning rate, and how it is known."""

    value: float
    """The rate."""

    source: str
    """Where it was measured; or `not measured`, and whose it is instead."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """An optimizer of recipes: an algorithm, or a pair of them, with settings of its own."""

    name: str
    """As `logclock compare` takes it."""

    question: str
    """What it is, and what it is there to find out."""

    setup: Setup
    """Makes it; called through `build`."""

    peak_lr: Mapping[str, Rate]
    """Peak learning rates by recipe or experiment. `demo` is that of `micro` and `ladder` too, which scale it."""

    lr_rules: Mapping[str, Mapping[float | None, LrRule]] = dataclasses.field(default_factory=dict)
    """Fits of the peak learning rate to the size, by recipe and kappa; None for every kappa."""

    kappa: float | None = None
    """Damping exponent that the ADANA paper gave it; None if it has none, or one that is its point."""

    axes: tuple[Axis, ...] = (DECAY_AXIS,)
    """What `logclock ladder --search full` tries beside the learning rate."""

    def build(self, total_steps: int, *, lr: float, kappa: float | None = None) -> Optimizers:
        """Return the optimizers of a run.

        Args:
            total_steps: Planned updates T, from which the weight decay follows.
            lr: Peak learning rate.
            kappa: Damping exponent; the variant's if None.

        Raises:
            ValueError: `kappa` is given and the variant has none to set.
        """
        made = self.setup(lr, total_steps, self.damping(kappa, otherwise=KAPPA))
        return made if isinstance(made, Optimizers) else Optimizers(made)

    def damping(self, kappa: float | None, *, otherwise: Any = None) -> Any:
        """Return the damping exponent: the one given, the variant's, or `otherwise` if it has none.

        Raises:
            ValueError: One is given and the variant has none to set.
        """
        if kappa is not None and self.kappa is None:
            known = ", ".join(variant.name for variant in VARIANTS.values() if variant.kappa is not None)
            raise ValueError(f"{self.name!r} has no kappa to set, got {kappa:g}. Leave it out. It belongs to: {known}.")
        chosen = self.kappa if kappa is None else kappa
        return otherwise if chosen is None else chosen

    def rate(self, recipe: str) -> float:
        """Return the peak learning rate of a recipe or experiment.

        Raises:
            ValueError: There is none.
        """
        if recipe not in self.peak_lr:
            known = ", ".join(variant.name for variant in VARIANTS.values() if recipe in variant.peak_lr)
            raise ValueError(f"{self.name!r} has no peak learning rate for {recipe!r}. Optimizers that have: {known}.")
        return self.peak_lr[recipe].value

    def fitted_rate(self, recipe: str, *, non_embedding_params: int, kappa: float | None = None) -> float:
        """Return the peak learning rate a (b + P)^d that was fitted for the runs of a recipe.

        Args:
            recipe: adana_paper or qwen3_paper.
            non_embedding_params: P.
            kappa: Damping exponent; the variant's if None.

        Raises:
            ValueError: Nothing was fitted, or not at this kappa.
        """
        chosen = self.damping(kappa)
        rules = self.lr_rules.get(recipe, {})
        rule = rules.get(None) or rules.get(chosen)
        if rule is None:
            known = [
                variant.name if fitted is None else f"{variant.name} at kappa {fitted:g}"
                for variant in VARIANTS.values()
                for fitted in variant.lr_rules.get(recipe, {})
            ]
            at = "" if chosen is None else f" at kappa {chosen:g}"
            raise ValueError(
                f"{recipe} has no learning-rate rule for {self.name!r}{at}. Known: {', '.join(known)}. With a rate of "
                f"your own, get_variant({self.name!r}).build(T, lr=...) sets it up."
            )
        return rule(non_embedding_params)

    def search_space(self, config: RunConfig) -> tuple[Axis, ...]:
        """Return the axes of a run, without values that it has anyway or that would have no effect."""
        found = []
        spec = config.optimizers.hidden
        for axis in self.axes:
            is_there = getattr(spec, axis.path.removeprefix("optimizer."), None) is not None
            if not is_there or (axis == KAPPA_AXIS and getattr(spec, "gain", None) is not None):
                continue
            trials = {value: Trial(multiplier=1.0).with_setting(axis.path, value) for value in axis.values}
            values = tuple(value for value, trial in trials.items() if configure(config, trial) != config)
            found += [dataclasses.replace(axis, values=values)] if values else []
        return tuple(found)


def get_variant(name: str) -> Variant:
    """Return a variant by name.

    Raises:
        ValueError: There is no such variant.
    """
    if name not in VARIANTS:
        hint = suggestion(name, VARIANTS)
        raise ValueError(f"unknown optimizer {name!r}.{hint} Recipes know: {', '.join(VARIANTS)}.")
    return VARIANTS[name]


def _adamw(lr: float, total_steps: int, **changes: Any) -> AdamwSpec:
    """AdamW with betas (0.9, 0.999) and the constant independent decay omega / T."""
    return AdamwSpec(lr=lr, **{"ema1": 0.1, "ema2": 0.001} | _plain(total_steps) | changes)


def _plain(total_steps: int) -> dict[str, Any]:
    """AdamW's decay, for whatever stands in its place."""
    return {"weight_decay": plain_decay(total_steps), "decay_coupling": "independent"}


def _ademamix(lr: float, total_steps: int, kappa: float, **changes: Any) -> AdemamixSpec:
    """Log-time AdEMAMix with AdamW's decay."""
    check(total_steps > DELTA, "total_steps", f"exceed delta = {DELTA:g} for AdEMAMix", total_steps)
    settings: dict[str, Any] = {
        "ema1": 0.1,
        "ema2": 0.001,
        "ema_slow": HalfLifeRamp(start=0.1, end=DELTA / total_steps, steps=total_steps),
        "gain": LinearRamp(start=0.0, end=total_steps ** (1 - kappa), steps=total_steps),
    }
    return AdemamixSpec(lr=lr, **settings | _plain(total_steps) | changes)


def _adana(lr: float, total_steps: int, kappa: float, **changes: Any) -> AdanaSpec:
    """ADANA as the paper's Enoki runs had it: gain (1 + t)^(1 - kappa), decay before the update."""
    settings: dict[str, Any] = {"kappa": kappa, "delta": DELTA, "weight_decay": log_time_decay_of(total_steps)}
    return AdanaSpec(lr=lr, **settings | changes)


def _dana_star_mk4(lr: float, total_steps: int, kappa: float) -> DanaStarMk4Spec:
    """Dana-Star-MK4 with the launcher's clip of 2."""
    decay = log_time_decay_of(total_steps)
    return DanaStarMk4Spec(lr=lr, kappa=kappa, delta=DELTA, clip_snr=2.0, weight_decay=decay)


def _muon(lr: float, total_steps: int, rest: Spec) -> Optimizers:
    """Muon with the size of AdamW's updates (Moonlight), and an optimizer for the rest."""
    muon = MuonSpec(lr=lr, scale_rule="match_rms_adamw", iteration_dtype="bfloat16", **_plain(total_steps))
    return Optimizers(muon, rest)


BESIDE_ADAMW = 3
"""By which the rate of a log-time optimizer for the rest is divided, about what it wants beside AdamW's; AdamW itself
has that of the matrices, as in the ADANA paper's Muon."""

DEMO_LOG = "minimum of a parabola in ln(lr) through three runs, experiments/LOG.md, learning rates for the demo"
SMALL_SWEEP = "best of four rates at P = 12 k and 20 tokens per parameter, times (98 k / 12 k)^-0.6"
HORIZON_LOG = "centre of the sweeps at width 32, experiments/LOG.md, who gains from a longer run"
WARMUP_LOG = "centre of the sweeps at width 32, experiments/LOG.md, adaptive and manual warm-ups"
COMPONENTS_LOG = "centre of the sweeps at width 64, experiments/LOG.md, decay and parts of ADANA"
STABILITY_LOG = "centre of the sweeps at width 32, experiments/LOG.md, how much damping"


def _measured(value: float, source: str) -> Rate:
    return Rate(value=value, source=source)


def _guess(value: float, instead: str) -> Rate:
    """Return a rate that was not measured, with whose it is instead."""
    return Rate(value=value, source=f"not measured: {instead}")


def _as_adamw(value: float = 8e-3) -> Mapping[str, Rate]:
    return {"demo": _guess(value, "AdamW's")}


def _as_adana(value: float = 2.5e-3) -> Mapping[str, Rate]:
    return {"demo": _guess(value, "ADANA's")}


def _fits(**by_recipe: Mapping[float | None, tuple[float, float, float]]) -> dict[str, dict[float | None, LrRule]]:
    """Return the ADANA paper's fits (a, b, d) at batches of 32 x 2048 tokens as rules."""
    return {
        recipe: {kappa: LrRule(a=a, b=b, d=d) for kappa, (a, b, d) in rules.items()}
        for recipe, rules in by_recipe.items()
    }


STAR_FITS: dict[float | None, tuple[float, float, float]] = {
    0.75: (41.0, 3.03e4, -0.661),
    0.85: (223.0, 2.40e6, -0.724),
}

_ALL = (
    Variant(
        name="adamw",
        question="AdamW with betas (0.9, 0.999) and the constant independent decay omega / T: the baseline.",
        setup=lambda lr, steps, kappa: _adamw(lr, steps),
        peak_lr={
            "demo": _measured(8e-3, DEMO_LOG),
            "components": _measured(1e-2, COMPONENTS_LOG),
            "horizon": _measured(3e-2, HORIZON_LOG),
        },
        lr_rules=_fits(
            adana_paper={None: (12.8, 1.67e4, -0.515)},
            qwen3_paper={None: (2.16e4, 7.20e4, -0.873)},
        ),
    ),
    Variant(
        name="adamw-log-time-decay",
        question="AdamW with log-time weight decay: how much of ADANA's gain is the decay alone?",
        setup=lambda lr, steps, kappa: _adamw(lr, steps, weight_decay=log_time_decay_of(steps), decay_order="after"),
        peak_lr=_as_adamw(),
        lr_rules=_fits(adana_paper={None: (65.7, 9.83e3, -0.608)}),
    ),
    Variant(
        name="adamw-strong-decay",
        question="AdamW with a constant decay that removes as much in total as the log-time one: shape or strength?",
        setup=lambda lr, steps, kappa: _adamw(lr, steps, weight_decay=matched_decay_of(steps)),
        peak_lr=_as_adamw(),
    ),
    Variant(
        name="adamw-early-decay",
        question="AdamW with the log-time decay of offset 1: does strong decay in the first updates help?",
        setup=lambda lr, steps, kappa: _adamw(lr, steps, weight_decay=early_decay(steps), decay_order="after"),
        peak_lr=_as_adamw(),
    ),
    Variant(
        name="adamw-cautious",
        question="AdamW that moves only where update and gradient agree in sign: does the mask save steps?",
        setup=lambda lr, steps, kappa: _adamw(lr, steps, wrappers=(Cautious(),)),
        peak_lr=_as_adamw(),
    ),
    Variant(
        name="adamw-cautious-decay",
        question="AdamW that decays only weights that the step shrinks anyway: which decay is wasted?",
        setup=lambda lr, steps, kappa: _adamw(lr, steps, apply=CautiousDecay()),
        peak_lr=_as_adamw(),
    ),
    Variant(
        name="schedule-free-adamw",
        question="Schedule-free AdamW under the run's own schedule: does averaging the path add to annealing it?",
        setup=lambda lr, steps, kappa: _adamw(lr, steps, ema1=1.0, wrappers=(ScheduleFree(),)),
        peak_lr=_as_adamw(),
    ),
    Variant(
        name="lamb",
        question="AdamW whose every tensor moves by lr times its norm (LAMB): do steps relative to the weights help?",
        setup=lambda lr, steps, kappa: _adamw(lr, steps, wrappers=(TrustRatio(),)),
        peak_lr={"demo": _guess(1e-2, "a step of 1 % of every tensor's norm")},
    ),
    Variant(
        name="nadamw",
        question="NAdamW in AdamW's place: what does Nesterov's look-ahead bring with a memory that does not grow?",
        setup=lambda lr, steps, kappa: NadamwSpec(lr=lr, ema1=0.1, ema2=0.001, **_plain(steps)),
        peak_lr=_as_adamw(),
    ),
    Variant(
        name="laprop",
        question="LaProp in AdamW's place: does it matter whether gradients are normalized before or after averaging?",
        setup=lambda lr, steps, kappa: LapropSpec(lr=lr, ema1=0.1, ema2=0.001, **_plain(steps)),
        peak_lr=_as_adamw(),
    ),
    Variant(
        name="lion",
        question="Lion with betas (0.9, 0.99) and AdamW's decay: how far does the sign of one average go?",
        setup=lambda lr, steps, kappa: LionSpec(lr=lr, ema1=0.1, ema2=0.01, **_plain(steps)),
        peak_lr={"demo": _guess(8e-4, "a tenth of AdamW's"), "warmup": _measured(3e-3, WARMUP_LOG)},
    ),
    Variant(
        name="signum",
        question="Signum with Nesterov momentum 0.95 and AdamW's decay: what do Lion's two betas add to one?",
        setup=lambda lr, steps, kappa: SignumSpec(lr=lr, ema1=0.05, nesterov=True, **_plain(steps)),
        peak_lr={"demo": _guess(8e-4, "a tenth of AdamW's")},
    ),
    Variant(
        name="ademamix",
        question="Log-time AdEMAMix with AdamW's decay: is a second, growing memory all that ADANA needs?",
        setup=_ademamix,
        peak_lr={"demo": _guess(4.5e-3, "between AdamW's and ADANA's")},
        lr_rules=_fits(adana_paper={0.75: (4.51, 6.71e3, -0.503)}),
        kappa=KAPPA_ADEMAMIX,
    ),
    Variant(
        name="ademamix-log-time-decay",
        question="Log-time AdEMAMix with log-time weight decay: does ADANA's closest rival in the paper catch up?",
        setup=lambda lr, steps, kappa: _ademamix(lr, steps, kappa, weight_decay=log_time_decay_of(steps)),
        peak_lr={"demo": _measured(2e-3, SMALL_SWEEP), "horizon": _measured(2e-2, HORIZON_LOG)},
        lr_rules=_fits(adana_paper={0.75: (7.28, 8.43e3, -0.525)}),
        kappa=KAPPA_ADEMAMIX,
    ),
    Variant(
        name="log-adam",
        question="Adam with ADANA's averages and decay: does a growing memory help without the gradient term?",
        setup=lambda lr, steps, kappa: _adamw(
            lr,
            steps,
            ema1=log_time_ema(DELTA),
            ema2=log_time_ema(DELTA),
            bias_correction=False,
            weight_decay=log_time_decay_of(steps),
        ),
        peak_lr=_as_adamw(),
    ),
    Variant(
        name="log-adam-nesterov",
        question="ADANA with the constant gain 1: how much of the gain in loss is the growth of the gain?",
        setup=lambda lr, steps, kappa: _adana(lr, steps, KAPPA, gain=1.0),
        peak_lr=_as_adana(),
    ),
    Variant(
        name="adana",
        question="ADANA as the paper's Enoki runs had it, decay before the update: does log-time momentum win?",
        setup=_adana,
        peak_lr={
            "demo": _measured(2.5e-3, DEMO_LOG),
            "components": _measured(3.5e-3, COMPONENTS_LOG),
            "horizon": _measured(1e-2, HORIZON_LOG),
            "stability": _measured(5e-3, STABILITY_LOG),
        },
        lr_rules=_fits(
            adana_paper={
                0.75: (12.7, 9.55e3, -0.624),
                0.80: (17.6, 3.66e4, -0.624),
                0.85: (22.5, 1.22e5, -0.618),
                0.90: (68.9, 2.95e4, -0.667),
            },
            qwen3_paper={0.85: (3.17, 3.99e4, -0.553)},
        ),
        kappa=KAPPA,
        axes=(DECAY_AXIS, KAPPA_AXIS),
    ),
    Variant(
        name="adana-frozen-gain",
        question="ADANA with the gain held at its final value (1 + T)^(1 - kappa): does the gain have to grow?",
        setup=lambda lr, steps, kappa: _adana(lr, steps, kappa, gain=PowerGrowth(kappa=kappa)(steps)),
        peak_lr=_as_adana(),
        kappa=KAPPA,
    ),
    Variant(
        # bias-corrected, as in AdamW: otherwise the root starts 30 times too small, a question of its own
        name="adana-constant-ema2",
        question="ADANA with AdamW's second moment, ema2 = 0.001: does a short memory in v go with a long one in m?",
        setup=lambda lr, steps, kappa: _adana(lr, steps, kappa, ema2=DebiasedEma(ema=0.001)),
        peak_lr=_as_adana(),
        kappa=KAPPA,
        axes=(DECAY_AXIS, KAPPA_AXIS),
    ),
    Variant(
        name="adana-undamped",
        question="ADANA with kappa = 0, log-time Nesterov as it stands: does the gain need damping?",
        setup=lambda lr, steps, kappa: _adana(lr, steps, 0.0),
        peak_lr=_as_adana(),
    ),
    Variant(
        name="adana-plus-one",
        question="ADANA with the released code's gain 1 + (1 + t)^(1 - kappa): does the 1 matter?",
        setup=lambda lr, steps, kappa: _adana(lr, steps, kappa, gain_offset=1.0),
        peak_lr=_as_adana(),
        kappa=KAPPA,
        axes=(DECAY_AXIS, KAPPA_AXIS),
    ),
    Variant(
        name="adana-constant-decay",
        question="ADANA with AdamW's constant decay omega / T: how much of its gain is the momentum alone?",
        setup=lambda lr, steps, kappa: _adana(lr, steps, kappa, weight_decay=plain_decay(steps)),
        peak_lr=_as_adana(),
        kappa=KAPPA,
        axes=(DECAY_AXIS, KAPPA_AXIS),
    ),
    Variant(
        name="adana-early-decay",
        question="ADANA with the log-time decay of offset 1, near the paper's omega / t: too strong too early?",
        setup=lambda lr, steps, kappa: _adana(lr, steps, kappa, weight_decay=early_decay(steps)),
        peak_lr=_as_adana(),
        kappa=KAPPA,
        axes=(DECAY_AXIS, KAPPA_AXIS),
    ),
    Variant(
        name="adana-hyperball",
        question="ADANA on a sphere, without decay (Hyperball): does a fixed norm do what its weight decay does?",
        setup=lambda lr, steps, kappa: _adana(lr, steps, kappa, weight_decay=0.0, apply=Hyperball()),
        peak_lr={"demo": _guess(1e-2, "an angle of 0.01 radians")},
        kappa=KAPPA,
        axes=(KAPPA_AXIS,),
    ),
    Variant(
        name="dana-mk4",
        question="Dana-MK4, the released form with the launcher's clip of 2: does a clip on the momentum matter?",
        setup=lambda lr, steps, kappa: DanaMk4Spec(
            lr=lr, kappa=kappa, delta=DELTA, clip_snr=2.0, weight_decay=log_time_decay_of(steps)
        ),
        peak_lr=_as_adana(),
        lr_rules=_fits(
            adana_paper={0.75: (56.0, 5.71e3, -0.708), 0.85: (23.0, 1.46e4, -0.627)},
            qwen3_paper={0.85: (1.20, 3.44e4, -0.501)},
        ),
        kappa=KAPPA,
        axes=(DECAY_AXIS, KAPPA_AXIS),
    ),
    Variant(
        name="dana-star",
        question="Dana-Star, without a constant part in the gain: do a time per coordinate and a clip help?",
        setup=lambda lr, steps, kappa: DanaStarSpec(
            lr=lr, kappa=kappa, delta=DELTA, weight_decay=log_time_decay_of(steps)
        ),
        peak_lr={"demo": _guess(4e-3, "Dana-Star-MK4's")},
        lr_rules=_fits(adana_paper=STAR_FITS),
        kappa=KAPPA,
        axes=(DECAY_AXIS, KAPPA_AXIS),
    ),
    Variant(
        name="dana-star-mk4",
        question="Dana-Star-MK4: do a time per coordinate and the launcher's clip of 2 help together?",
        setup=_dana_star_mk4,
        peak_lr={"demo": _measured(4e-3, DEMO_LOG)},
        lr_rules=_fits(adana_paper=STAR_FITS, qwen3_paper={0.85: (93.9, 1.71e4, -0.701)}),
        kappa=KAPPA,
        axes=(DECAY_AXIS, KAPPA_AXIS),
    ),
    Variant(
        name="muon",
        question="Muon with AdamW for the rest, as in the ADANA paper: is orthogonalized momentum the stronger rival?",
        setup=lambda lr, steps, kappa: _muon(lr, steps, _adamw(lr, steps, ema1=1 - 0.8, ema2=1 - 0.999)),
        peak_lr={
            "demo": _measured(5e-3, SMALL_SWEEP),
            "horizon": _measured(3e-2, HORIZON_LOG),
            "warmup": _measured(3e-2, WARMUP_LOG),
        },
        lr_rules=_fits(adana_paper={None: (2.19, 5.64e4, -0.417)}),
    ),
    Variant(
        name="muon-adana",
        question="Muon for hidden matrices, ADANA for the rest: do the two gains add up?",
        setup=lambda lr, steps, kappa: _muon(lr, steps, _adana(lr / BESIDE_ADAMW, steps, kappa)),
        peak_lr=_as_adamw(),
        kappa=KAPPA,
    ),
    Variant(
        name="muon-dana-star-mk4",
        question="Muon for hidden matrices, Dana-Star-MK4 for the rest: does the paper's Manau beat both?",
        setup=lambda lr, steps, kappa: _muon(lr, steps, _dana_star_mk4(lr / BESIDE_ADAMW, steps, kappa)),
        peak_lr=_as_adamw(),
        kappa=KAPPA,
    ),
    Variant(
        name="soap",
        question="SOAP with betas (0.95, 0.95) and AdamW's for the rest: does Adam in a turned basis beat Muon?",
        setup=lambda lr, steps, kappa: Optimizers(
            SoapSpec(lr=lr, **_plain(steps)), _adamw(lr, steps, ema1=1 - 0.95, ema2=1 - 0.95)
        ),
        peak_lr=_as_adamw(),
    ),
    Variant(
        name="normsgd",
        question="Normalized SGD with Nesterov momentum 0.95, as in the warm-up paper: is a length per step enough?",
        setup=lambda lr, steps, kappa: NormsgdSpec(lr=lr, **_plain(steps)),
        peak_lr={
            "demo": _guess(5e-2, "a length of an update, not the size of its elements"),
            "warmup": _measured(0.05, WARMUP_LOG),
        },
    ),
)

VARIANTS: dict[str, Variant] = {variant.name: variant for variant in _ALL}
"""The optimizers of recipes by name."""
