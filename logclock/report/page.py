"""Of what parts is a page made, whatever it reports on?"""

import html
import importlib.resources
import re
from collections.abc import Iterable, Mapping, Sequence

from logclock.analysis.study import MISSING
from logclock.records import RunRecord
from logclock.report.drawing import Drawing, Style
from logclock.report.tables import Table, number

__all__ = [
    "distinct",
    "escaped",
    "provenance_facts",
    "render_facts",
    "render_figures",
    "render_header",
    "render_key",
    "render_page",
    "render_section",
    "render_table",
    "shortened",
    "stylesheet",
]

IMPORTED = (
    *("imported_from", "imported_run", "imported_format", "imported_digest", "imported_columns", "imported_notes"),
    *("imported_seed", "imported_lr"),
)
"""What a table of sources has run by run, and warnings say in words."""


def stylesheet() -> str:
    """Return the style of every page, colours of figures included."""
    return importlib.resources.files("logclock.report").joinpath("page.css").read_text(encoding="utf-8")


def render_page(title: str, body: str) -> str:
    """Return a whole page that needs nothing outside itself."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{stylesheet()}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def render_key(looks: Mapping[str, Style]) -> str:
    """Return the legend of figures that have none of their own."""
    entries = (f"<span>{_chip(look.index)}{escaped(label)}</span>" for label, look in looks.items())
    return f'<p class="key">{"".join(entries)}</p>'


def render_table(table: Table, looks: Mapping[str, Style], *, kind: str = "cards") -> str:
    """Render a table; on narrow screens the rows of `cards` become blocks, which needs the headings in every cell."""
    head = "".join(f"<th{_flush(i, table)}>{escaped(column)}</th>" for i, column in enumerate(table.columns))
    body = ""
    for row in table.rows:
        cells = []
        for i, (column, cell) in enumerate(zip(table.columns, row, strict=True)):
            chip = _chip(looks[cell].index) if i == 0 and cell in looks else ""
            content = chip + (_typeset(cell) if i in table.numeric else escaped(cell))
            tag = 'th scope="row"' if i == 0 else f'td data-heading="{escaped(column)}"'
            cells.append(f"<{tag}{_flush(i, table)}>{content}</{tag[:2]}>")
        body += f"<tr>{''.join(cells)}</tr>\n"
    content = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>"
    return f'<div class="scroll"><table class="{kind}">{content}</table></div>'


def render_figures(drawings: Sequence[Drawing], *, kind: str = "pair") -> str:
    """Return figures side by side: two in a row, three (`small`) or one (`wide`)."""
    items = "".join(
        f"<figure><h3>{escaped(drawing.title)}</h3>{drawing.svg}<figcaption>{escaped(drawing.caption)}</figcaption></figure>\n"
        for drawing in drawings
    )
    return f'<div class="figures {kind}">\n{items}</div>' if items else ""


def render_header(title: str, *, verdict: str, setting: str, warnings: Sequence[str]) -> str:
    """Return the head of a page: what was found, on what, and what to keep in mind."""
    notes = "".join(f"<li>{escaped(warning)}</li>" for warning in warnings)
    return (
        f'<header>\n<h1>{escaped(title)}</h1>\n<p class="verdict">{escaped(verdict)}</p>\n'
        f'<p class="setting">{escaped(setting)}</p>\n'
        + (f"<aside><h2>To keep in mind</h2><ul>{notes}</ul></aside>\n" if notes else "")
        + "</header>"
    )


def render_section(title: str, body: str) -> str:
    """Return a section with its heading."""
    return f"<section>\n<h2>{escaped(title)}</h2>\n{body}\n</section>"


def _chip(index: int) -> str:
    return f'<i class="chip" style="background:var(--series-{index})"></i>'


def _flush(column: int, table: Table) -> str:
    return ' class="number"' if column in table.numeric else ""


def _typeset(cell: str) -> str:
    """Escape a number and give it a true minus and multiplication sign; a lone hyphen stays."""
    if cell == MISSING:
        return MISSING
    shown = escaped(cell).replace("[-", "[&minus;").replace(", -", ", &minus;")
    if shown.startswith("-"):
        shown = "&minus;" + shown[1:]
    return re.sub(r"(?<=\d)x(?= [(\[]|\*?$)", "&times;", shown)


def escaped(text: str) -> str:
    """Return a text as HTML shows it literally."""
    return html.escape(text, quote=True)


def render_facts(facts: Mapping[str, str]) -> str:
    """Return names and values as a list, sorted by name."""
    rows = "".join(f"<dt>{escaped(key)}</dt><dd>{escaped(facts[key])}</dd>" for key in sorted(facts))
    return f"<dl>{rows}</dl>"


def provenance_facts(records: Sequence[RunRecord]) -> dict[str, str]:
    """Return where records come from, with all values where they differ."""
    unshared = {"started", "ended", "rule_hash", "sources", "numbers_hash", *IMPORTED}
    keys = {key for record in records for key in record.provenance} - unshared
    shared = {key: distinct(record.provenance.get(key) for record in records) for key in keys}
    if any(record.is_imported for record in records):
        return shared
    shared["dataset fingerprint"] = distinct(record.data.get("fingerprint") for record in records)
    started = sorted(str(record.provenance["started"]) for record in records if record.provenance.get("started"))
    ended = sorted(str(record.provenance["ended"]) for record in records if record.provenance.get("ended"))
    shared["first start, last end"] = f"{started[0] if started else MISSING}, {ended[-1] if ended else MISSING}"
    for label in dict.fromkeys(record.label for record in records):
        hashes = (record.provenance.get("rule_hash") for record in records if record.label == label)
        shared[f"rule hash of {label}"] = distinct(hashes)
    return shared


def distinct(values: Iterable[object]) -> str:
    """List distinct values, sorted."""
    return ", ".join(sorted({MISSING if value is None else str(value) for value in values}))


def shortened(value: str) -> str:
    """Write a float that nobody typed, such as 4 / 6000, with six digits; the record holds the others."""
    if len(value) <= 10:
        return value
    try:
        return number(float(value))
    except ValueError:
        return value
