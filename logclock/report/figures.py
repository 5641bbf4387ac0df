"""Which pictures show what happened in a study?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from logclock.analysis import Comparison, Study, Sweep
from logclock.analysis.curves import Curve, difference_curve, seed_curve, smoothed_curve
from logclock.analysis.study import planned_steps
from logclock.records import RunRecord
from logclock.report.axes import frame, label_few_decades, legend, spaced
from logclock.report.drawing import FAINT, Drawing, Style, axes_grid, draw, settings, styles
from logclock.report.tables import number, size_unit

__all__ = ["cost_drawings", "curve_drawings", "schedule_drawings", "search_drawing", "sweep_drawings"]

SCHEDULES = {
    "lr": ("Learning rate", "lr(t)"),
    "ema1": ("Weight of the new gradient", "ema1(t) = 1 - beta1(t)"),
    "ema2": ("Weight of the new squared gradient", "ema2(t) = 1 - beta2(t)"),
    "gain": ("Momentum gain", "gain(t)"),
    "decay": ("Weight decay", "fraction removed per step"),
}
UNIT = "(nats per token)"
# A figure starts where the loss has left the plateau of initialisation, or the rest would be squeezed flat.
START_FRACTION = 0.02
LATE_FRACTION = 0.5
TRAIN_BINS = 60
BAR_HEIGHT = 0.62


def curve_drawings(study: Study, comparison: Comparison) -> list[Drawing]:
    """Return the curves of the main runs: validation loss, its end, difference to the baseline, training loss."""
    looks = styles(list(study.main))
    with settings():
        name = comparison.loss_name
        drawings = [_validation(study, looks, name), _late_validation(study, looks, name)]
        if len(study.main) > 1 and study.finished(study.baseline):
            drawings.append(_difference(study, comparison, looks))
        if comparison.is_imported and not any(map(_has_training, study.records)):
            return drawings
        return [*drawings, _training(study, looks)]


def schedule_drawings(study: Study) -> list[Drawing]:
    """Return one small figure per scheduled scalar that some optimizer has."""
    looks = styles(list(study.main))
    with settings():
        return [
            _schedule(study, looks, key)
            for key in SCHEDULES
            if any(_schedule_lines(runs[0], key) for runs in study.main.values())
        ]


def sweep_drawings(comparison: Comparison) -> list[Drawing]:
    """Return the final loss against the peak learning rate, if there was a sweep."""
    if not comparison.sweeps:
        return []
    labels = [row.label for row in comparison.rows]
    looks = styles([*labels, *(sweep.label for sweep in comparison.sweeps if sweep.label not in labels)])
    with settings():
        return [_sweep(comparison.sweeps, looks, comparison.loss_name)]


def search_drawing(sweeps: Sequence[Sweep]) -> Drawing:
    """Return the final loss against the peak learning rate of a search by itself."""
    with settings():
        return _sweep(sweeps, styles([sweep.label for sweep in sweeps]))


def cost_drawings(comparison: Comparison) -> list[Drawing]:
    """Return step times and optimizer memory, if they were measured for at least two optimizers."""
    rows = [row for row in comparison.rows if row.step_seconds is not None and row.optimizer_state_bytes is not None]
    if len(rows) < 2:
        return []
    looks = styles([row.label for row in comparison.rows])
    colors = {row.label: looks[row.label].color for row in rows}
    with settings():
        figure, axes = _bars(
            colors, [1000 * (row.step_seconds or 0) for row in rows], "median step time (ms)", alpha=0.45
        )
        parts = [1000 * (row.optimizer_step_seconds or 0) for row in rows]
        axes.barh(range(len(rows)), parts, color=list(colors.values()), height=BAR_HEIGHT, linewidth=0)
        caption = (
            "Medians over the runs, each timed with other neighbours on the machine: not a ratio of optimizers. "
            "benchmarks/step_time.py measures those in one process."
        )
        if any(parts):
            caption += " Dark: the optimizer's part."
        time = draw(figure, name="time", title="Time per step", caption=caption)
        state = [row.optimizer_state_bytes or 0 for row in rows]
        unit, scale = size_unit(max(state))
        figure, _ = _bars(colors, [value / scale for value in state], f"optimizer state ({unit})", alpha=0.8)
        return [time, draw(figure, name="memory", title="Optimizer memory", caption="")]


def _bars(colors: Mapping[str, str], lengths: Sequence[float], x_label: str, *, alpha: float) -> tuple[Any, Any]:
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = axes_grid(height=0.75 + 0.3 * len(colors))
    positions = list(range(len(colors)))
    axes.barh(positions, lengths, color=list(colors.values()), alpha=alpha, height=BAR_HEIGHT, linewidth=0)
    axes.set_yticks(positions, list(colors))
    axes.set(xlabel=x_label)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _has_training(record: RunRecord) -> bool:
    return any(loss is not None for loss in record.train.get("loss", []))


def _validation(study: Study, looks: Mapping[str, Style], name: str) -> Drawing:
    figure, (axes,) = axes_grid()
    total = _total_steps(study)
    shown = _draw_runs(axes, study, looks, start=START_FRACTION * total)
    frame(axes, shown, x_label="step", y_label=f"{name} {UNIT}")
    _use_log_steps(axes, min(shown, default=(1.0, 0.0))[0], total)
    legend(axes)
    caption = f"Mean over the finished runs, after {100 * START_FRACTION:g} % of the training.{_band_note(study)}"
    title = name[:1].upper() + name[1:]
    return draw(figure, name="validation", title=title, caption=caption + _lost_note(study))


def _late_validation(study: Study, looks: Mapping[str, Style], name: str) -> Drawing:
    figure, (axes,) = axes_grid()
    total = _total_steps(study)
    shown = _draw_runs(axes, study, looks, start=LATE_FRACTION * total)
    frame(axes, shown, x_label="step", y_label=f"{name} {UNIT}")
    axes.set_xlim(LATE_FRACTION * total, total * 1.01)
    _use_plain_numbers(axes.xaxis)
    legend(axes)
    caption = "The same curves, enlarged, on a linear axis."
    return draw(figure, name="validation-late", title="The second half", caption=caption)


def _difference(study: Study, comparison: Comparison, looks: Mapping[str, Style]) -> Drawing:
    figure, (axes,) = axes_grid()
    reference = study.finished(study.baseline)
    effect = comparison.minimum_effect
    axes.axhspan(-effect, effect, color=FAINT, alpha=0.25, linewidth=0)
    axes.axhline(0, color=looks[study.baseline].color, linewidth=1.2)
    total = _total_steps(study)
    shown: list[tuple[float, float]] = [(0.0, -effect), (0.0, effect)]
    for label, look in looks.items():
        if label == study.baseline:
            continue
        curve = difference_curve(study.finished(label), reference)
        _draw_curve(axes, curve, look, label)
        shown += _points_from(curve, 2 * START_FRACTION * total)
    frame(axes, shown, x_label="step", y_label=f"loss minus {study.baseline} (nats per token)")
    axes.set_xlim(0, total * 1.01)
    _use_plain_numbers(axes.xaxis)
    legend(axes)
    caption = (
        f"Paired by seed; below the line the optimizer is ahead of {study.baseline} at that step. Grey: the minimum "
        f"effect of {effect:g} nats.{_band_note(study)}"
    )
    return draw(figure, name="difference", title="Difference to the baseline", caption=caption)


def _training(study: Study, looks: Mapping[str, Style]) -> Drawing:
    figure, (axes,) = axes_grid()
    total = _total_steps(study)
    shown: list[tuple[float, float]] = []
    for label, look in looks.items():
        named = label
        for record in study.finished(label).values():
            curve = smoothed_curve(record, num_bins=TRAIN_BINS)
            axes.plot(curve.step, curve.mean, color=look.color, linestyle=look.dashes, linewidth=1.1, label=named)
            shown += _points_from(curve, START_FRACTION * total)
            named = "_nolegend_"
    frame(axes, shown, x_label="step", y_label="training loss (nats per token)")
    _use_log_steps(axes, min(shown, default=(1.0, 0.0))[0], total)
    legend(axes)
    caption = f"One line per seed, averaged over {TRAIN_BINS} bins of equal width in ln(step)."
    return draw(figure, name="training", title="Training loss", caption=caption)


def _schedule(study: Study, looks: Mapping[str, Style], key: str) -> Drawing:
    figure, (axes,) = axes_grid(width=3.3, height=2.3)
    lines = {
        (label, group): points
        for label in looks
        for group, points in _schedule_lines(study.main[label][0], key).items()
    }
    for (label, group), points in lines.items():
        dashes = _dashes_among((label, group), lines, looks)
        axes.plot(*zip(*points, strict=True), color=looks[label].color, linestyle=dashes)
    values = [value for points in lines.values() for _, value in points]
    axes.set_xscale("log")
    if key not in ("lr", "gain") and max(values) > 3 * min(values):
        axes.set_yscale("log")
        label_few_decades(axes.yaxis, values)
    else:
        _use_short_numbers(axes.yaxis)
        axes.set_ylim(0, 1.08 * max(values))
    title, symbol = SCHEDULES[key]
    axes.set(xlabel="step t", ylabel=symbol)
    _use_plain_numbers(axes.xaxis)
    drawn = [label for label, _ in lines]
    missing = [label for label in looks if label not in drawn]
    notes = [f"{', '.join(missing)}: none, or not one number per step."] if missing else []
    several = [label for label in looks if drawn.count(label) > 1]
    notes += [f"{', '.join(several)}: a line for each group of parameters."] if several else []
    return draw(figure, name=f"schedule-{key}", title=title, caption=" ".join(notes))


def _dashes_among(
    line: tuple[str, str], lines: Mapping[tuple[str, str], Sequence[tuple[float, float]]], looks: Mapping[str, Style]
) -> Any:
    """Let lines that coincide alternate in dashes over the first of them, so that every colour shows."""
    twins = [other for other in lines if _coincide(lines[other], lines[line])]
    position = twins.index(line)
    if position == 0:
        return looks[line[0]].dashes
    return (5.0 * position, (5.0, 5.0 * (len(twins) - 1)))


def _coincide(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> bool:
    """Whether two lines look the same: within 2 % at every step."""
    return [step for step, _ in one] == [step for step, _ in other] and all(
        math.isclose(ours, theirs, rel_tol=0.02) for (_, ours), (_, theirs) in zip(one, other, strict=True)
    )


def _sweep(sweeps: Sequence[Sweep], looks: Mapping[str, Style], loss_name: str = "validation loss") -> Drawing:
    from matplotlib.ticker import NullLocator

    figure, (axes,) = axes_grid()
    finished: list[tuple[float, float]] = []
    for sweep in sweeps:
        look = looks[sweep.label]
        points = [(p.peak_lr, p.final_validation_loss) for p in sweep.points if p.final_validation_loss is not None]
        finished += points
        lrs, losses = zip(*points, strict=True) if points else ((), ())
        axes.plot(lrs, losses, color=look.color, linestyle=look.dashes, marker="o", markersize=3.5, label=sweep.label)
        best = [point for point in points if point[0] == sweep.best_lr]
        axes.plot(*zip(*best, strict=True), color=look.color, marker="o", markersize=8, fillstyle="none", linestyle="")
        lost = [p.peak_lr for p in sweep.points if p.final_validation_loss is None]
        ceiling = axes.get_xaxis_transform()
        axes.plot(lost, [0.97] * len(lost), color=look.color, marker="x", linestyle="", transform=ceiling)
    axes.set_xscale("log")
    frame(axes, finished, x_label="peak learning rate", y_label=f"final {loss_name} {UNIT}", headroom=0.1)
    grid = sorted({point.peak_lr for sweep in sweeps for point in sweep.points})
    ticks = spaced(grid, at_least=0.13)
    axes.set_xticks(ticks, [number(lr) for lr in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    legend(axes)
    caption = f"Runs of {sweeps[0].total_steps:,} steps. Ring: the best of each optimizer."
    if any(point.final_validation_loss is None for sweep in sweeps for point in sweep.points):
        caption += " Crosses at the top: runs that did not finish."
    return draw(figure, name="sweep", title="Sensitivity to the learning rate", caption=caption)


def _draw_runs(axes: Any, study: Study, looks: Mapping[str, Style], *, start: float) -> list[tuple[float, float]]:
    """Draw every label's mean curve and its lost runs; return the points that the axes must show."""
    shown: list[tuple[float, float]] = []
    for label, look in looks.items():
        finished = study.finished(label)
        curve = seed_curve(list(finished.values()))
        _draw_curve(axes, curve, look, label)
        shown += _points_from(curve, start)
        for record in study.main[label]:
            if record.seed not in finished:
                _draw_lost(axes, seed_curve([record]), look)
    return shown


def _draw_curve(axes: Any, curve: Curve, look: Style, label: str) -> None:
    axes.plot(curve.step, curve.mean, color=look.color, linestyle=look.dashes, label=label)
    if curve.num_seeds > 1:
        axes.fill_between(curve.step, curve.low, curve.high, color=look.color, alpha=0.2, linewidth=0)


def _draw_lost(axes: Any, curve: Curve, look: Style) -> None:
    """Draw a run that did not finish as a thin dotted line that ends in a cross."""
    axes.plot(curve.step, curve.mean, color=look.color, linestyle=":", linewidth=1.0)
    axes.plot(curve.step[-1:], curve.mean[-1:], color=look.color, marker="x", linestyle="")


def _points_from(curve: Curve, start: float) -> list[tuple[float, float]]:
    """Return the corners of the band from a step on."""
    corners = zip(curve.step, curve.low, curve.high, strict=True)
    return [(step, value) for step, *pair in corners if step >= start for value in pair]


def _use_log_steps(axes: Any, start: float, total: float) -> None:
    from matplotlib.ticker import NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(max(start, 1), total * 1.03)
    ticks = [m * 10**e for e in range(10) for m in (1, 2, 5) if start <= m * 10**e <= total]
    _use_plain_numbers(axes.xaxis)
    axes.set_xticks(ticks)
    axes.xaxis.set_minor_formatter(NullFormatter())


def _use_plain_numbers(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


def _use_short_numbers(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(round(value, 12))))


def _schedule_lines(record: RunRecord, key: str) -> dict[str, list[tuple[float, float]]]:
    """Return the points of a schedule that logarithmic axes can show, by group; groups that agree have one line."""
    steps = record.schedules.get("step", [])
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, column in record.schedules.items():
        group, _, scalar = name.rpartition("/")
        values = column * len(steps) if len(column) == 1 else column  # one value is a constant
        points = [(t, v) for t, v in zip(steps, values, strict=False) if t and v is not None and v > 0]
        if scalar == key and points and points not in lines.values():
            lines[group] = points
    return lines


def _total_steps(study: Study) -> int:
    return planned_steps(study.main[study.baseline][0])


def _band_note(study: Study) -> str:
    return " Band: range over the seeds." if any(len(study.finished(label)) > 1 for label in study.main) else ""


def _lost_note(study: Study) -> str:
    lost = any(len(study.finished(label)) < len(runs) for label, runs in study.main.items())
    return " Dotted: runs that did not finish." if lost else ""
