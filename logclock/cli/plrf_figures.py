"""Which pictures show the theory: risk over time, the best risk over compute, and the map of phases?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from logclock.recipes.hummingbird import BASELINE, final_risks
from logclock.report.axes import label_few_decades
from logclock.report.drawing import FAINT, INK, Drawing, axes_grid, draw, settings, styles
from logclock.theory import ALGORITHMS, Envelope, RiskCurve, Simulation, compute_exponents

__all__ = ["envelope_drawing", "hummingbird_drawing", "overlay_drawing", "phase_drawing", "risk_drawing"]

LOOKS = styles(list(ALGORITHMS))

ALPHA_MAX, BETA_MAX = 1.6, 1.6
LABELS = {
    "Ia": (1.0, 0.2),
    "Ib": (0.37, 0.3),
    "Ic": (0.12, 1.0),
    "II": (1.2, 0.8),
    "III": (0.9, 1.25),
    "IVa": (0.397, 1.0),
    "IVb": (0.271, 1.0),
}
SHADES = {"Ia": 1, "Ib": 1, "Ic": 1, "II": 2, "III": 3, "IVa": 4, "IVb": 4}
GAINS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


def risk_drawing(curves: Mapping[str, RiskCurve], *, floor: float, num_features: int) -> Drawing:
    """Return the risk over time, one curve per algorithm.

    Args:
        curves: By algorithm.
        floor: P_inf.
        num_features: d, where DANA-constant begins to accelerate.
    """
    with settings():
        figure, (axes,) = axes_grid()
        for name, curve in curves.items():
            shown = (curve.time > 0) & np.isfinite(curve.risk)
            look = LOOKS[name]
            axes.plot(curve.time[shown], curve.risk[shown], color=look.color, linestyle=look.dashes, label=name)
        axes.axhline(floor, color=FAINT, linestyle=":", linewidth=1.0)
        axes.axvline(num_features, color=FAINT, linestyle="--", linewidth=1.0)
        _frame(axes, "updates t", "risk P")
        axes.set_xlim(left=1)
        _legend(axes)
        caption = "Exact expected risk. Dotted: the floor that infinite time reaches. Dashed: t = d."
        return draw(figure, name="risk", title="Risk over time", caption=caption)


def envelope_drawing(envelopes: Mapping[tuple[float, str], Envelope], *, alpha: float) -> Drawing:
    """Return the best risk over compute, a panel per beta, with the predicted slopes beside the measured ones.

    Args:
        envelopes: By beta and algorithm.
        alpha: Of the problems.
    """
    betas = sorted({beta for beta, _ in envelopes})
    with settings():
        figure, panels = axes_grid(len(betas), width=3.2 * len(betas) + 0.6)
        for axes, beta in zip(panels, betas, strict=True):
            shown = {name: envelope for (b, name), envelope in envelopes.items() if b == beta}
            for name, envelope in shown.items():
                look = LOOKS[name]
                eta = compute_exponents(name, alpha, beta).eta
                axes.plot(envelope.compute, envelope.risk, color=look.color, linestyle=look.dashes, label=name)
                line = envelope.risk[-1] * (envelope.compute / envelope.compute[-1]) ** -eta
                axes.plot(envelope.compute, line, color=look.color, linestyle=":", linewidth=0.9)
            axes.text(0.97, 0.95, f"beta = {beta:g}", transform=axes.transAxes, ha="right", va="top", color=INK)
            _frame(axes, "compute f = d t", "best risk over d")
        _legend(panels[0])
        caption = "Dotted: the predicted slope through the last point."
        return draw(figure, name="envelopes", title=f"Compute-optimal risk, alpha = {alpha:g}", caption=caption)


def overlay_drawing(runs: Mapping[str, Simulation], curves: Mapping[str, RiskCurve], *, floor: float) -> Drawing:
    """Return stochastic runs, faint, over their exact expectation.

    Args:
        runs: By algorithm.
        curves: The exact risk by algorithm.
        floor: P_inf.
    """
    with settings():
        figure, (axes,) = axes_grid()
        for name, run in runs.items():
            look = LOOKS[name]
            shown = run.time > 0
            axes.plot(run.time[shown], run.risk[:, shown].T, color=look.color, alpha=0.4, linewidth=0.8)
            curve = curves[name]
            shown = (curve.time > 0) & np.isfinite(curve.risk)
            axes.plot(curve.time[shown], curve.risk[shown], color=look.color, linestyle=look.dashes, label=name)
        axes.axhline(floor, color=FAINT, linestyle=":", linewidth=1.0)
        _frame(axes, "updates t", "risk P")
        axes.set_xlim(left=1)
        _legend(axes)
        caption = "Thin: runs of the rule that trains models. Thick: the exact expected risk. Dotted: the floor."
        return draw(figure, name="simulate", title="Stochastic runs and their expectation", caption=caption)


def hummingbird_drawing(results: Mapping[str, Mapping[str, Any]]) -> Drawing:
    """Return the final risk over kappa, a panel per condition; what exceeds the initial risk leaves the frame.

    Args:
        results: What `hummingbird` has written, by condition.
    """
    tables = {name: final_risks(data) for name, data in results.items()}
    methods = [
        BASELINE,
        *dict.fromkeys(method for table in tables.values() for method, kappa in table if kappa is not None),
    ]
    looks = styles(methods)
    with settings():
        figure, panels = axes_grid(len(tables), width=4.4 * len(tables), height=3.4)
        for axes, (name, table) in zip(panels, tables.items(), strict=True):
            axes.axhline(table[BASELINE, None], color=looks[BASELINE].color, label=BASELINE)
            for method in methods[1:]:
                points = sorted((kappa, risk) for (m, kappa), risk in table.items() if m == method)
                if points:
                    kappas, risks = zip(*((k, min(r, 1e9)) for k, r in points), strict=True)
                    look = looks[method]
                    axes.plot(kappas, risks, color=look.color, linestyle=look.dashes, marker="o", ms=3, label=method)
            axes.axhline(results[name]["irreducible_risk"], color=FAINT, linestyle=":", linewidth=1.0)
            axes.set(xlabel="kappa", ylabel="final risk P", yscale="log")
            ends = 0.8 * results[name]["irreducible_risk"], results[name]["initial_risk"]
            axes.set_ylim(ends)
            label_few_decades(axes.yaxis, ends)
            axes.set_title(name, loc="left", color=INK, fontsize=9.5)
        handles = {label: h for axes in panels for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=3, labelcolor=INK)
        caption = "Dotted: the irreducible risk. Curves that leave the frame have diverged beyond the initial risk."
        return draw(figure, name="hummingbird", title="Final risk and kappa", caption=caption)


def phase_drawing() -> Drawing:
    """Return the map of phases, and beside it how much DANA-decaying adds to the loss exponent of SGD."""
    with settings():
        figure, (left, right) = axes_grid(2, width=8.4, height=3.7)
        alphas, betas = np.linspace(0.5, ALPHA_MAX, 45), np.linspace(-0.2, BETA_MAX, 46)
        _draw_phases(left)
        gain = np.array([[_gain(alpha, beta) for alpha in alphas] for beta in betas])
        for low in GAINS:
            levels, color = [max(low, 1e-6), 10], LOOKS["dana-decaying"].color
            right.contourf(alphas, betas, gain, levels=levels, colors=[color], alpha=0.14, antialiased=True)
        lines = right.contour(alphas, betas, gain, levels=GAINS[1:], colors=INK, linewidths=0.6)
        right.clabel(lines, fmt="%.2f", fontsize=7.5, colors=INK)
        for axes, title in ((left, "Phases"), (right, "eta of DANA-decaying minus eta of SGD")):
            _draw_boundaries(axes)
            axes.set(xlabel="alpha (data)", ylabel="beta (target)", xlim=(0, ALPHA_MAX), ylim=(-0.2, BETA_MAX))
            axes.set_title(title, loc="left", color=INK, fontsize=9.5)
            axes.grid(visible=False)
        caption = "Phases of power-law random features, and where momentum raises the compute exponent."
        return draw(figure, name="phase-diagram", title="Phase diagram", caption=caption)


def _draw_phases(axes: Any) -> None:
    """Fill the regions between their analytic boundaries."""
    fills = {
        "Ia": ([0.5, 0.7, ALPHA_MAX], [0.0, -0.2, -0.2], [0.5, 0.5, 0.5]),
        "Ib": ([0.0, 0.5], [0.5, 0.0], [0.5, 0.5]),
        "Ic": ([0.0, 0.25], [0.5, 0.5], [BETA_MAX, BETA_MAX]),
        "II": ([0.5, ALPHA_MAX], [0.5, 0.5], [0.5, ALPHA_MAX]),
        "III": ([0.5, ALPHA_MAX], [0.5, ALPHA_MAX], [BETA_MAX, BETA_MAX]),
        "IVb": ([0.25, 1 - 0.5**0.5], [0.5, 0.5], [BETA_MAX, BETA_MAX]),
        "IVa": ([1 - 0.5**0.5, 0.5], [0.5, 0.5], [BETA_MAX, BETA_MAX]),
    }
    for name, (x, low, high) in fills.items():
        color = list(LOOKS.values())[SHADES[name]].color
        axes.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)
        rotation = 90 if name == "IVb" else 0  # the strip is narrow
        axes.text(*LABELS[name], name, ha="center", va="center", rotation=rotation, fontsize=9, color=INK)


def _draw_boundaries(axes: Any) -> None:
    style = {"color": INK, "linewidth": 0.8}
    axes.plot([0.5, 0.5], [0, BETA_MAX], **style)
    axes.plot([0, ALPHA_MAX], [0.5, 0.5], **style)
    axes.plot([0.5, ALPHA_MAX], [0.5, ALPHA_MAX], **style)
    for alpha in (0.25, 1 - 0.5**0.5):
        axes.plot([alpha, alpha], [0.5, BETA_MAX], **style)
    axes.fill_between([0, 0.7], [-0.2, -0.2], [0.5, -0.2], color=FAINT, alpha=0.5, linewidth=0)


def _gain(alpha: float, beta: float) -> float:
    if 2 * (alpha + beta) <= 1:
        return 0.0
    return compute_exponents("dana-decaying", alpha, beta).eta - compute_exponents("sgd", alpha, beta).eta


def _frame(axes: Any, x_label: str, y_label: str) -> None:
    """Label logarithmic axes, every decade or every few of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set(xlabel=x_label, ylabel=y_label, xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"1e{round(np.log10(value))}"))


def _legend(axes: Any) -> None:
    """Put the legend above the axes, where no curve can be."""
    num_columns = 3 if len(axes.figure.axes) == 1 else 5
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=num_columns, labelcolor=INK)
