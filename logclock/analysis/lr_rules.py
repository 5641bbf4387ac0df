"""Which learning rate should a model of a given size use, and what does a wrong one cost?"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from logclock.analysis.minimise import Array, minimise
from logclock.analysis.uncertainty import expanded_quantiles, t_quantile
from logclock.suggestions.lr_rule import LrRule

__all__ = [
    "LrCurvature",
    "LrRule",
    "LrRuleFit",
    "LrTrial",
    "fit_lr_rule",
    "lr_curvature",
    "parabola",
    "trials_near_best",
    "weighted_trials",
]

KEPT_TRIALS = 5
"""K: how many of the best learning rates of a size enter the fit, with weights K, K - 1, ..."""

NEAREST = 0.05
"""A learning rate closer than this to a better one adds nothing and is dropped."""

NUM_SAMPLES = 100
WINDOW = 4.0
# Where ln b may lie and where fits start; below the smallest the rule is a power law at every size of interest.
SMALLEST_B, START_B = 1.0, (1e2, 3e4, 1e6)
EXPONENTS = (-3.0, 3.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LrTrial:
    """One learning rate tried at one size.

    Args:
        lr: Peak learning rate.
        loss: Final loss; None if the run did not finish.
    """

    lr: float
    loss: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LrRuleFit:
    """A learning-rate rule and how far the sizes determine it.

    Args:
        rule: The best rule.
        samples: The rules of bootstrap samples of the sizes.
        num_sizes: How many sizes were fitted.
        rms: Weighted root mean square of ln lr minus ln rule.
    """

    rule: LrRule
    samples: tuple[LrRule, ...]
    num_sizes: int
    rms: float

    def interval(self, quantity: Callable[[LrRule], float], *, confidence: float = 0.9) -> tuple[float, float] | None:
        """Return the bootstrap interval of a quantity of the rule; None with fewer than three sizes."""
        values = [quantity(rule) for rule in self.samples]
        return expanded_quantiles(values, confidence=confidence, degrees_of_freedom=self.num_sizes - 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LrCurvature:
    """L(lr) = best_loss + curvature (ln lr - ln best_lr)^2 near the optimum of one size.

    Args:
        best_lr: Where the parabola is lowest.
        best_loss: Its loss there, nats per token.
        curvature: Nats per squared e-fold of the learning rate.
        lr_interval: Fieller's interval of `best_lr`; None if the runs leave no freedom, or do not show a minimum.
        num_trials: How many learning rates it rests on.
    """

    best_lr: float
    best_loss: float
    curvature: float
    lr_interval: tuple[float, float] | None
    num_trials: int

    def penalty(self, factor: float) -> float:
        """Return the nats lost with `factor` times the best learning rate.

        Examples:
            >>> flat = LrCurvature(best_lr=1e-3, best_loss=3.0, curvature=0.0193, lr_interval=None, num_trials=5)
            >>> round(flat.penalty(1.5), 4)
            0.0032
        """
        return self.curvature * math.log(factor) ** 2


def weighted_trials(trials: Sequence[LrTrial]) -> list[tuple[float, int]]:
    """Return the learning rates of one size that a fit uses, with their weights, best first.

    Learning rates within 5 % of a better one are dropped; the K = 5 best of the others weigh K, K - 1, ...
    """
    kept: list[float] = []
    for _, lr in sorted((trial.loss, trial.lr) for trial in trials if trial.loss is not None):
        if all(abs(lr / better - 1) >= NEAREST for better in kept):
            kept.append(lr)
    return [(lr, KEPT_TRIALS - rank) for rank, lr in enumerate(kept[:KEPT_TRIALS])]


def fit_lr_rule(
    trials: Mapping[float, Sequence[LrTrial]], *, num_samples: int = NUM_SAMPLES, seed: int = 0
) -> LrRuleFit:
    """Fit gamma*(P) = a (b + P)^d to the learning-rate sweeps of several sizes.

    Minimises sum w^2 P (ln lr - ln[a (b + P)^d])^2 / sum w^2 P over the trials of `weighted_trials`, so that larger
    models count for more. The bootstrap draws sizes with replacement, at least two different ones.

    Args:
        trials: The sweep of each size, by P.
        num_samples: Bootstrap samples; 0 for none.
        seed: Of the bootstrap.

    Raises:
        ValueError: Fewer than two sizes have a finished run.

    References: specs/adana.md 5.5.
    """
    sizes = {params: weighted_trials(sweep) for params, sweep in trials.items() if weighted_trials(sweep)}
    if len(sizes) < 2:
        raise ValueError(f"a learning-rate rule needs finished runs of two sizes or more, got {len(sizes)}.")
    rows = [(params, lr, rank) for params, kept in sizes.items() for lr, rank in kept]
    params, lrs, ranks = (np.array(column, float) for column in zip(*rows, strict=True))
    weight = ranks**2 * params
    centre = float(np.exp(np.average(np.log(params), weights=weight)))
    low = np.array([-30.0, math.log(SMALLEST_B), EXPONENTS[0]])
    high = np.array([30.0, math.log(100 * params.max()), EXPONENTS[1]])

    def model(theta: Array) -> tuple[Array, Array]:
        """Return ln lr = A + d ln((b + P) / centre) and its derivatives by A, ln b and d."""
        b = np.exp(theta[:, 1])[:, None]
        grown = np.log((b + params) / centre)
        slopes = np.stack([np.ones_like(grown), theta[:, 2:] * b / (b + params), grown], axis=-1)
        return theta[:, :1] + theta[:, 2:] * grown, slopes

    def rule(theta: Array) -> LrRule:
        return LrRule(a=math.exp(theta[0] - theta[2] * math.log(centre)), b=math.exp(theta[1]), d=float(theta[2]))

    level = float(np.average(np.log(lrs), weights=weight))
    starts = np.array([[level, math.log(b), d] for b in START_B for d in (-0.8, -0.5, -0.2, 0.2)])
    share = weight / weight.sum()
    solution = minimise(model, starts, np.log(lrs), weight=share, bounds=(low, high))
    best, samples = solution.best, []
    if num_samples:
        counts = _drawn_counts(len(sizes), num_samples, np.random.default_rng(seed))
        position = {size: i for i, size in enumerate(sizes)}
        redrawn = share * counts[:, [position[p] for p in params]]
        rows_of = minimise(model, np.tile(best, (num_samples, 1)), np.log(lrs), weight=redrawn, bounds=(low, high))
        samples = [rule(theta) for theta in rows_of.parameters]
    return LrRuleFit(
        rule=rule(best),
        samples=tuple(samples),
        num_sizes=len(sizes),
        rms=math.sqrt(2 * float(solution.objective.min())),
    )


def lr_curvature(trials: Sequence[LrTrial], *, window: float = WINDOW, confidence: float = 0.9) -> LrCurvature | None:
    """Fit a parabola in ln lr to the learning rates within a factor of the best one.

    Args:
        trials: The sweep of one size.
        window: How far from the best learning rate a trial may lie; further out the loss is no parabola.
        confidence: Coverage of the interval of the optimum, if the losses scatter normally around the parabola.

    Returns:
        None if fewer than three learning rates lie in the window or the parabola has no minimum.

    References: specs/adana.md 5.6; Fieller 1954 for the interval of a ratio.
    """
    inside = trials_near_best(trials, window=window)
    if len({lr for lr, _ in inside}) < 3:
        return None
    centre = inside[0][0]
    x, y = (np.array(column) for column in zip(*((math.log(lr / centre), loss) for lr, loss in inside), strict=True))
    design = np.stack([np.ones_like(x), x, x * x], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    c0, c1, c2 = parabola(inside)
    if c2 <= 0:
        return None
    freedom = len(x) - 3
    interval = None
    if freedom > 0:
        residual = y - design @ np.array([c0, c1, c2])
        spread = inverse * float(residual @ residual) / freedom
        quantile = t_quantile((1 + confidence) / 2, degrees_of_freedom=freedom)
        interval = _fieller(float(c1), float(c2), spread, quantile)
    return LrCurvature(
        best_lr=centre * math.exp(-c1 / (2 * c2)),
        best_loss=float(c0 - c1**2 / (4 * c2)),
        curvature=float(c2),
        lr_interval=interval and (centre * math.exp(interval[0]), centre * math.exp(interval[1])),
        num_trials=len(x),
    )


def trials_near_best(trials: Sequence[LrTrial], *, window: float = WINDOW) -> list[tuple[float, float]]:
    """Return learning rates and losses of the finished trials within a factor of the best one, best first."""
    finished = sorted((trial.loss, trial.lr) for trial in trials if trial.loss is not None)
    reach = math.log(window) * (1 + 1e-9)  # a factor of 4 made by two steps of 2 is within 4
    return [(lr, loss) for loss, lr in finished if abs(math.log(lr / finished[0][1])) <= reach]


def parabola(
    points: Sequence[tuple[float, float]], *, weights: Sequence[float] | None = None
) -> tuple[float, float, float]:
    """Return c0, c1, c2 of L = c0 + c1 x + c2 x^2, x = ln(lr / the first lr), by least squares."""
    x = np.log([lr / points[0][0] for lr, _ in points])
    design = np.stack([np.ones_like(x), x, x * x], axis=1)
    weighted = design if weights is None else design * np.array(weights)[:, None]
    c0, c1, c2 = np.linalg.solve(weighted.T @ design, weighted.T @ np.array([loss for _, loss in points]))
    return float(c0), float(c1), float(c2)


def _fieller(c1: float, c2: float, spread: Array, quantile: float) -> tuple[float, float] | None:
    """Return where the slope c1 + 2 c2 x may be zero; None if the curvature could be zero, which allows anything.

    The set of x with (c1 + 2 c2 x)^2 <= q^2 Var(c1 + 2 c2 x) lies between the roots of a quadratic.
    """
    square = quantile**2
    leading = 4 * (c2**2 - square * float(spread[2, 2]))
    middle = 4 * (c1 * c2 - square * float(spread[1, 2]))
    constant = c1**2 - square * float(spread[1, 1])
    if leading <= 0:
        return None
    root = math.sqrt(max(middle**2 - 4 * leading * constant, 0.0))
    low, high = sorted(((-middle - root) / (2 * leading), (-middle + root) / (2 * leading)))
    # Far out an e-fold of the learning rate is as good as anything: do not overflow.
    return max(low, -50.0), min(high, 50.0)


def _drawn_counts(num_sizes: int, num_samples: int, generator: np.random.Generator) -> Array:
    """Return how often each size is drawn, by sample; a single size cannot determine an exponent and is drawn again."""
    counts = np.empty((num_samples, num_sizes))
    for row in counts:
        while True:
            row[:] = np.bincount(generator.integers(num_sizes, size=num_sizes), minlength=num_sizes)
            if np.count_nonzero(row) > 1:
                break
    return counts
