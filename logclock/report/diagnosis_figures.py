"""Which pictures show what a model's matrices look like?"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from logclock.analysis.diagnosis import Diagnosis, kind_of
from logclock.report.axes import label_few_decades
from logclock.report.drawing import Drawing, Style, axes_grid, draw, settings, styles

__all__ = ["spectrum_drawings"]

MOST = 9
"""Figures; a model has more kinds of matrices than a page can show."""


def spectrum_drawings(diagnoses: Sequence[Diagnosis]) -> tuple[list[Drawing], str]:
    """Return the singular values of each kind of matrix, and what to say about those that are not shown.

    A kind is a name without the numbers of its layer; its curve is the median over layers of one shape.
    """
    spectra: dict[str, dict[str, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
    sizes: dict[str, int] = defaultdict(int)
    for one in diagnoses:
        for matrix in one.matrices:
            if matrix.singular_values and max(matrix.singular_values) > 0 and min(matrix.shape) > 1:
                spectra[kind_of(matrix.name)][one.label].append(matrix.singular_values)
                sizes[kind_of(matrix.name)] += matrix.shape[0] * matrix.shape[1]
    largest = sorted(spectra, key=lambda kind: -sizes[kind])[:MOST]
    shown = [kind for kind in spectra if kind in largest]
    looks = styles([one.label for one in diagnoses])
    with settings():
        drawings = [_spectrum(f"spectrum-{i}", kind, spectra[kind], looks) for i, kind in enumerate(shown)]
    left = len(spectra) - len(shown)
    return drawings, f"Shown are the {len(shown)} kinds with the most weights; {left} others are not." if left else ""


def _spectrum(name: str, kind: str, by_label: dict[str, list[tuple[float, ...]]], looks: dict[str, Style]) -> Drawing:
    figure, (axes,) = axes_grid(width=3.6, height=2.7)
    counts, heights = [], []
    for label, spectra in by_label.items():
        length = max(set(map(len, spectra)), key=lambda size: sum(len(values) == size for values in spectra))
        same = [values for values in spectra if len(values) == length]
        counts.append(str(len(same)))
        middle = np.median(np.array(same), axis=0)
        middle = np.where(middle > middle[0] * 1e-8, middle, np.nan)  # rounding's singular values are none
        heights += middle[np.isfinite(middle)].tolist()
        share = (np.arange(length) + 1) / length
        axes.plot(share, middle, color=looks[label].color, linestyle=looks[label].dashes)
    axes.set(xlabel="number of the singular value / all", ylabel="singular value", yscale="log", xlim=(0, 1))
    label_few_decades(axes.yaxis, heights)
    num = ", ".join(dict.fromkeys(counts))
    caption = "Median over layers" if num != "1" else "One matrix"
    return draw(figure, name=name, title=kind, caption=f"{caption}; matrices a model: {num}.")
