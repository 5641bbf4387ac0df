"""How does a ladder become one page and a folder of figures?"""

import os
from pathlib import Path
from typing import Any

from logclock.analysis import LadderResult
from logclock.config.files import write_whole
from logclock.report.drawing import Drawing, Style, styles
from logclock.report.export import export_drawings, figures_of
from logclock.report.ladder_figures import efficiency_drawing, ladder_drawings, lr_drawings, residual_drawings
from logclock.report.ladder_tables import (
    fit_table,
    hold_out_table,
    ladder_cost_table,
    ladder_run_table,
    lr_rule_table,
    lr_table,
    rung_table,
    size_table,
    summary_table,
    trend_table,
)
from logclock.report.ladder_wording import ladder_headline, ladder_methods, ladder_setting, ladder_title
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
)
from logclock.report.tables import source_table

__all__ = ["ladder_figures", "render_ladder_report", "write_ladder_report"]


def write_ladder_report(result: LadderResult, out: str | os.PathLike[str], *, title: str | None = None) -> Path:
    """Write `report.html`, one self-contained page, and `figures/` with every figure as SVG and PNG.

    The same result gives the same page, byte for byte on one kind of processor. Others may write a figure's coordinate
    or a bound of an interval one unit of its last digit off, seldom; the pixels of PNGs are not promised.

    Args:
        result: What `analyse_ladder` found.
        out: The directory; it is created.
        title: Heading of the page; otherwise made of the labels.

    Returns:
        The path of the page.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    drawings = _drawings(result)
    path = out / "report.html"
    write_whole(path, _render(result, drawings, title).encode())
    export_drawings([drawing for group in drawings.values() for drawing in group], out / "figures")
    return path


def render_ladder_report(result: LadderResult, *, title: str | None = None) -> str:
    """Return the report of a ladder as HTML; arguments as in `write_ladder_report`."""
    return _render(result, _drawings(result), title)


def ladder_figures(result: LadderResult) -> dict[str, Any]:
    """Return the figures of a ladder's report by name, as matplotlib objects in the colours of the light page.

    Raises:
        ImportError: matplotlib is not installed.
    """
    return figures_of([drawing for group in _drawings(result).values() for drawing in group])


def _drawings(result: LadderResult) -> dict[str, list[Drawing]]:
    return {
        "efficiency": [efficiency_drawing(result)],
        "ladder": ladder_drawings(result),
        "residuals": residual_drawings(result),
        "lr": lr_drawings(result),
    }


def _render(result: LadderResult, drawings: dict[str, list[Drawing]], title: str | None) -> str:
    title = ladder_title(result) if title is None else title
    looks = styles(result.labels)
    header = render_header(
        title, verdict=ladder_headline(result), setting=ladder_setting(result), warnings=result.warnings
    )
    sections = [
        header,
        render_section(
            "Result",
            render_figures(drawings["efficiency"], kind="wide")
            + render_table(summary_table(result), looks, kind="cards dense"),
        ),
        render_section("Sizes", _sizes(result, looks, drawings["ladder"])),
    ]
    if result.fits:
        sections.append(render_section("Laws", _laws(result, looks, drawings["residuals"])))
    if drawings["lr"]:
        sections.append(render_section("Learning rates", _learning_rates(result, looks, drawings["lr"])))
    if not result.is_imported:  # nothing was timed here
        sections.append(render_section("Cost", render_table(ladder_cost_table(result), looks)))
    sections += [
        render_section("Methods and limits", "".join(f"<p>{escaped(text)}</p>" for text in ladder_methods(result))),
        render_section("Provenance", _provenance(result, looks)),
    ]
    return render_page(title, "\n".join(sections))


def _sizes(result: LadderResult, looks: dict[str, Style], drawings: list[Drawing]) -> str:
    every = render_table(rung_table(result), looks, kind="cards dense")
    is_tested = any(trends.nats for trends in result.trends.values())
    trends = f"<h3>Does the gain grow with size?</h3>{render_table(trend_table(result), looks)}" if is_tested else ""
    return (
        render_figures(drawings)
        + trends
        + f"<details open><summary>Every optimizer at every size</summary>{every}</details>"
        + f"<details><summary>What the sizes are</summary>{render_table(size_table(result), looks)}</details>"
    )


def _laws(result: LadderResult, looks: dict[str, Style], drawings: list[Drawing]) -> str:
    parts = [_formula(result), render_table(fit_table(result), looks, kind="cards dense")]
    if result.hold_outs:
        confidence = f"{100 * result.confidence:g} %"
        parts.append(f"<h3>The largest size, predicted from the others [{confidence} interval of new runs]</h3>")
        parts.append(render_table(hold_out_table(result), looks))
    return "".join(parts) + render_key(looks) + render_figures(drawings, kind="small")


def _formula(result: LadderResult) -> str:
    law = next(iter(next(iter(result.fits.values())).laws.values()))
    return (
        "<p>L(C) = a + sum of b (C / C0)<sup>&minus;c</sup>, with one floor a for all optimizers: a = 0 and one term "
        "in the power law, one term in the saturated and two in the broken law; C0 = "
        f"{law.unit:.3g} FLOP is the geometric mean of the runs. Brackets: {100 * result.confidence:g} % intervals.</p>"
    )


def _learning_rates(result: LadderResult, looks: dict[str, Style], drawings: list[Drawing]) -> str:
    rules = render_table(lr_rule_table(result), looks) if result.lr_rules else ""
    every = render_table(lr_table(result), looks)
    return (
        render_key(looks)
        + render_figures(drawings, kind="small")
        + rules
        + f"<details><summary>Optimum and curvature at every size</summary>{every}</details>"
    )


def _provenance(result: LadderResult, looks: dict[str, Style]) -> str:
    count = f"All {len(result.records)} runs and their records"
    runs = render_table(ladder_run_table(result), looks)
    sources = render_table(source_table(result.records), looks, kind="plain") if result.is_imported else ""
    facts = render_facts(provenance_facts(result.records))
    return f"{sources}{facts}<details><summary>{count}</summary>{runs}</details>"
