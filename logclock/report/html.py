"""How does a study become one page that a person can read and anyone can rebuild from the records?"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from logclock.analysis import MINIMUM_EFFECT, Comparison, Study, compare_study, gather
from logclock.analysis.study import MISSING, differing_paths, flatten, planned_steps
from logclock.config.files import write_whole
from logclock.records import RunRecord
from logclock.report.drawing import Style, styles
from logclock.report.export import figures_of
from logclock.report.figures import cost_drawings, curve_drawings, schedule_drawings, sweep_drawings
from logclock.report.page import (
    escaped,
    provenance_facts,
    render_facts,
    render_figures,
    render_header,
    render_key,
    render_page,
    render_section,
    render_table,
    shortened,
)
from logclock.report.tables import (
    Table,
    cost_table,
    noise_table,
    result_table,
    run_table,
    source_table,
    sweep_point_table,
    sweep_table,
)
from logclock.report.wording import default_title, headline, methods

__all__ = ["comparison_figures", "render_report", "write_report"]

NOISE_NOTE = (
    "<p>The noise scale is the batch at which the noise of the gradient is as large as the gradient, from means over "
    "each half of the run. The critical batch lies near it: far below, a larger batch saves updates at little cost in "
    "tokens; far above, it saves hardly any.</p>"
)


def write_report(
    records: Iterable[RunRecord],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    baseline: str | None = None,
    minimum_effect: float = MINIMUM_EFFECT,
) -> Path:
    """Write the report of a study as one self-contained HTML file and return its path.

    The same records and arguments give the same bytes on one kind of processor; others may write a figure's coordinate
    one unit of its last digit off, seldom.

    Args:
        records: The records of one study, e.g. `Ledger(path).records()`.
        path: The file to write; its directory is created.
        title: Heading of the page; otherwise made of the labels.
        baseline: As in `gather`.
        minimum_effect: Smallest loss difference that is called one, in nats.

    Raises:
        ValueError: The records must not be merged; see `logclock.analysis.gather`.
    """
    page = render_report(records, title=title, baseline=baseline, minimum_effect=minimum_effect)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page.encode())
    return path


def render_report(
    records: Iterable[RunRecord],
    *,
    title: str | None = None,
    baseline: str | None = None,
    minimum_effect: float = MINIMUM_EFFECT,
) -> str:
    """Return the report of a study as HTML; arguments as in `write_report`."""
    study = gather(records, baseline=baseline)
    comparison = compare_study(study, minimum_effect=minimum_effect)
    title = default_title(comparison) if title is None else title
    sections = [
        render_header(title, verdict=headline(comparison), setting=_setting(study), warnings=comparison.warnings),
        render_section("Result", render_table(result_table(comparison), _looks(comparison))),
        render_section("Curves", render_figures(curve_drawings(study, comparison))),
    ]
    if not comparison.is_imported:  # nothing was timed here
        costs = render_table(cost_table(comparison), _looks(comparison)) + render_figures(cost_drawings(comparison))
        sections.append(render_section("Cost", costs))
    if noise := noise_table(study):
        sections.append(render_section("Critical batch", render_table(noise, _looks(comparison)) + NOISE_NOTE))
    if comparison.sweeps:
        sections.append(render_section("Learning rate", _sweep(comparison)))
    schedules = schedule_drawings(study)
    if schedules or not comparison.is_imported:
        figures = render_figures(schedules, kind="small")
        sections.append(render_section("Schedules", render_key(_looks(comparison)) + figures))
    sections += [
        render_section("Configuration", _configuration(study, comparison)),
        render_section(
            "Methods and limits", "".join(f"<p>{escaped(paragraph)}</p>" for paragraph in methods(comparison))
        ),
        render_section("Provenance", _provenance(study, comparison)),
    ]
    return render_page(title, "\n".join(sections))


def comparison_figures(records: Iterable[RunRecord], comparison: Comparison) -> dict[str, Any]:
    """Return the figures of a comparison's report by name, as matplotlib objects in the colours of the light page.

    Args:
        records: What the comparison was made of.
        comparison: What they say.

    Raises:
        ImportError: matplotlib is not installed.
    """
    study = gather(records, baseline=comparison.baseline)
    drawings = [*curve_drawings(study, comparison), *sweep_drawings(comparison), *schedule_drawings(study)]
    return figures_of(drawings)


def _setting(study: Study) -> str:
    """Say in one line what was trained on what."""
    record = study.main[study.baseline][0]
    steps = planned_steps(record)
    parts = [f"{'Seed' if len(_seeds(study)) == 1 else 'Seeds'} {_listed_seeds(study)}", f"{steps:,} steps"]
    if record.train.get("step") and record.train["tokens"][-1]:
        parts[-1] += f" of {record.train['tokens'][-1] / (record.train['step'][-1] or 1):,.0f} tokens"
    if "non_embedding_params" in record.model:
        parts.append(f"{record.model['non_embedding_params']:,} non-embedding parameters")
    dataset = flatten(record.config).get("data.dataset")
    if dataset is not None:
        parts.append(f"data {dataset}")
    return "; ".join(parts) + "."


def _sweep(comparison: Comparison) -> str:
    points = render_table(sweep_point_table(comparison.sweeps), _looks(comparison))
    return (
        f'<div class="beside">{render_figures(sweep_drawings(comparison))}'
        f"<div>{render_table(sweep_table(comparison.sweeps), _looks(comparison))}"
        f"<details><summary>Every learning rate tried</summary>{points}</details></div></div>"
    )


def _configuration(study: Study, comparison: Comparison) -> str:
    """Show what all runs share once, and what the optimizers differ in side by side."""
    firsts = {label: runs[0] for label, runs in study.main.items()}
    configs = [record.config for record in firsts.values()]
    varying = [path for path in differing_paths(configs) if path != "seed"]
    flat = {label: flatten(record.config) for label, record in firsts.items()}
    shared = {path: value for path, value in flat[study.baseline].items() if path not in varying and path != "seed"} | {
        "seed": ", ".join(str(seed) for seed in sorted({r.seed for runs in study.main.values() for r in runs}))
    }
    parts = []
    if varying:
        rows = tuple((path, *(shortened(flat[label].get(path, MISSING)) for label in firsts)) for path in varying)
        table = Table(columns=("setting", *firsts), rows=rows, numeric=frozenset())
        parts.append(render_table(table, _looks(comparison), kind="plain"))
    parts.append(f"<details><summary>Shared by all main runs</summary>{render_facts(shared)}</details>")
    return "\n".join(parts)


def _provenance(study: Study, comparison: Comparison) -> str:
    """Show where the numbers come from: what all records share once, then run by run."""
    runs = render_table(run_table(comparison), _looks(comparison))
    count = f"All {len(study.records)} runs and their records"
    sources = (
        render_table(source_table(study.records), _looks(comparison), kind="plain") if comparison.is_imported else ""
    )
    facts = render_facts(provenance_facts(study.records))
    return f"{sources}{facts}<details><summary>{count}</summary>{runs}</details>"


def _seeds(study: Study) -> list[int]:
    return sorted({record.seed for runs in study.main.values() for record in runs})


def _listed_seeds(study: Study) -> str:
    return ", ".join(map(str, _seeds(study)))


def _looks(comparison: Comparison) -> dict[str, Style]:
    return styles([row.label for row in comparison.rows])
