"""How does a study become one page that a person can read and anyone can rebuild from the records?"""

import html
import importlib.resources
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from logclock.analysis import MINIMUM_EFFECT, Comparison, Study, compare_study, gather
from logclock.analysis.study import MISSING, differing_paths, flatten, planned_steps
from logclock.records import RunRecord
from logclock.report.drawing import Drawing, styles
from logclock.report.figures import cost_drawings, curve_drawings, schedule_drawings, sweep_drawings
from logclock.report.tables import Table, cost_table, number, result_table, run_table, sweep_point_table, sweep_table
from logclock.report.wording import default_title, headline, methods

__all__ = ["render_report", "write_report"]


def write_report(
    records: Iterable[RunRecord],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    baseline: str | None = None,
    minimum_effect: float = MINIMUM_EFFECT,
) -> Path:
    """Write the report of a study as one self-contained HTML file and return its path.

    The same records and arguments give the same bytes.

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
    path.write_text(page, encoding="utf-8", newline="\n")
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
        _header(title, study, comparison),
        _section("Result", _table(result_table(comparison), comparison)),
        _section("Curves", _figures(curve_drawings(study, comparison))),
        _section("Cost", _table(cost_table(comparison), comparison) + _figures(cost_drawings(comparison))),
    ]
    if comparison.sweeps:
        sections.append(_section("Learning rate", _sweep(comparison)))
    sections += [
        _section("Schedules", _key(comparison) + _figures(schedule_drawings(study), kind="small")),
        _section("Configuration", _configuration(study, comparison)),
        _section("Methods and limits", "".join(f"<p>{_text(paragraph)}</p>" for paragraph in methods(comparison))),
        _section("Provenance", _provenance(study, comparison)),
    ]
    return _page(title, "\n".join(sections))


def _page(title: str, body: str) -> str:
    style = importlib.resources.files("logclock.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _header(title: str, study: Study, comparison: Comparison) -> str:
    notes = "".join(f"<li>{_text(warning)}</li>" for warning in comparison.warnings)
    return (
        f'<header>\n<h1>{_text(title)}</h1>\n<p class="verdict">{_text(headline(comparison))}</p>\n'
        f'<p class="setting">{_text(_setting(study))}</p>\n'
        + (f"<aside><h2>To keep in mind</h2><ul>{notes}</ul></aside>\n" if notes else "")
        + "</header>"
    )


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
    points = _table(sweep_point_table(comparison.sweeps), comparison)
    return (
        f'<div class="beside">{_figures(sweep_drawings(comparison))}'
        f"<div>{_table(sweep_table(comparison.sweeps), comparison)}"
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
        rows = tuple((path, *(_shortened(flat[label].get(path, MISSING)) for label in firsts)) for path in varying)
        table = Table(columns=("setting", *firsts), rows=rows, numeric=frozenset())
        parts.append(_table(table, comparison, kind="plain"))
    parts.append(f"<details><summary>Shared by all main runs</summary>{_facts(shared)}</details>")
    return "\n".join(parts)


def _provenance(study: Study, comparison: Comparison) -> str:
    """Show where the numbers come from: what all records share once, then run by run."""
    records = study.records
    shared = {key: _values(record.provenance.get(key) for record in records) for key in _provenance_keys(records)}
    shared["dataset fingerprint"] = _values(record.data.get("fingerprint") for record in records)
    started = sorted(str(record.provenance["started"]) for record in records if record.provenance.get("started"))
    ended = sorted(str(record.provenance["ended"]) for record in records if record.provenance.get("ended"))
    shared["first start, last end"] = f"{started[0] if started else MISSING}, {ended[-1] if ended else MISSING}"
    for label in {**study.main, **study.sweep}:
        group = [*study.main.get(label, ()), *study.sweep.get(label, ())]
        shared[f"rule hash of {label}"] = _values(record.provenance.get("rule_hash") for record in group)
    runs = _table(run_table(comparison), comparison)
    count = f"All {len(records)} runs and their records"
    return f"{_facts(shared)}<details><summary>{count}</summary>{runs}</details>"


def _provenance_keys(records: Sequence[RunRecord]) -> list[str]:
    keys = {key for record in records for key in record.provenance}
    return sorted(keys - {"started", "ended", "rule_hash"})


def _values(values: Iterable[object]) -> str:
    """List distinct values, sorted."""
    return ", ".join(sorted({MISSING if value is None else str(value) for value in values}))


def _seeds(study: Study) -> list[int]:
    return sorted({record.seed for runs in study.main.values() for record in runs})


def _listed_seeds(study: Study) -> str:
    return ", ".join(map(str, _seeds(study)))


def _shortened(value: str) -> str:
    """Write a float that nobody typed, such as 4 / 6000, with six digits; the record holds the others."""
    if len(value) <= 10:
        return value
    try:
        return number(float(value))
    except ValueError:
        return value


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{_text(key)}</dt><dd>{_text(facts[key])}</dd>" for key in sorted(facts))
    return f"<dl>{rows}</dl>"


def _key(comparison: Comparison) -> str:
    """Return the legend of figures that have none of their own."""
    looks = styles([row.label for row in comparison.rows])
    entries = (f"<span>{_chip(look.index)}{_text(label)}</span>" for label, look in looks.items())
    return f'<p class="key">{"".join(entries)}</p>'


def _table(table: Table, comparison: Comparison, *, kind: str = "cards") -> str:
    """Render a table; on narrow screens the rows of `cards` become blocks, which needs the headings in every cell."""
    looks = styles([row.label for row in comparison.rows])
    head = "".join(f"<th{_flush(i, table)}>{_text(column)}</th>" for i, column in enumerate(table.columns))
    body = ""
    for row in table.rows:
        cells = []
        for i, (column, cell) in enumerate(zip(table.columns, row, strict=True)):
            chip = _chip(looks[cell].index) if i == 0 and cell in looks else ""
            content = chip + (_typeset(cell) if i in table.numeric else _text(cell))
            tag = 'th scope="row"' if i == 0 else f'td data-heading="{_text(column)}"'
            cells.append(f"<{tag}{_flush(i, table)}>{content}</{tag[:2]}>")
        body += f"<tr>{''.join(cells)}</tr>\n"
    content = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>"
    return f'<div class="scroll"><table class="{kind}">{content}</table></div>'


def _figures(drawings: Sequence[Drawing], *, kind: str = "pair") -> str:
    items = "".join(
        f"<figure><h3>{_text(drawing.title)}</h3>{drawing.svg}<figcaption>{_text(drawing.caption)}</figcaption></figure>\n"
        for drawing in drawings
    )
    return f'<div class="figures {kind}">\n{items}</div>' if items else ""


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{_text(title)}</h2>\n{body}\n</section>"


def _chip(index: int) -> str:
    return f'<i class="chip" style="background:var(--series-{index})"></i>'


def _flush(column: int, table: Table) -> str:
    return ' class="number"' if column in table.numeric else ""


def _typeset(cell: str) -> str:
    """Escape a number and give it a true minus and multiplication sign; a lone hyphen stays."""
    if cell == MISSING:
        return MISSING
    escaped = _text(cell).replace("[-", "[&minus;").replace(", -", ", &minus;")
    if escaped.startswith("-"):
        escaped = "&minus;" + escaped[1:]
    return escaped[:-1] + "&times;" if escaped.endswith("x") else escaped.replace("x (", "&times; (")


def _text(text: str) -> str:
    return html.escape(text, quote=True)
