"""What do a recipe, a search and a table know of an optimizer? A variant: an algorithm with all settings of a run."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from logclock.analysis import LrRule
from logclock.config.registry import suggestion
from logclock.recipes.protocol import KAPPA
from logclock.rules import Spec
from logclock.suggestions.adana_fits import ENOKI, QWEN3
from logclock.sweep.search import Axis, Trial, configure
from logclock.train.config import Optimizers, RunConfig

__all__ = [
    "DECAY_AXIS",
    "DELTA_AXIS",
    "KAPPA_AXIS",
    "LOG_TIME_AXES",
    "MOMENT_AXES",
    "TABLES_AXIS",
    "VARIANTS",
    "Rate",
    "Variant",
    "as_adamw",
    "as_adana",
    "class_rate_axis",
    "fits",
    "get_variant",
    "guess",
    "measured",
    "memory_axis",
]

Setup = Callable[[float, int, float], Spec | Optimizers]
"""Returns the optimizers for (peak learning rate, total_steps, kappa)."""

DECAY_AXIS = Axis(path="optimizer.weight_decay", values=("x0.5", "x2"))
"""Half and twice the recipe's decay, whatever its schedule."""

DELTA_AXIS = Axis(path="optimizer.delta", values=("x0.5", "x2"))
"""Half and twice the offset: log-time averages that remember twice and half as long."""

KAPPA_AXIS = Axis(path="optimizer.kappa", values=("0.75", "0.9"))
"""The ADANA paper found 0.75 to 0.9 to work."""

TABLES_AXIS = Axis(path="rest_optimizer.lr", values=("x0.5", "x2"))
"""Half and twice the rate of embedding, head and gains, beside that of the hidden matrices."""


CLASS_RATES = ("4", "10")
"""Rates of embedding, head and gains over that of hidden matrices beside the recipe's own; a prototype tried these."""


def class_rate_axis(config: RunConfig) -> Axis:
    """Return the axis of the tables' rate over that of hidden matrices: the same ratios to what the recipe has."""
    if config.optimizers.rest is None:
        return Axis(path="tables_lr_factor", values=CLASS_RATES)
    return Axis(path=TABLES_AXIS.path, values=tuple(f"x{ratio}" for ratio in CLASS_RATES))


def memory_axis(weight: str, *values: str) -> Axis:
    """Return the axis of an average's memory: `values` of its weight, or factors on it."""
    return Axis(path=f"optimizer.{weight}", values=values)


MOMENT_AXES = (memory_axis("ema2", "x3", "x10"), memory_axis("ema1", "x0.5", "x2"))
"""Of AdamW and its kin, whose betas (0.9, 0.999) fit long runs: a second moment of 333 or 100 updates, and a first
moment of 20 or 5."""

LOG_TIME_AXES = (DECAY_AXIS, DELTA_AXIS, KAPPA_AXIS)
"""Of the ADANA family."""


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

    axes: tuple[Axis, ...] = (DECAY_AXIS, *MOMENT_AXES)
    """What `logclock ladder --search full` tries beside the learning rate: decay, memory, and one parameter of its own,
    two values each, so that a baseline is tuned as hard as what challenges it."""

    ablates: str | None = None
    """The variant of which it changes one part to see what that does; the league, which ranks whole optimizers, leaves
    it out."""

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

    def search_space(self, config: RunConfig, *, class_rates: bool = False) -> tuple[Axis, ...]:
        """Return the axes of a run, without values that it has anyway or that would have no effect.

        Args:
            config: The run.
            class_rates: Whether the rate of embedding, head and gains is searched too, alike for every variant; where
                a variant has an axis of its own for it, after the values of that.
        """
        found = self._own_axes(config)
        if not class_rates:
            return tuple(found)
        extra = class_rate_axis(config)
        extra = dataclasses.replace(extra, values=_differing(config, extra))
        paths = [axis.path for axis in found]
        if extra.path not in paths:
            return (*found, extra)
        place = paths.index(extra.path)
        values = (*found[place].values, *(value for value in extra.values if value not in found[place].values))
        found[place] = dataclasses.replace(extra, values=values)
        return tuple(found)

    def _own_axes(self, config: RunConfig) -> list[Axis]:
        found = []
        specs = {"optimizer": config.optimizers.hidden, "rest_optimizer": config.optimizers.rest}
        for axis in self.axes:
            owner, _, field = axis.path.partition(".")
            is_there = getattr(specs[owner], field, None) is not None
            if not is_there or (axis == KAPPA_AXIS and getattr(specs[owner], "gain", None) is not None):
                continue
            values = _differing(config, axis)
            found += [dataclasses.replace(axis, values=values)] if values else []
        return found


def _differing(config: RunConfig, axis: Axis) -> tuple[str, ...]:
    """Return the values of an axis that a run does not have anyway."""
    trials = {value: Trial(multiplier=1.0).with_setting(axis.path, value) for value in axis.values}
    return tuple(value for value, trial in trials.items() if configure(config, trial) != config)


def get_variant(name: str) -> Variant:
    """Return a variant by name.

    Raises:
        ValueError: There is no such variant.
    """
    if name not in VARIANTS:
        hint = suggestion(name, VARIANTS)
        raise ValueError(f"unknown optimizer {name!r}.{hint} Recipes know: {', '.join(VARIANTS)}.")
    return VARIANTS[name]


def measured(value: float, source: str) -> Rate:
    """Return a rate, with where it was measured."""
    return Rate(value=value, source=source)


def guess(value: float, instead: str) -> Rate:
    """Return a rate that was not measured, with whose it is instead."""
    return Rate(value=value, source=f"not measured: {instead}")


def as_adamw(value: float = 8e-3) -> Mapping[str, Rate]:
    """Return the rate for the demo of what stands in AdamW's place."""
    return {"demo": guess(value, "AdamW's")}


def as_adana(value: float = 2.5e-3) -> Mapping[str, Rate]:
    """Return the rate for the demo of what differs from ADANA by a part."""
    return {"demo": guess(value, "ADANA's")}


def fits(name: str) -> Mapping[str, Mapping[float | None, LrRule]]:
    """Return the ADANA paper's rules for an optimizer at batches of 32 x 2048 tokens, by the recipe of its runs."""
    tables = {"adana_paper": ENOKI, "qwen3_paper": QWEN3}
    return {recipe: table[name] for recipe, table in tables.items() if name in table}


VARIANTS: dict[str, Variant] = {}
"""The optimizers of recipes by name."""
