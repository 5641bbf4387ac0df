"""What is compared of runs without a validation loss: the training loss, averaged over the end of each run."""

import math
import statistics
from collections.abc import Sequence

__all__ = ["DEFAULT_WINDOW", "smoothed", "standard_error"]

DEFAULT_WINDOW = 0.05
"""Share of the training that a mean is over."""

FEWEST = 4
"""Points about a line, below which their scatter says nothing."""


def smoothed(
    points: Sequence[tuple[int, float]], *, total_steps: int, window: float = DEFAULT_WINDOW
) -> list[tuple[int, float]]:
    """Return the mean loss of the points in each window of the training, at the window's end.

    Windows lie side by side, the last of them ending with the training, so that every point counts once. Windows
    without a point are left out. While the loss falls, a mean lies above the loss at its end, for every run alike.

    Args:
        points: Steps and losses, ascending and finite.
        total_steps: At which the training ends.
        window: Share of the training.

    Examples:
        >>> smoothed([(1, 8.0), (2, 6.0), (3, 5.0), (4, 3.0)], total_steps=4, window=0.5)
        [(2, 7.0), (4, 4.0)]
    """
    count = max(round(1 / window), 1)
    found: dict[int, list[float]] = {}
    for step, loss in points:
        place = max(math.ceil(count * step / total_steps), 1)
        found.setdefault(min(place, count), []).append(loss)
    return [(round(place * total_steps / count), statistics.fmean(losses)) for place, losses in sorted(found.items())]


def standard_error(
    points: Sequence[tuple[int, float]], *, total_steps: int, window: float = DEFAULT_WINDOW
) -> float | None:
    """Return the standard error of the last window's mean, from the scatter about a line; None for too few points."""
    count = max(round(1 / window), 1)
    last = [(step, loss) for step, loss in points if math.ceil(count * step / total_steps) >= count]
    if len(last) < FEWEST:
        return None
    slope, intercept = statistics.linear_regression(*zip(*last, strict=True))
    squares = sum((loss - intercept - slope * step) ** 2 for step, loss in last)
    return math.sqrt(squares / (len(last) - 2) / len(last))
