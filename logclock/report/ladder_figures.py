"""Which pictures show what a ladder found?"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from logclock.analysis import CONVENTIONS, LadderCell, LadderMultiplier, LadderResult, LadderTrial, LawFit
from logclock.analysis.uncertainty import expanded_quantiles
from logclock.report.axes import frame, label_few_decades, legend, spaced
from logclock.report.drawing import FAINT, Drawing, Style, axes_grid, draw, settings, styles
from logclock.report.tables import number

__all__ = ["efficiency_drawing", "ladder_drawings", "lr_drawings", "residual_drawings"]

CURVE_POINTS = 40
# The losses lie below the multipliers: each has a band of the height to itself, and the two axes share no ink.
LOSS_BAND = 0.46
WIDE = (9.8, 5.2)
# How far the points of neighbouring labels stand apart, as a share of the ladder's width.
SIDEWAYS = 0.006
SMALL = (3.3, 2.5)
# How far bars and bands of multipliers may go beyond all points and curves, as a share of the height of those.
INTERVAL_REACH = 0.75
# Bands of more optimizers than this hide one another; the table has their ends.
MOST_BANDS = 3


def efficiency_drawing(result: LadderResult) -> Drawing:
    """Return multipliers over the baseline (left axis) and losses (right axis) against compute."""
    looks = styles(result.labels)
    with settings():
        figure, (axes,) = axes_grid(width=WIDE[0], height=WIDE[1])
        right = axes.twinx()
        shown = [1.0]
        grid = _compute_grid(result)
        axes.axhline(1.0, color=looks[result.baseline].color, linewidth=1.6, label=result.baseline)
        for label, look in looks.items():
            _draw_losses(right, result, label, look, grid)
            if label != result.baseline:
                shown += _draw_multipliers(axes, result, label, look, grid)
        ends, is_cut = _draw_intervals(axes, result, looks, grid, shown)
        _share_height(axes, right, shown + ends, [cell.loss for cell in result.cells.values() if cell.loss is not None])
        axes.set(xscale="log", xlabel=f"compute (FLOP, {_convention(result)})")
        _label_compute(axes, result)
        legend(axes)
        note = (
            "Left axis: the baseline's compute at equal loss over the optimizer's compute; right axis: final loss. "
            "Points are finished runs at the best setting of each size, read between the baseline's points, with a "
            f"ring where its line is extended; bars hold the {100 * result.confidence:g} % interval, set a little "
            "aside of each other."
        )
        if is_cut:
            note += " A triangle marks a bar that goes on beyond it; the table has its end."
        if result.fit is not None:
            band = "with its bootstrap interval" if _has_bands(result) else "its intervals are in the table"
            note += f" Lines: the {result.form} law, {band}; dotted beyond the runs it rests on."
        return draw(figure, name="efficiency", title="Compute multiplier and loss against compute", caption=note)


def ladder_drawings(result: LadderResult) -> list[Drawing]:
    """Return differences in nats against compute, and the best learning rates against size."""
    looks = styles(result.labels)
    with settings():
        drawings = [_differences(result, looks)] if len(result.labels) > 1 else []
        if result.lr_rules:
            drawings.append(_lr_rules(result, looks))
        return drawings


def lr_drawings(result: LadderResult) -> list[Drawing]:
    """Return one small figure per size with the losses against the learning rate; none without a search."""
    looks = styles(result.labels)
    rungs = {size.name: [cell for cell in result.cells.values() if cell.size == size.name] for size in result.sizes}
    with settings():
        return [
            _lr_panel(name, cells, looks)
            for name, cells in rungs.items()
            if any(len(cell.trials) > 1 for cell in cells)
        ]


def residual_drawings(result: LadderResult) -> list[Drawing]:
    """Return the residuals of every law that was fitted, on one scale."""
    looks = styles(result.labels)
    largest = max((abs(r) for fit in result.fits.values() for rs in fit.residuals.values() for r in rs), default=0.0)
    with settings():
        return [_residuals(result, fit, looks, 1000 * largest) for fit in result.fits.values()]


def _draw_losses(axes: Any, result: LadderResult, label: str, look: Style, grid: Sequence[float]) -> None:
    points = [(result.size(c.size).compute, c.loss) for c in result.cells_of(label) if c.loss is not None]
    axes.plot(*_columns(points), color=look.color, marker="s", markersize=3, linestyle="", alpha=0.75)
    if result.fit is not None and label in result.fit.laws:
        law = result.fit.laws[label]
        axes.plot(grid, law(grid), color=look.color, linestyle=look.dashes, linewidth=0.9, alpha=0.75)


def _draw_multipliers(axes: Any, result: LadderResult, label: str, look: Style, grid: Sequence[float]) -> list[float]:
    """Draw points and curve; return the heights that the axes must show."""
    points = [(compute, multiplier.value) for compute, multiplier in _multipliers(result, label)]
    axes.plot(*_columns(points), color=look.color, marker="o", markersize=5, linestyle="", label=label)
    beyond = [point for point, (_, found) in zip(points, _multipliers(result, label), strict=True) if found.is_extended]
    axes.plot(*_columns(beyond), color=look.color, marker="o", markersize=9, fillstyle="none", linestyle="")
    heights = [value for _, value in points]
    fit = result.fit
    if fit is not None and {label, result.baseline} <= fit.laws.keys():
        curve = [fit.multiplier(label, result.baseline, compute) for compute in grid]
        own = [point.compute for point in fit.points[label]]
        is_between = [min(own) * 0.999 <= compute <= max(own) * 1.001 for compute in grid]
        axes.plot(grid, curve, color=look.color, linestyle=":", linewidth=1.2)
        axes.plot(*_columns(_where(grid, curve, is_between)), color=look.color, linestyle=look.dashes)
        heights += [value for value, is_inside in zip(curve, is_between, strict=True) if is_inside]
    return heights


def _multipliers(result: LadderResult, label: str) -> list[tuple[float, LadderMultiplier]]:
    """Return the multipliers between finished runs, with the compute at which they are drawn."""
    aside = _aside(result, label)
    return [
        (aside * result.size(cell.size).compute, cell.multiplier)
        for cell in result.cells_of(label)
        if cell.multiplier is not None
    ]


def _draw_intervals(
    axes: Any, result: LadderResult, looks: Mapping[str, Style], grid: Sequence[float], shown: Sequence[float]
) -> tuple[list[float], bool]:
    """Draw bars and bands as far as the rest stays readable; return where bars end and whether one was cut.

    Two seeds give intervals many times as wide as all points together.
    """
    low, high = min(shown), max(shown)
    reach = INTERVAL_REACH * max(high - low, 0.1)
    floor, top = low - reach, high + reach
    ends: list[float] = []
    is_cut = False
    for label, look in looks.items():
        for compute, multiplier in _multipliers(result, label):
            if multiplier.interval is None:
                continue
            drawn = np.clip(multiplier.interval, floor, top).tolist()
            axes.plot([compute] * 2, drawn, color=look.color, linewidth=1.1)
            for bound, end, marker in zip(multiplier.interval, drawn, "v^", strict=True):
                if bound != end:
                    axes.plot([compute], [end], color=look.color, marker=marker, markersize=4, linestyle="")
                    is_cut = True
            ends += drawn
        fit = result.fit
        if fit is None or not _has_bands(result) or label == result.baseline:
            continue
        if {label, result.baseline} <= fit.laws.keys():
            bounds = _band(fit, label, result.baseline, grid, result.confidence)
            if bounds[0]:
                axes.fill_between(grid, *np.clip(bounds, floor, top), color=look.color, alpha=0.13, linewidth=0)
    return ends, is_cut


def _has_bands(result: LadderResult) -> bool:
    return len(result.labels) - 1 <= MOST_BANDS


def _band(
    fit: LawFit, label: str, baseline: str, grid: Sequence[float], confidence: float
) -> tuple[list[float], list[float]]:
    """Return the bootstrap interval of the multiplier along a curve; empty without samples."""
    pairs = zip(fit.samples[label], fit.samples[baseline], strict=True)
    curves = [reference.compute_at(law(grid)) / np.asarray(grid) for law, reference in pairs]
    bounds = [
        expanded_quantiles(column, confidence=confidence, degrees_of_freedom=fit.degrees_of_freedom)
        for column in zip(*curves, strict=True)
    ]
    known = [bound for bound in bounds if bound is not None]
    return [low for low, _ in known], [high for _, high in known]


def _differences(result: LadderResult, looks: Mapping[str, Style]) -> Drawing:
    figure, (axes,) = axes_grid()
    effect = result.minimum_effect
    axes.axhspan(-effect, effect, color=FAINT, alpha=0.25, linewidth=0)
    axes.axhline(0, color=looks[result.baseline].color, linewidth=1.2)
    shown = [(1.0, -effect), (1.0, effect)]
    for label, difference in result.differences.items():
        points = []
        for name, found in difference.by_size.items():
            compute = _aside(result, label) * result.size(name).compute
            if found.mean is not None:
                points.append((compute, found.mean))
            if found.interval is not None:
                axes.plot([compute] * 2, found.interval, color=looks[label].color, linewidth=1.1)
                shown += [(compute, bound) for bound in found.interval]
        shown += points
        look = looks[label]
        axes.plot(*_columns(points), color=look.color, linestyle=look.dashes, marker="o", markersize=4, label=label)
    axes.set_xscale("log")
    frame(axes, shown, x_label="compute (FLOP)", y_label=f"loss minus {result.baseline} (nats per token)")
    _label_compute(axes, result)
    legend(axes)
    caption = (
        f"Mean over seeds, paired; below the line the optimizer is ahead. Grey: the minimum effect of {effect:g} nats. "
        "Bars: 95 % intervals, each by itself; the table has the verdicts, adjusted for their number."
    )
    return draw(figure, name="ladder-difference", title="Difference to the baseline", caption=caption)


def _lr_rules(result: LadderResult, looks: Mapping[str, Style]) -> Drawing:
    figure, (axes,) = axes_grid()
    shown: list[float] = []
    params = [size.non_embedding_params for size in result.sizes]
    line = np.geomspace(params[0], params[-1], CURVE_POINTS).tolist()
    for label, fit in result.lr_rules.items():
        look = looks[label]
        for cell in result.cells_of(label):
            if cell.best is None or cell.best.peak_lr is None:
                continue
            at = result.size(cell.size).non_embedding_params
            axes.plot([at], [cell.best.peak_lr], color=look.color, marker="o", markersize=7, fillstyle="none")
            shown.append(cell.best.peak_lr)
            if cell.curvature is not None:
                axes.plot([at], [cell.curvature.best_lr], color=look.color, marker="x", markersize=5)
                shown.append(cell.curvature.best_lr)
        curve = [fit.rule(p) for p in line]
        axes.plot(line, curve, color=look.color, linestyle=look.dashes, label=label)
        shown += curve
    axes.set(xscale="log", yscale="log", xlabel="non-embedding parameters", ylabel="peak learning rate")
    axes.set_ylim(0.85 * min(shown), 1.18 * max(shown))
    label_few_decades(axes.yaxis, shown)
    _label_few(axes, params, minimum=0.16, write=_count)
    legend(axes)
    caption = "Rings: the best tried. Crosses: the optimum of the parabola. Lines: the rules a (b + P)^d."
    return draw(figure, name="ladder-lr", title="Learning rate against size", caption=caption)


def _lr_panel(name: str, cells: Sequence[LadderCell], looks: Mapping[str, Style]) -> Drawing:
    figure, (axes,) = axes_grid(width=SMALL[0], height=SMALL[1])
    shown: list[tuple[float, float]] = []
    lost = False
    for cell in cells:
        look = looks[cell.label]
        known = [t for t in cell.trials if t.peak_lr is not None]
        alike = [t for t in known if cell.best is not None and t.settings == cell.best.settings]
        points = _losses_by_rate(alike)
        others = _losses_by_rate(trial for trial in known if trial not in alike)
        shown += points + others
        axes.plot(*_columns(points), color=look.color, linestyle=look.dashes, marker="o", markersize=3, linewidth=1.2)
        axes.plot(*_columns(others), color=look.color, linestyle="", marker="d", markersize=3)
        if cell.best is not None and cell.best.peak_lr is not None and cell.best.loss is not None:
            axes.plot(
                [cell.best.peak_lr], [cell.best.loss], color=look.color, marker="o", markersize=8, fillstyle="none"
            )
        dead = [trial.peak_lr for trial in known if trial.loss is None]
        lost = lost or bool(dead)
        axes.plot(
            dead, [0.97] * len(dead), color=look.color, marker="x", linestyle="", transform=axes.get_xaxis_transform()
        )
    axes.set_xscale("log")
    frame(axes, shown, x_label="peak learning rate", y_label="final loss", headroom=0.1)
    _label_few(axes, sorted({lr for lr, _ in shown}), minimum=0.3, write=number)
    caption = "Crosses: runs that did not finish." if lost else ""
    return draw(figure, name=f"lr-{name}", title=f"Size {name}", caption=caption)


def _losses_by_rate(trials: Iterable[LadderTrial]) -> list[tuple[float, float]]:
    return [(t.peak_lr, t.loss) for t in trials if t.peak_lr is not None and t.loss is not None]


def _residuals(result: LadderResult, fit: LawFit, looks: Mapping[str, Style], largest: float) -> Drawing:
    figure, (axes,) = axes_grid(width=SMALL[0], height=SMALL[1])
    axes.axhline(0, color=FAINT, linewidth=0.9)
    for label, residuals in fit.residuals.items():
        points = [(point.compute, 1000 * r) for point, r in zip(fit.points[label], residuals, strict=True)]
        axes.plot(*_columns(points), color=looks[label].color, marker="o", markersize=3.5, linestyle="")
    axes.set(xscale="log", xlabel="compute (FLOP)", ylabel="1000 (ln L - fit)")
    axes.set_ylim(-1.1 * largest or -1, 1.1 * largest or 1)
    _label_compute(axes, result)
    caption = f"{fit.num_parameters} numbers from {fit.num_points} runs."
    lack = fit.lack_of_fit()
    if lack is not None:
        caption += f" Lack of fit: p = {lack.p_value:.2g}."
    return draw(figure, name=f"residuals-{fit.form}", title=f"Residuals, {fit.form} law", caption=caption)


def _aside(result: LadderResult, label: str) -> float:
    """Return the factor on compute that moves a label's points a little to the side, where no bar covers another."""
    width = math.log(result.sizes[-1].compute / result.sizes[0].compute)
    middle = len(result.labels) / 2  # of the labels beside the baseline, which are 1, 2, ...
    return math.exp(SIDEWAYS * width * (result.labels.index(label) - middle))


def _compute_grid(result: LadderResult) -> list[float]:
    """Return the compute of curves: the sizes and half a step beyond on either side."""
    low, high = result.sizes[0].compute, result.sizes[-1].compute
    beyond = 1.35
    grid: list[float] = np.geomspace(low / beyond, high * beyond, CURVE_POINTS).tolist()
    return sorted({*grid, *(size.compute for size in result.sizes)})


def _share_height(axes: Any, right: Any, multipliers: Sequence[float], losses: Sequence[float]) -> None:
    """Give the multipliers the upper and the losses the lower part of the figure."""
    low, high = min(multipliers), max(multipliers)
    span = max(high - low, 0.05)
    axes.set_ylim(low - 0.08 * span - (span * 1.15) * LOSS_BAND / (1 - LOSS_BAND), high + 0.07 * span)
    axes.set_ylabel("compute multiplier", loc="top")
    ticks = [tick for tick in axes.get_yticks() if low - 0.1 * span <= tick <= high + 0.07 * span]
    axes.set_yticks(ticks, [f"{tick:.4g}" for tick in ticks])
    floor, top = min(losses), max(losses)
    height = max(top - floor, 0.01)
    right.set_ylim(floor - 0.1 * height, top + 0.1 * height + 1.2 * height * (1 - LOSS_BAND) / LOSS_BAND)
    right.set_ylabel("final loss (nats per token)", loc="bottom")
    kept = [tick for tick in right.get_yticks() if floor - 0.1 * height <= tick <= top + 0.12 * height]
    right.set_yticks(kept, [f"{tick:.4g}" for tick in kept])
    right.spines["right"].set_visible(True)
    right.grid(visible=False)


def _label_compute(axes: Any, result: LadderResult) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(numticks=9))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"1e{math.log10(value):.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = result.sizes[0].compute, result.sizes[-1].compute
    axes.set_xlim(low / 1.5, high * 1.5)


def _label_few(axes: Any, values: Sequence[float], *, minimum: float, write: Callable[[float], str]) -> None:
    """Label some of the values that occur, as many as there is room for."""
    from matplotlib.ticker import NullFormatter, NullLocator

    ticks = spaced(values, at_least=minimum)
    axes.set_xticks(ticks, [write(float(f"{tick:.2g}")) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _count(value: float) -> str:
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k"


def _convention(result: LadderResult) -> str:
    if result.is_imported:
        return "6 x parameters per token"
    known = CONVENTIONS.get(result.convention)
    return f"{known.formula} per token" if known else result.convention


def _columns(points: Sequence[tuple[float, float]]) -> tuple[Sequence[float], Sequence[float]]:
    return ([x for x, _ in points], [y for _, y in points])


def _where(xs: Sequence[float], ys: Sequence[float], chosen: Sequence[bool]) -> list[tuple[float, float]]:
    return [(x, y) for x, y, is_chosen in zip(xs, ys, chosen, strict=True) if is_chosen]
