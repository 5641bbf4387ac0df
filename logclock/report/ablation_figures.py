"""How do the arms of an experiment differ, at one horizon and along several?"""

from collections.abc import Mapping, Sequence

from logclock.analysis import Comparison
from logclock.analysis.compare import Row
from logclock.report.axes import frame, legend
from logclock.report.drawing import FAINT, INK, Drawing, axes_grid, draw, settings, styles
from logclock.report.tables import number

__all__ = ["arm_drawing", "horizon_drawing"]

INCHES_PER_ARM = 0.26


def arm_drawing(comparison: Comparison, *, question: str, labels: Sequence[str]) -> Drawing:
    """Draw every arm's final loss minus the baseline's, with the interval over seeds where there are several.

    Args:
        comparison: The experiment; the baseline is the line at 0.
        question: What it answers, the title.
        labels: The arms from top to bottom; one without a finished run has no point.
    """
    by_label = {row.label: row for row in comparison.rows}
    ordered = [by_label[label] for label in labels if label in by_label]
    rows = [row for row in ordered if row.difference is not None and row.difference.mean is not None]
    lost = [row.label for row in comparison.rows if not row.finished]
    with settings():
        figure, (axes,) = axes_grid(width=6.4, height=1.1 + INCHES_PER_ARM * max(len(rows), 1))
        axes.axvline(0, color=FAINT, linewidth=1)
        for position, row in enumerate(rows):
            mean, interval = _mean_and_interval(row)
            if interval is not None:
                axes.plot(interval, (position, position), color=INK, linewidth=1.2)
            axes.plot([mean], [position], "o", color=INK, markersize=4.5)
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(f"final validation loss minus that of {comparison.baseline}, nats (left is better)")
        seeds = {row.difference.num_seeds for row in rows if row.difference is not None}
        caption = (
            "Bars are 95 % intervals, each by itself, with what the choice of both rates may have cost."
            if max(seeds, default=1) > 1
            else "One seed: how far chance moves a point is unknown."
        )
        caption = f"Each arm at its own best learning rate of the sweep. {caption}"
        if lost:
            caption += f" No run finished: {', '.join(lost)}."
        return draw(figure, name="arms", title=question, caption=caption)


def horizon_drawing(comparisons: Mapping[float, Comparison]) -> Drawing:
    """Draw every optimizer's final loss minus the baseline's against the length of the run.

    Args:
        comparisons: By horizon, in tokens per parameter, ascending; all with the same labels.
    """
    baseline = next(iter(comparisons.values())).baseline
    looks = styles([row.label for row in next(iter(comparisons.values())).rows])
    with settings():
        figure, (axes,) = axes_grid(width=6.0, height=3.6)
        axes.axhline(0, color=looks[baseline].color, linewidth=1.2, label=baseline)
        points = [(min(comparisons), 0.0)]
        for position, (label, look) in enumerate(looks.items()):
            if label == baseline:
                continue
            shift = 1.03 ** (position - len(looks) / 2)  # so that bars stand beside each other
            found = {
                ratio * shift: _mean_and_interval(row)
                for ratio, comparison in comparisons.items()
                for row in comparison.rows
                if row.label == label and row.difference is not None and row.difference.mean is not None
            }
            means = [mean for mean, _ in found.values()]
            axes.plot(list(found), means, "o", linestyle=look.dashes, color=look.color, markersize=4, label=label)
            points += zip(found, means, strict=True)
            for ratio, (_, interval) in found.items():
                if interval is not None:
                    axes.plot((ratio, ratio), interval, color=look.color, linewidth=1)
                    points += [(ratio, end) for end in interval]
        axes.set_xscale("log")
        frame(axes, points, x_label="training tokens per parameter", y_label=f"final loss minus {baseline}'s, nats")
        axes.set_xticks(list(comparisons), [number(ratio) for ratio in comparisons], minor=False)
        axes.minorticks_off()
        legend(axes)
        return draw(
            figure,
            name="horizon",
            title="Who gains from a longer run?",
            caption=f"Every optimizer at its own best learning rate for each length; below 0 it beats {baseline}. "
            "Bars are 95 % intervals, each by itself, with what the choice of both rates may have cost.",
        )


def _mean_and_interval(row: Row) -> tuple[float, tuple[float, float] | None]:
    assert row.difference is not None
    assert row.difference.mean is not None
    return row.difference.mean, row.difference.interval
