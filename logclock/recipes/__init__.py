"""Recipes: functions that return a complete run, with one size dial and every number given a reason."""

from collections.abc import Callable

from logclock.config.registry import suggestion
from logclock.recipes.adana_paper import adana_paper
from logclock.recipes.demo import demo
from logclock.recipes.ladder import ladder
from logclock.recipes.micro import micro
from logclock.recipes.qwen3_paper import qwen3_paper
from logclock.recipes.variants import VARIANTS, Variant, get_variant
from logclock.recipes.warmup_paper import warmup_paper
from logclock.train.config import RunConfig

__all__ = [
    "RECIPES",
    "VARIANTS",
    "Variant",
    "adana_paper",
    "demo",
    "get_recipe",
    "get_variant",
    "ladder",
    "micro",
    "qwen3_paper",
    "warmup_paper",
]

Recipe = Callable[..., RunConfig]
"""Called with the optimizer's name and, by keyword, heads, seed and total_steps; None for the recipe's own."""

RECIPES: dict[str, Recipe] = {
    "adana_paper": adana_paper,
    "demo": demo,
    "ladder": ladder,
    "micro": micro,
    "qwen3_paper": qwen3_paper,
    "warmup_paper": warmup_paper,
}


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
        ValueError: There is no such recipe.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}.{suggestion(name, RECIPES)} Known: {', '.join(RECIPES)}.")
    return RECIPES[name]
