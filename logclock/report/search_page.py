"""How does a search of learning rates, with no run beyond it, become a page?"""

import os
from pathlib import Path

from logclock.analysis.search import SearchResult
from logclock.analysis.study import MISSING, planned_steps
from logclock.report.drawing import styles
from logclock.report.figures import search_drawing
from logclock.report.page import (
    escaped,
    provenance_facts,
    render_facts,
    render_figures,
    render_header,
    render_page,
    render_section,
    render_table,
)
from logclock.report.tables import Table, fixed, number, plain_text, sweep_point_table, sweep_table

__all__ = ["optimum_table", "search_headline", "search_text", "write_search_report"]


def write_search_report(result: SearchResult, path: str | os.PathLike[str]) -> Path:
    """Write the report of a search as one self-contained HTML file and return its path."""
    looks = styles([sweep.label for sweep in result.sweeps])
    title = f"Learning rates of {', '.join(looks)}"
    seeds = sorted({record.seed for record in result.records})
    steps = planned_steps(result.records[0])
    setting = f"{len(result.records)} runs of {steps:,} steps, {'seed' if len(seeds) == 1 else 'seeds'} "
    setting += f"{', '.join(map(str, seeds))}."
    sections = [
        render_header(title, verdict=search_headline(result), setting=setting, warnings=result.warnings),
        render_section(
            "Learning rate",
            render_figures([search_drawing(result.sweeps)]) + render_table(optimum_table(result), looks),
        ),
        render_section("Every learning rate tried", render_table(sweep_point_table(result.sweeps), looks)),
        render_section("Methods and limits", f"<p>{escaped(METHODS)}</p>"),
        render_section("Provenance", _provenance(result)),
    ]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_page(title, "\n".join(sections)), encoding="utf-8", newline="\n")
    return path


METHODS = (
    "This folder holds a search alone: no optimizer was run at its winner with other seeds, so nothing is compared. "
    "The optimum is that of a parabola in ln lr through the learning rates within a factor 4 of the best; a wrong rate "
    "costs the curvature times the square of ln(lr / optimum). With one seed a trial is as noisy as the optimizers are "
    "far apart, and a best rate at the edge of those tried may be bettered beyond it."
)


def search_headline(result: SearchResult) -> str:
    """Say where each optimum lies, in one sentence."""
    found = []
    for sweep in result.sweeps:
        curvature = result.curvatures[sweep.label]
        if sweep.best_lr is None:
            found.append(f"no run of {sweep.label} finished")
        elif curvature is None:
            found.append(f"{sweep.label} shows no optimum, best tried {number(sweep.best_lr)}")
        else:
            best = number(float(f"{curvature.best_lr:.2g}"))
            found.append(f"{sweep.label} {best}" + (", at the edge of its grid" if sweep.is_best_on_edge else ""))
    return f"Optima of the parabolas: {'; '.join(found)}."


def optimum_table(result: SearchResult) -> Table:
    """Return the best learning rate tried, the optimum of the parabola and its curvature."""
    columns = ("optimizer", "best tried", "final loss", "optimum of the parabola", "curvature", "a factor 2 costs")
    rows = []
    for sweep, best in zip(result.sweeps, sweep_table(result.sweeps).rows, strict=True):
        found = result.curvatures[sweep.label]
        rows.append(
            (
                sweep.label,
                best[1],
                best[2],
                MISSING if found is None else number(float(f"{found.best_lr:.3g}")),
                fixed(None if found is None else found.curvature, 4),
                fixed(None if found is None else found.penalty(2.0), 4),
            )
        )
    return Table(columns=columns, rows=tuple(rows), numeric=frozenset(range(1, 6)))


def search_text(result: SearchResult) -> str:
    """Return the tables as aligned plain text, with the warnings below."""
    parts = [plain_text(optimum_table(result)), plain_text(sweep_point_table(result.sweeps))]
    if result.warnings:
        parts.append("\n".join(f"note: {warning}" for warning in result.warnings))
    return "\n\n".join(parts)


def _provenance(result: SearchResult) -> str:
    rows = tuple(
        (
            run.label,
            str(run.seed),
            MISSING if run.peak_lr is None else number(run.peak_lr),
            fixed(run.final_validation_loss, 4),
            run.record_hash,
        )
        for sweep in result.sweeps
        for point in sweep.points
        for run in point.runs
    )
    columns = ("optimizer", "seed", "peak lr", "final loss", "record")
    table = Table(columns=columns, rows=rows, numeric=frozenset({1, 2, 3}))
    return f"{render_facts(provenance_facts(result.records))}{render_table(table, {})}"
