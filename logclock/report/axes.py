"""How are the axes of a figure framed, labelled and explained?"""

import math
from collections.abc import Sequence
from typing import Any

from logclock.report.drawing import INK
from logclock.report.tables import number

__all__ = ["frame", "label_few_decades", "legend", "spaced"]

MARGIN = 0.06
LEGEND_CHARACTERS = 60


def frame(
    axes: Any, points: Sequence[tuple[float, float]], *, x_label: str, y_label: str, headroom: float = 0.0
) -> None:
    """Label the axes and zoom to the heights of the points, with a margin."""
    axes.set(xlabel=x_label, ylabel=y_label)
    if points:
        low, high = min(y for _, y in points), max(y for _, y in points)
        span = high - low or max(abs(high), 1.0) * 0.01
        axes.set_ylim(low - MARGIN * span, high + (MARGIN + headroom) * span)


def label_few_decades(axis: Any, values: Sequence[float]) -> None:
    """Label whole decades, and 2 and 5 between them where there are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    decades = math.log10(max(values) / min(values))
    subs = (1.0,) if decades > 2 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_formatter(NullFormatter())


def legend(axes: Any) -> None:
    """Put the legend above the axes, where no curve can be, in as many columns as the labels leave room for."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        num_columns = max(1, LEGEND_CHARACTERS // (max(map(len, labels)) + 6))
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=min(len(labels), num_columns),
            labelcolor=INK,
        )


def spaced(grid: Sequence[float], *, at_least: float) -> list[float]:
    """Keep the values of a grid that are far enough apart, as a share of its width in logarithms, to be labelled."""
    if len(grid) < 2:
        return list(grid)
    least = at_least * math.log(grid[-1] / grid[0])
    kept = [grid[0]]
    for value in grid[1:]:
        if math.log(value / kept[-1]) >= least:
            kept.append(value)
    return kept
