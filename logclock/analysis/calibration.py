"""How often does each kind of verdict find a difference that is not there, and one that is?

An optimizer is compared with itself, search and all, as often as one likes. Nothing is trained: losses are drawn from
the noise and the curvature that a ladder measured. Every verdict comes from the functions that reports use.
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from logclock.analysis.ladder_multipliers import size_multipliers, size_trends
from logclock.analysis.ladder_result import LadderResult
from logclock.analysis.lr_choice import choice_costs
from logclock.analysis.lr_rules import LrTrial, parabola, trials_near_best
from logclock.analysis.minimise import Array
from logclock.analysis.significance import (
    Difference,
    PooledDifference,
    jointly_judged,
    paired_difference,
    pooled_difference,
    with_moderated_spreads,
)

__all__ = ["KINDS", "MEASURED", "Calibration", "Noise", "Rate", "calibrate", "measured_noise"]

GRID = (-math.log(2), 0.0, math.log(2))
"""ln of the first learning rates over the centre of their grid: three a factor 2 apart, as a ladder's."""

GAIN = 1.3
"""The multiplier that is the same at all sizes where a growing one is looked for."""

SPREAD_SHARE = 0.25
"""Standard deviation of ln curvature where a ledger has too few parabolas to measure it."""

KINDS = {
    "compare": "one optimizer against another at one size",
    "pooled": "mean over all sizes",
    "any size": "any of the sizes",
    "any optimizer": "any of the optimizers, mean over all sizes",
    "any cell": "any optimizer at any size",
    "trend in nats": "gain in nats grows with size",
    "trend in the multiplier": f"multiplier grows with size (all of them {GAIN:g})",
    "ablate": "any of the arms of an experiment",
}
"""What each verdict says; a false positive is one of these said of an optimizer compared with itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """What moves a final loss, in nats.

    Args:
        own: Standard deviation of a run, by size.
        shared: Standard deviation common to the runs of one seed, by size.
        curvature: Nats that a wrong learning rate costs per squared e-fold, the median over cells.
        curvature_spread: Standard deviation of its logarithm between sizes.
        params: P of each size.
        compute: FLOP of each size.
        loss: Of the baseline at the first size.
        exponent: With which its loss falls in compute.
    """

    own: tuple[float, ...]
    shared: tuple[float, ...]
    curvature: float
    curvature_spread: float
    params: tuple[float, ...]
    compute: tuple[float, ...]
    loss: float = 3.9
    exponent: float = 0.068

    def __post_init__(self) -> None:
        lengths = {len(self.own), len(self.shared), len(self.params), len(self.compute)}
        if len(lengths) > 1 or not self.own:
            raise ValueError(
                f"own, shared, params and compute need one number each for every size, got {len(self.own)}, "
                f"{len(self.shared)}, {len(self.params)} and {len(self.compute)}."
            )
        for name in ("own", "shared"):
            if min(getattr(self, name)) < 0:
                raise ValueError(f"{name} must be >= 0 at every size, got {getattr(self, name)}. It is in nats.")
        if not (self.curvature >= 0 and self.curvature_spread >= 0):
            raise ValueError(
                f"curvature and curvature_spread must be >= 0, got {self.curvature!r} and {self.curvature_spread!r}."
            )

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the sizes, ascending."""
        return tuple(str(i) for i in range(len(self.own)))

    @property
    def levels(self) -> tuple[float, ...]:
        """The baseline's loss at the best learning rate of each size."""
        return tuple(self.loss * (compute / self.compute[0]) ** -self.exponent for compute in self.compute)


MEASURED = Noise(
    own=(0.021, 0.007, 0.015, 0.009, 0.006),
    shared=(0.0, 0.014, 0.0, 0.0, 0.008),
    curvature=0.085,
    curvature_spread=0.25,
    params=(6_912, 31_104, 82_944, 129_600, 248_832),
    compute=(7.3e10, 4.7e11, 1.8e12, 3.7e12, 1.1e13),
)
"""Of the micro ladder (specs/experiments.md 3.1)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """How often a verdict was given.

    Args:
        count: In how many repetitions.
        repetitions: Of how many.
    """

    count: int
    repetitions: int

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.repetitions

    @property
    def error(self) -> float:
        """Its standard error from the finite number of repetitions."""
        share = (self.count + 1) / (self.repetitions + 2)  # never 0, as a count of 0 is no proof of never
        return math.sqrt(share * (1 - share) / self.repetitions)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the verdicts of one procedure are worth.

    Args:
        false_positives: By kind of verdict, with no effect.
        power: By kind, with the effect.
        effect: In nats: at every size and of every optimizer; from 0 at the smallest size to twice as much at the
            largest for the trend in nats.
        num_seeds: Seeds of every winner.
        sampling_error: Standard error of a difference from the validation set, known to the procedure.
    """

    false_positives: Mapping[str, Rate]
    power: Mapping[str, Rate]
    effect: float
    num_seeds: int
    sampling_error: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Searched:
    """An optimizer after its search: trials, the rate chosen and the losses of all seeds, by size."""

    trials: Mapping[str, Sequence[LrTrial]]
    chosen: Mapping[str, float]
    losses: Mapping[str, Mapping[int, float]]


def calibrate(
    noise: Noise = MEASURED,
    *,
    repetitions: int = 2000,
    num_seeds: int = 3,
    num_optimizers: int = 5,
    effect: float = 0.03,
    sampling_error: float = 0.0044,
    kinds: Sequence[str] = tuple(KINDS),
    seed: int = 0,
) -> Calibration:
    """Simulate an optimizer against itself and return how often each kind of verdict is wrong, and right.

    Every twin has a grid of its own, placed at random against the optimum; three learning rates a factor 2 apart with
    the first seed, then one more beyond the edge or beside the best; the best of the four is run with the other seeds.
    What the validation set does to a twin is drawn once for all sizes and seeds.

    Args:
        noise: Of runs.
        repetitions: How many times everything is drawn.
        num_seeds: Seeds of every winner, two or more.
        num_optimizers: Beside the baseline, where several are judged together; also the arms of an experiment.
        effect: In nats, for the power; see `Calibration`.
        sampling_error: Standard error of a difference from the validation set.
        kinds: Which verdicts, of `KINDS`.
        seed: Of the simulation.

    Raises:
        ValueError: A kind is unknown, or there is nothing to repeat.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"unknown kind of verdict {unknown[0]!r}. Known: {', '.join(KINDS)}.")
    if repetitions < 1 or num_seeds < 2 or num_optimizers < 1:
        raise ValueError(
            f"repetitions and num_optimizers must be >= 1 and num_seeds >= 2, got {repetitions}, {num_optimizers} and "
            f"{num_seeds}. One seed has no spread."
        )
    judges = {kind: _judge(kind, noise, sampling_error) for kind in kinds}
    counts = {(kind, gain): 0 for kind in kinds for gain in (0.0, effect)}
    generator = np.random.default_rng(seed)
    for repetition in range(repetitions):
        arms = _draw(noise, num_optimizers + 1, num_seeds, sampling_error, generator)
        for kind, judge in judges.items():
            for gain in (0.0, effect):
                counts[kind, gain] += judge(arms, gain, repetition)
    return Calibration(
        false_positives={kind: Rate(count=counts[kind, 0.0], repetitions=repetitions) for kind in kinds},
        power={kind: Rate(count=counts[kind, effect], repetitions=repetitions) for kind in kinds},
        effect=effect,
        num_seeds=num_seeds,
        sampling_error=sampling_error,
    )


def measured_noise(result: LadderResult) -> Noise:
    """Return the noise of a ladder: what is left at each size of losses by optimizer and seed, and the curvatures.

    At each size an analysis of variance of the optimizers' losses by optimizer and seed: the mean square of the rest
    is the variance of a run, that of the seeds minus it, over the number of optimizers, what a seed does to all.

    Raises:
        ValueError: A size has fewer than two optimizers of two shared seeds, or no search shows a curvature.
    """
    own, shared = [], []
    for size in result.sizes:
        cells = [cell for cell in result.cells.values() if cell.size == size.name and len(cell.losses) > 1]
        seeds = sorted(set.intersection(*(set(cell.losses) for cell in cells))) if cells else []
        if len(cells) < 2 or len(seeds) < 2:
            raise ValueError(
                f"the noise at size {size.name} needs two optimizers or more with two shared seeds, got {len(cells)} "
                f"with {len(seeds)}. Run more seeds, or leave the ledger out for the noise of the micro ladder."
            )
        table = np.array([[cell.losses[seed] for seed in seeds] for cell in cells])
        effect = table.mean(axis=0) - table.mean()
        rest = table - table.mean(axis=1, keepdims=True) - effect
        variance = float((rest**2).sum()) / ((len(cells) - 1) * (len(seeds) - 1))
        of_seeds = float((effect**2).sum()) * len(cells) / (len(seeds) - 1)
        own.append(math.sqrt(variance))
        shared.append(math.sqrt(max(of_seeds - variance, 0.0) / len(cells)))
    curvatures = _curvatures(result)
    baseline = [cell for cell in result.cells_of(result.baseline) if cell.loss is not None]
    x = [math.log(result.size(cell.size).compute) for cell in baseline]
    y = [math.log(cell.loss) for cell in baseline if cell.loss is not None]
    slope, intercept = statistics.linear_regression(x, y) if len(x) > 1 else (-MEASURED.exponent, y[0])
    return Noise(
        own=tuple(own),
        shared=tuple(shared),
        curvature=statistics.median(curvatures),
        curvature_spread=_robust_spread([math.log(k) for k in curvatures if k > 0]),
        params=tuple(float(size.non_embedding_params) for size in result.sizes),
        compute=tuple(size.compute for size in result.sizes),
        loss=math.exp(intercept + slope * x[0]),
        exponent=-slope,
    )


def _curvatures(result: LadderResult) -> list[float]:
    found = []
    for cell in result.cells.values():
        known = [(trial.peak_lr, trial.loss) for trial in cell.trials if trial.peak_lr is not None]
        points = trials_near_best([LrTrial(lr=lr, loss=loss) for lr, loss in known])
        if len({lr for lr, _ in points}) > 2:
            found.append(parabola(points)[2])
    if not found or statistics.median(found) <= 0:
        raise ValueError(
            "no search of the ladder shows a curvature; three learning rates within a factor 4 of the best are needed. "
            "Leave the ledger out for the noise of the micro ladder."
        )
    return found


def _robust_spread(values: Sequence[float]) -> float:
    """Return the standard deviation that the quartiles of a normal sample would have."""
    if len(values) < 4:
        return SPREAD_SHARE
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / (2 * statistics.NormalDist().inv_cdf(0.75))


def _draw(
    noise: Noise, num_arms: int, num_seeds: int, sampling_error: float, generator: np.random.Generator
) -> list[_Searched]:
    """Return the same optimizer `num_arms` times, searched and run anew each time, at the baseline's losses."""
    own, num_sizes = np.array(noise.own), len(noise.own)
    spread = noise.curvature_spread
    k = noise.curvature * np.exp(spread * generator.standard_normal(num_sizes) - spread**2 / 2)
    of_seed = np.array(noise.shared)[:, None] * generator.standard_normal((num_sizes, num_seeds))
    level = np.array(noise.levels)
    arms = []
    for _ in range(num_arms):
        # The standard error of a difference is that of two optimizers, so each has its share.
        base = level + sampling_error / math.sqrt(2) * generator.standard_normal()
        x = generator.uniform(GRID[0] / 2, GRID[2] / 2, num_sizes)[:, None] + np.array(GRID)
        run = base[:, None] + of_seed[:, :1] + k[:, None] * x**2 + own[:, None] * generator.standard_normal(x.shape)
        more = np.array([_next_trial(rates, losses) for rates, losses in zip(x, run, strict=True)])
        last = base + of_seed[:, 0] + k * more**2 + own * generator.standard_normal(num_sizes)
        x, run = np.column_stack([x, more]), np.column_stack([run, last])
        best = run.argmin(axis=1)
        rate = np.take_along_axis(x, best[:, None], axis=1)
        losses = (
            base[:, None] + of_seed + k[:, None] * rate**2 + own[:, None] * generator.standard_normal(of_seed.shape)
        )
        losses[:, 0] = run.min(axis=1)
        arms.append(
            _Searched(
                trials={
                    size: [LrTrial(lr=math.exp(a), loss=b) for a, b in zip(x[i].tolist(), run[i].tolist(), strict=True)]
                    for i, size in enumerate(noise.sizes)
                },
                chosen={size: math.exp(float(rate[i, 0])) for i, size in enumerate(noise.sizes)},
                losses={size: dict(enumerate(losses[i].tolist())) for i, size in enumerate(noise.sizes)},
            )
        )
    return arms


def _next_trial(rates: Array, losses: Array) -> float:
    """Return where a ladder's search tries next: a step beyond the edge, or between the best and its better side."""
    best, step = int(losses.argmin()), GRID[1] - GRID[0]
    if best == 0 or best == len(rates) - 1:
        return float(rates[best] + (step if best else -step))
    return float(rates[best] + (step / 2 if losses[best + 1] < losses[best - 1] else -step / 2))


Judge = Callable[[list[_Searched], float, int], bool]


def _judge(kind: str, noise: Noise, sampling_error: float) -> Judge:
    """Return what decides whether a verdict of a kind is given; the first arm is the baseline."""
    sizes, params = noise.sizes, dict(zip(noise.sizes, noise.params, strict=True))
    growing = {size: 2 * i / max(len(sizes) - 1, 1) for i, size in enumerate(sizes)}

    def pooled(arms: list[_Searched], nats: float) -> dict[str, PooledDifference]:
        return _differences(arms, dict.fromkeys(sizes, nats), sampling_error)

    def compare(arms: list[_Searched], nats: float, repetition: int) -> bool:
        return _at_one_size(arms[:2], sizes[repetition % len(sizes)], nats, sampling_error)

    def ablate(arms: list[_Searched], nats: float, repetition: int) -> bool:
        return _at_one_size(arms, sizes[repetition % len(sizes)], nats, sampling_error)

    def trend_in_nats(arms: list[_Searched], nats: float, _: int) -> bool:
        found = _differences(arms[:2], {size: nats * growing[size] for size in sizes}, sampling_error)
        trend = size_trends(found, {}, params)["1"].nats
        return trend is not None and trend.is_shown

    def trend_in_the_multiplier(arms: list[_Searched], nats: float, _: int) -> bool:
        constant = [loss * (1 - GAIN**-noise.exponent) for loss in noise.levels]
        gains = {size: gain + nats * growing[size] for size, gain in zip(sizes, constant, strict=True)}
        found = _differences(arms[:2], gains, sampling_error)
        compute = dict(zip(sizes, noise.compute, strict=True))
        try:
            multipliers = size_multipliers(_lowered(arms[1], gains), arms[0].losses, compute, found["1"])
        except ValueError:  # the baseline does not fall where it must be extended: a report says so and has none
            return False
        trend = size_trends(found, {"1": multipliers}, params)["1"].multiplier
        return trend is not None and trend.is_shown

    def any_cell(arms: list[_Searched], nats: float, _: int) -> bool:
        found = pooled(arms, nats)
        single = {(label, size): one for label in found for size, one in found[label].by_size.items()}
        return _any_found(jointly_judged(single).values())

    judges: dict[str, Judge] = {
        "compare": compare,
        "pooled": lambda arms, nats, _: _any_found(pooled(arms[:2], nats).values()),
        "any size": lambda arms, nats, _: _any_found(pooled(arms[:2], nats)["1"].by_size.values()),
        "any optimizer": lambda arms, nats, _: _any_found(jointly_judged(pooled(arms, nats)).values()),
        "any cell": any_cell,
        "trend in nats": trend_in_nats,
        "trend in the multiplier": trend_in_the_multiplier,
        "ablate": ablate,
    }
    return judges[kind]


def _any_found(differences: Iterable[Difference | PooledDifference]) -> bool:
    return any(one.verdict in ("better", "worse") for one in differences)


def _at_one_size(arms: Sequence[_Searched], size: str, nats: float, sampling_error: float) -> bool:
    """Judge as `compare` does: what one size says of every arm against the first."""
    costs = choice_costs({i: (arm.trials[size], arm.chosen[size]) for i, arm in enumerate(arms)})
    found = {
        i: paired_difference(
            _lowered(arm, {size: nats})[size],
            arms[0].losses[size],
            search_error=math.hypot(costs[0] or 0.0, costs[i] or 0.0),
            sampling_error=sampling_error,
        )
        for i, arm in enumerate(arms)
        if i
    }
    return _any_found(jointly_judged(with_moderated_spreads(found, share_baseline=True)).values())


def _differences(
    arms: Sequence[_Searched], gains: Mapping[str, float], sampling_error: float
) -> dict[str, PooledDifference]:
    """Compare as `analyse_ladder` does: every arm with the first, over all sizes, before any joint judgement."""
    costs = choice_costs(
        {(i, size): (arm.trials[size], arm.chosen[size]) for i, arm in enumerate(arms) for size in gains}
    )
    return {
        str(i): pooled_difference(
            _lowered(arm, gains),
            arms[0].losses,
            search_errors={size: math.hypot(costs[0, size] or 0.0, costs[i, size] or 0.0) for size in gains},
            sampling_error=sampling_error,
        )
        for i, arm in enumerate(arms)
        if i
    }


def _lowered(arm: _Searched, gains: Mapping[str, float]) -> dict[str, dict[int, float]]:
    """Return the losses of an arm as if it were better by so many nats at each size."""
    return {size: {seed: loss - gain for seed, loss in arm.losses[size].items()} for size, gain in gains.items()}
