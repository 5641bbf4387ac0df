"""What may it have cost an optimizer that its learning rate was chosen from few noisy runs?"""

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from logclock.analysis.lr_rules import LrTrial, parabola, trials_near_best

__all__ = ["choice_costs"]

Key = TypeVar("Key", bound=Hashable)

FLANK = 0.05
"""Nats above the best trial at which another counts half."""

LEAST_SHARE = 0.2
"""Share of the usual curvature below which a search is taken to be noise that looks flat, or bent the wrong way."""


def choice_costs(searches: Mapping[Key, tuple[Sequence[LrTrial], float]]) -> dict[Key, float | None]:
    """Return by how much each chosen learning rate ends above the optimum of its parabola, in nats.

    Every seed of a setting has the same learning rate, so the spread over seeds cannot show what a wrong one costs:
    L = L* + k (x - x*)^2 in x = ln lr, fitted by least squares to the trials within a factor 4 of the best (of a
    coarser grid, to the nearest two), says k (x_chosen - x*)^2. A trial that ends e above the best weighs
    1 / (1 + (e / 0.05)^2), because a rate on the flank, where the loss is no parabola, says little about the bottom.
    The square of the cost is taken as a variance that the choice adds (`Uncertainty.search`): two optimizers searched
    alike pay about as much, and which of them paid more is unknown.

    Where k is below a fifth of the median over all searches given, that fifth stands for it; where fewer than three
    learning rates ran, the median. The optimum is taken to lie no further off than the next learning rate
    that was tried.

    Args:
        searches: The trials of every optimizer (and size), and the learning rate chosen.

    Returns:
        The costs by the same keys; 0.0 where only one learning rate ran, which then was given rather than chosen, and
        None where two ran and no other search knows a curvature.
    """
    near = {key: _near_best(trials) for key, (trials, _) in searches.items()}
    fitted = {
        key: parabola(points, weights=_weights(points))[2]
        for key, points in near.items()
        if len({lr for lr, _ in points}) > 2
    }
    usual = max(statistics.median(fitted.values()), 0.0) if fitted else None
    costs: dict[Key, float | None] = {}
    for key, (_, chosen) in searches.items():
        rates = sorted({lr for lr, _ in near[key]})
        if len(rates) < 2:
            costs[key] = 0.0
        elif usual is None:
            costs[key] = None
        else:
            curvature = max(fitted.get(key, usual), LEAST_SHARE * usual)
            costs[key] = _cost(near[key], chosen, curvature) if curvature else 0.0
    return costs


def _near_best(trials: Sequence[LrTrial]) -> list[tuple[float, float]]:
    """Return the trials within a factor 4 of the best, or of a coarser grid the three learning rates nearest to it."""
    inside = trials_near_best(trials)
    if len({lr for lr, _ in inside}) > 2:
        return inside
    every = trials_near_best(trials, window=math.inf)
    nearest = sorted({lr for lr, _ in every}, key=lambda lr: abs(math.log(lr / every[0][0])))[:3] if every else []
    return [point for point in every if point[0] in nearest]


def _weights(points: Sequence[tuple[float, float]]) -> list[float]:
    """Return how much each trial says about the bottom; the best is the first."""
    return [1 / (1 + ((loss - points[0][1]) / FLANK) ** 2) for _, loss in points]


def _cost(points: Sequence[tuple[float, float]], chosen: float, curvature: float) -> float:
    """Return k d^2, with the optimum from the line through L - k x^2, whose slope is -2 k x*."""
    x = np.log([lr / chosen for lr, _ in points])
    straight = np.array([loss for _, loss in points]) - curvature * x**2
    weights = np.array(_weights(points))
    x = x - np.average(x, weights=weights)
    slope = float((weights * x * straight).sum() / (weights * x**2).sum())
    rates = [lr for lr, _ in points]
    below = max((lr for lr in rates if lr < chosen * 0.999), default=None)
    above = min((lr for lr in rates if lr > chosen * 1.001), default=None)
    reach = max(abs(math.log(lr / chosen)) for lr in (below, above) if lr is not None)
    return curvature * min(abs(slope / (2 * curvature)), reach) ** 2
