"""Which law does the loss follow as compute (or tokens) grows, and how well do the runs determine it?"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from logclock.analysis.minimise import Array, minimise
from logclock.analysis.uncertainty import expanded_quantiles, f_tail

__all__ = ["FORMS", "HUBER_DELTA", "Form", "HoldOut", "LackOfFit", "Law", "LawFit", "Point", "fit_laws", "hold_out"]

Form = Literal["power", "saturated", "broken"]

FORMS: dict[Form, tuple[int, bool]] = {"power": (1, False), "saturated": (1, True), "broken": (2, True)}
"""How many decaying terms, and whether there is a floor."""

HUBER_DELTA = 1e-3
"""Where a residual of ln L stops counting squared: about the run-to-run noise, so that one odd run cannot rule."""

NUM_SAMPLES = 1000
# Exponents outside are a constant or a cliff, which no ladder can tell from one at the bound.
EXPONENTS = (1e-4, 2.0)
# Where fits start: share of the smallest loss that is floor, and pairs of a faster and a slower exponent.
START_FLOORS = (0.02, 0.2, 0.4, 0.6, 0.8, 0.95)
START_EXPONENTS = tuple((fast, slow) for fast in (0.1, 0.2, 0.4, 0.8) for slow in (0.01, 0.03, 0.06))
FIRST_STEPS, NUM_FINALISTS = 40, 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """One run as a fit sees it.

    Args:
        compute: FLOP by one convention, or another measure of effort such as tokens.
        loss: Final loss, nats per token.
    """

    compute: float
    loss: float

    def __post_init__(self) -> None:
        for name, value in (("compute", self.compute), ("loss", self.loss)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value!r}. Leave unfinished runs out.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Law:
    """L(C) = floor + sum_i coefficient_i (C / unit)^(-exponent_i).

    Args:
        floor: The loss that no compute goes below.
        terms: (coefficient, exponent) of each, both positive, the steepest first.
        unit: The compute at which each term equals its coefficient.

    Examples:
        >>> law = Law(floor=1.7, terms=((1.5, 0.5),), unit=1e15)
        >>> round(float(law(4e15)), 9), round(float(law.compute_at(2.45)) / 1e15, 9)
        (2.45, 4.0)
    """

    floor: float
    terms: tuple[tuple[float, float], ...]
    unit: float = 1.0

    def __call__(self, compute: ArrayLike) -> Array:
        """Return the loss at a compute."""
        u = np.log(np.asarray(compute, float) / self.unit)
        b, c = (np.array(column) for column in zip(*self.terms, strict=True))
        total: Array = self.floor + (b * np.exp(-c * u[..., None])).sum(axis=-1)
        return total

    def compute_at(self, loss: ArrayLike) -> Array:
        """Return the compute that gives a loss; inf at the floor and below.

        ln of the decaying part is convex and falling in ln C, so Newton's steps reach its root from anywhere.
        """
        gap = np.asarray(loss, float) - self.floor
        target = np.log(np.where(gap > 0, gap, np.nan))
        b, c = (np.array(column)[:, None] for column in zip(*self.terms, strict=True))
        u = np.zeros(target.size)
        for _ in range(100):
            parts = b * np.exp(-c * u)
            total = parts.sum(axis=0)
            step = (np.log(total) - target.ravel()) * total / (c * parts).sum(axis=0)
            u = np.clip(u + step, -700.0, 700.0)
            if not np.any(np.abs(step) > 1e-13 * (1 + np.abs(u))):
                break
        compute: Array = np.where(gap > 0, self.unit * np.exp(u.reshape(gap.shape)), np.inf)
        return compute


@dataclasses.dataclass(frozen=True, kw_only=True)
class LackOfFit:
    """How far sizes lie off their law, against how far the seeds of one size lie apart.

    Args:
        misfit: Root mean square over the runs of the mean residual of ln L of their size.
        noise: Standard deviation of ln L between the seeds of one size, pooled.
        p_value: Chance of a ratio of their mean squares as large as this if the law holds.
    """

    misfit: float
    noise: float
    p_value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LawFit:
    """Laws fitted together, and how far the runs determine them.

    Args:
        form: `power` (no floor), `saturated` (floor and one term) or `broken` (floor and two terms).
        laws: The best law of each label; all share one floor.
        points: The runs that were fitted.
        residuals: ln L observed minus ln L fitted, per run.
        samples: The laws of each bootstrap sample; row i of every label comes from the same sample.
        noise: The residuals that bootstrap samples were made from, rescaled for the parameters spent.
        num_parameters: Fitted numbers, the shared floor counted once.
        is_floor_given: Whether the floor was given rather than fitted.
        delta: Of the Huber loss on ln L.
    """

    form: Form
    laws: Mapping[str, Law]
    points: Mapping[str, tuple[Point, ...]]
    residuals: Mapping[str, tuple[float, ...]]
    samples: Mapping[str, tuple[Law, ...]]
    noise: tuple[float, ...]
    num_parameters: int
    is_floor_given: bool
    delta: float

    @property
    def num_points(self) -> int:
        """How many runs were fitted."""
        return sum(map(len, self.points.values()))

    @property
    def degrees_of_freedom(self) -> int:
        """Runs minus fitted numbers; with none left nothing is known about the uncertainty."""
        return self.num_points - self.num_parameters

    def rms(self, label: str) -> float:
        """Return the root mean square residual of ln L of one label."""
        return float(np.sqrt(np.mean(np.square(self.residuals[label]))))

    def lack_of_fit(self) -> LackOfFit | None:
        """Compare residuals between sizes with those within, or return None where sizes or seeds are too few.

        F = (sum n_g mean_g^2 / (G - p)) / (sum (r - mean_g)^2 / (N - G)) of the residuals r of ln L, over the G groups
        of a label's runs of one size (n_g runs, their mean residual mean_g), N runs and p fitted numbers. Labels share
        their sizes and seeds, so what befalls one befalls the others: F is held against the freedom of one label,
        (G - p) / K and (N - G) / K for K labels.

        References: Draper and Smith 1998, Applied Regression Analysis, section 2.1, for least squares; the Huber fit
        is taken for one.
        """
        groups = [
            [residual for point, residual in zip(runs, self.residuals[label], strict=True) if point.compute == compute]
            for label, runs in self.points.items()
            for compute in {point.compute for point in runs}
        ]
        spare, repeats = len(groups) - self.num_parameters, self.num_points - len(groups)
        if spare < 1 or repeats < 1:
            return None
        means = [statistics.fmean(group) for group in groups]
        misfit = sum(len(group) * mean**2 for group, mean in zip(groups, means, strict=True))
        noise = sum((r - mean) ** 2 for group, mean in zip(groups, means, strict=True) for r in group)
        ratio = misfit / spare / (noise / repeats) if noise else math.inf
        return LackOfFit(
            misfit=math.sqrt(misfit / self.num_points),
            noise=math.sqrt(noise / repeats),
            p_value=f_tail(ratio, spare / len(self.points), repeats / len(self.points)),
        )

    def interval(
        self, label: str, quantity: Callable[[Law], float], *, confidence: float = 0.9
    ) -> tuple[float, float] | None:
        """Return the bootstrap interval of a quantity of one label's law, or None without samples."""
        values = [quantity(law) for law in self.samples[label]]
        return expanded_quantiles(values, confidence=confidence, degrees_of_freedom=self.degrees_of_freedom)

    def multiplier(self, label: str, baseline: str, compute: float) -> float:
        """Return the baseline's compute at the loss that a label's law has at `compute`, over `compute`.

        References: specs/adana.md 6.3 (ii).
        """
        return _multiplier(self.laws[label], self.laws[baseline], compute)

    def multiplier_interval(
        self, label: str, baseline: str, compute: float, *, confidence: float = 0.9
    ) -> tuple[float, float] | None:
        """Return the bootstrap interval of `multiplier`, or None without samples."""
        pairs = zip(self.samples[label], self.samples[baseline], strict=True)
        values = [_multiplier(law, reference, compute) for law, reference in pairs]
        return expanded_quantiles(values, confidence=confidence, degrees_of_freedom=self.degrees_of_freedom)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HoldOut:
    """What a fit to the smaller sizes says about the largest.

    Args:
        compute: The compute of the largest size.
        predicted: Its loss by the fit without it.
        interval: Where a new run would lie at `confidence`; None if the fit has no freedom left.
        observed: Mean loss of its runs.
        confidence: Coverage of the interval.
    """

    compute: float
    predicted: float
    interval: tuple[float, float] | None
    observed: float
    confidence: float

    @property
    def error(self) -> float:
        """Observed minus predicted, in nats."""
        return self.observed - self.predicted

    @property
    def is_inside(self) -> bool | None:
        """Whether the interval holds what was observed; None without an interval."""
        return None if self.interval is None else self.interval[0] <= self.observed <= self.interval[1]


def fit_laws(
    points: Mapping[str, Sequence[Point]],
    *,
    form: Form = "saturated",
    floor: float | None = None,
    unit: float | None = None,
    delta: float = HUBER_DELTA,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
) -> LawFit:
    """Fit loss against compute for several labels at once, with one floor for all.

    Minimises the summed Huber loss of ln L(C) - ln L over every run, from many starts. Intervals come from a bootstrap
    over runs that keeps the sizes, which were chosen, and redraws what the runs add to the law: the residuals of all
    runs, centred and multiplied by sqrt(n / (n - p)), are dealt out anew and every law is fitted again. It takes the
    noise in ln L to be of one size for all labels and sizes.

    Args:
        points: The runs of each label; several runs of one size (seeds) are several points.
        form: Which law.
        floor: Hold the floor at this loss instead of fitting it.
        unit: Unit of compute for the coefficients; the geometric mean of all computes if None.
        delta: Where the Huber loss turns linear, in ln L; inf for least squares.
        num_samples: Bootstrap samples; 0 for none.
        seed: Of the bootstrap.

    Raises:
        ValueError: The form is unknown, a floor is given to a law without one or lies above a loss, or there are fewer
            distinct sizes than numbers to fit.

    References: specs/adana.md 6.2.
    """
    layout = _Layout.of(points, form=form, floor=floor, unit=unit)
    target = np.log(np.array([point.loss for runs in points.values() for point in runs]))
    best = _best_of_many_starts(layout, target, delta)
    predicted, _ = layout.model(best[None])
    residual = target - predicted[0]
    freedom = len(target) - layout.num_parameters
    noise = (residual - residual.mean()) * math.sqrt(len(target) / freedom) if freedom > 0 else np.empty(0)
    rows = np.empty((0, layout.num_parameters))
    if num_samples and freedom > 0:
        drawn = np.random.default_rng(seed).choice(noise, size=(num_samples, len(target)))
        starts = np.tile(best, (num_samples, 1))
        bounds = layout.bounds(target)
        rows = minimise(layout.model, starts, predicted + drawn, bounds=bounds, delta=delta).parameters
    split = np.split(residual, np.cumsum([len(runs) for runs in points.values()])[:-1])
    return LawFit(
        form=form,
        laws=dict(zip(points, layout.laws(best), strict=True)),
        points={label: tuple(runs) for label, runs in points.items()},
        residuals={label: tuple(part.tolist()) for label, part in zip(points, split, strict=True)},
        samples=dict(zip(points, zip(*map(layout.laws, rows), strict=True), strict=True))
        if len(rows)
        else dict.fromkeys(points, ()),
        noise=tuple(noise.tolist()),
        num_parameters=layout.num_parameters,
        is_floor_given=floor is not None,
        delta=delta,
    )


def hold_out(
    points: Mapping[str, Sequence[Point]],
    *,
    form: Form = "saturated",
    floor: float | None = None,
    delta: float = HUBER_DELTA,
    confidence: float = 0.9,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
) -> dict[str, HoldOut]:
    """Predict the largest size of every label from a fit to the others.

    Arguments as in `fit_laws`. The interval is for the mean of as many new runs as were observed.
    """
    kept, held = {}, {}
    for label, runs in points.items():
        largest = max(point.compute for point in runs)
        # Runs of one size may differ by the tokens of a last partial step, not more.
        kept[label] = [point for point in runs if point.compute < 0.99 * largest]
        held[label] = [point for point in runs if point.compute >= 0.99 * largest]
    fit = fit_laws(kept, form=form, floor=floor, delta=delta, num_samples=num_samples, seed=seed)
    generator = np.random.default_rng(seed + 1)
    found = {}
    for label, runs in held.items():
        compute = float(np.mean([point.compute for point in runs]))
        interval = None
        if fit.samples[label]:
            draws = generator.choice(np.array(fit.noise), size=(len(fit.samples[label]), len(runs))).mean(axis=1)
            values = [float(law(compute)) * math.exp(draw) for law, draw in zip(fit.samples[label], draws, strict=True)]
            interval = expanded_quantiles(values, confidence=confidence, degrees_of_freedom=fit.degrees_of_freedom)
        found[label] = HoldOut(
            compute=compute,
            predicted=float(fit.laws[label](compute)),
            interval=interval,
            observed=float(np.mean([point.loss for point in runs])),
            confidence=confidence,
        )
    return found


def _best_of_many_starts(layout: "_Layout", target: Array, delta: float) -> Array:
    """Return the parameters of the best fit: every start goes a short way, the best ones to the end."""
    bounds = layout.bounds(target)
    short = minimise(
        layout.model, layout.starts(target), target, bounds=bounds, delta=delta, max_iterations=FIRST_STEPS
    )
    leading = short.parameters[np.argsort(short.objective)[:NUM_FINALISTS]]
    return minimise(layout.model, leading, target, bounds=bounds, delta=delta, max_iterations=1000).best


def _multiplier(law: Law, baseline: Law, compute: float) -> float:
    return float(baseline.compute_at(law(compute))) / compute


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where each law's numbers stand among the parameters: (ln floor), then ln coefficient and ln exponent by term."""

    u: Array
    label_of: Array
    num_labels: int
    num_terms: int
    floor: float | None
    unit: float

    @classmethod
    def of(
        cls, points: Mapping[str, Sequence[Point]], *, form: Form, floor: float | None, unit: float | None
    ) -> "_Layout":
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
        num_terms, has_floor = FORMS[form]
        if floor is not None and not has_floor:
            raise ValueError(f"floor must be None for the form 'power', got {floor!r}. Use 'saturated'.")
        smallest = min((point.loss for runs in points.values() for point in runs), default=math.inf)
        if floor is not None and not 0 <= floor < smallest:
            raise ValueError(f"floor must lie below every loss, {smallest:g} at least, got {floor!r}.")
        sizes = {label: len({point.compute for point in runs}) for label, runs in points.items()}
        if not sizes:
            raise ValueError(f"no label has runs of enough sizes for the form {form!r}. Train more sizes.")
        for label, count in sizes.items():
            if count < 2 * num_terms:
                raise ValueError(
                    f"{label!r} has runs of {count} sizes; the form {form!r} needs {2 * num_terms} or more. "
                    "Train more sizes or fit a simpler form."
                )
        compute = np.array([point.compute for runs in points.values() for point in runs], float)
        unit = float(np.exp(np.log(compute).mean())) if unit is None else unit
        layout = cls(
            u=np.log(compute / unit),
            label_of=np.repeat(np.arange(len(points)), [len(runs) for runs in points.values()]),
            num_labels=len(points),
            num_terms=num_terms,
            floor=floor if has_floor else 0.0,
            unit=unit,
        )
        if sum(sizes.values()) < layout.num_parameters:  # seeds of one size determine no number more
            raise ValueError(
                f"{sum(sizes.values())} sizes, counted for each label, cannot determine the {layout.num_parameters} "
                f"numbers of the form {form!r}. Train more sizes, give the floor, or fit a simpler form."
            )
        return layout

    @property
    def num_parameters(self) -> int:
        return (self.floor is None) + 2 * self.num_terms * self.num_labels

    def model(self, theta: Array) -> tuple[Array, Array]:
        """Return ln L and its derivatives; with term_i = b_i e^(-c_i u), d ln L / d ln b_i = term_i / L."""
        rows, n = len(theta), len(self.u)
        floor, log_b, log_c = self._parts(theta)
        c = np.exp(log_c[:, self.label_of])
        terms = np.exp(log_b[:, self.label_of] - c * self.u[:, None])
        loss = floor[:, None] + terms.sum(axis=-1)
        share = terms / loss[..., None]
        jacobian = np.zeros((rows, n, self.num_parameters))
        offset = self.num_parameters - 2 * self.num_terms * self.num_labels
        if offset:
            jacobian[:, :, 0] = floor[:, None] / loss
        points = np.arange(n)
        for i in range(self.num_terms):
            column = offset + 2 * (self.num_terms * self.label_of + i)
            jacobian[:, points, column] = share[..., i]
            jacobian[:, points, column + 1] = -share[..., i] * c[..., i] * self.u
        return np.log(loss), jacobian

    def _parts(self, theta: Array) -> tuple[Array, Array, Array]:
        """Return floor (rows,), ln b and ln c (rows, labels, terms)."""
        offset = self.num_parameters - 2 * self.num_terms * self.num_labels
        pairs = theta[:, offset:].reshape(len(theta), self.num_labels, self.num_terms, 2)
        floor = np.full(len(theta), self.floor) if self.floor is not None else np.exp(theta[:, 0])
        return floor, pairs[..., 0], pairs[..., 1]

    def laws(self, theta: Array) -> list[Law]:
        """Return the law of each label for one row of parameters."""
        floor, log_b, log_c = self._parts(theta[None])
        # In the rows of a batch the two terms may have changed places; a law has its steepest first.
        return [
            Law(
                floor=float(floor[0]),
                terms=tuple(sorted(zip(b.tolist(), c.tolist(), strict=True), key=lambda term: -term[1])),
                unit=self.unit,
            )
            for b, c in zip(np.exp(log_b[0]), np.exp(log_c[0]), strict=True)
        ]

    def bounds(self, target: Array) -> tuple[Array, Array]:
        head = 0 if self.floor is not None else 1
        pairs = np.tile([-50.0, math.log(EXPONENTS[0])], self.num_terms * self.num_labels)
        tops = np.tile([50.0, math.log(EXPONENTS[1])], self.num_terms * self.num_labels)
        low, high = np.full(head, -20.0), np.full(head, float(target.max()))
        return np.concatenate([low, pairs]), np.concatenate([high, tops])

    def starts(self, target: Array) -> Array:
        """Return one row per floor (and pair of exponents): what straight lines through ln(L - floor) give."""
        floors = [self.floor] if self.floor is not None else [f * float(np.exp(target.min())) for f in START_FLOORS]
        pairs = [None] if self.num_terms == 1 else list(START_EXPONENTS)
        rows = []
        for floor in floors:
            for exponents in pairs:
                head = [] if self.floor is not None else [math.log(floor)]
                for label in range(self.num_labels):
                    chosen = self.label_of == label
                    gap = np.maximum(np.exp(target[chosen]) - floor, 1e-3)
                    head += (
                        _line(self.u[chosen], gap) if exponents is None else _two_terms(self.u[chosen], gap, exponents)
                    )
                rows.append(head)
        return np.array(rows)


def _line(u: Array, gap: Array) -> list[float]:
    """Return ln b and ln c of gap = b e^(-c u) by regression of the logarithms."""
    slope, intercept = np.polyfit(u, np.log(gap), 1)
    return [float(intercept), math.log(max(-float(slope), EXPONENTS[0]))]


def _two_terms(u: Array, gap: Array, exponents: tuple[float, float]) -> list[float]:
    """Return ln b and ln c of two terms of given exponents by linear regression, kept positive."""
    columns = np.exp(-np.outer(u, exponents))
    coefficients, *_ = np.linalg.lstsq(columns, gap, rcond=None)
    kept = np.maximum(coefficients, 1e-2 * float(gap.mean()))
    return [number for b, c in zip(kept, exponents, strict=True) for number in (math.log(b), math.log(c))]
