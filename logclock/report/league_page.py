"""How is a league written down: one page of Markdown with its figure, from the records alone?"""

import os
from collections.abc import Sequence
from pathlib import Path

from logclock.analysis.league import LeagueMultiplier, LeagueResult, LeagueRow
from logclock.analysis.significance import Difference
from logclock.analysis.study import MISSING, planned_steps
from logclock.config.files import write_whole
from logclock.report.axes import frame
from logclock.report.drawing import FAINT, INK, Drawing, axes_grid, draw, settings, standalone
from logclock.report.tables import Table, fixed, number, p_value
from logclock.report.wording import methods

__all__ = ["league_drawing", "league_headline", "league_markdown", "league_table", "write_league_page"]

INCHES_PER_ROW = 0.2
SHOWN, LISTED = 5, 12
CUT = 3.0
"""Differences beyond so many times the best entry's are drawn at the edge of the figure: a few that fail would squeeze
the others together."""

PLACES = {"inside": "", "lowest": " (lowest)", "highest": " (highest)", "nowhere": ""}
VERDICTS = {"better": "better", "worse": "worse", "no difference": "no difference"}


def league_table(result: LeagueResult) -> Table:
    """Return the table: one row an entry, by loss."""
    columns = (
        "",
        "optimizer",
        "loss",
        f"minus {result.baseline}'s",
        "p (Holm)",
        "verdict",
        "compute",
        "step",
        "state",
        "peak lr",
    )
    rows = tuple(
        (
            _rank(row),
            row.label,
            fixed(row.loss, 4),
            _difference(row.difference),
            p_value(row.difference.adjusted_p if row.difference else None),
            _verdict(row, result),
            _multiplier(row.multiplier),
            MISSING if row.cost is None else f"{row.cost.step_ratio:.2f}x",
            MISSING if row.cost is None else f"{row.cost.state_bytes_per_param:.1f}",
            MISSING if row.peak_lr is None else number(float(f"{row.peak_lr:.2g}")) + PLACES[row.place],
        )
        for row in result.rows
    )
    return Table(columns=columns, rows=rows, numeric=frozenset({0, 2, 3, 4, 6, 7, 8, 9}))


def league_headline(result: LeagueResult) -> str:
    """Return what came out in three sentences."""
    ranked = [row for row in result.rows if row.loss is not None]
    verdicts = [row.difference.verdict for row in ranked if row.difference is not None]
    level = [row.label for row in ranked if row.is_level_with_first and row.label != result.first]
    lost = [row.label for row in result.rows if row.loss is None]
    sentences = [
        f"Of {len(result.rows) - 1} optimizers {verdicts.count('better')} end below {result.baseline} and "
        f"{verdicts.count('worse')} above it; of {len(verdicts) - verdicts.count('better') - verdicts.count('worse')} "
        "no difference to it is shown, all judged together.",
        f"The lowest losses: {', '.join(row.label for row in ranked[:SHOWN])}.",
        _level(level),
    ]
    if lost:
        sentences.append(f"Without a finished run: {', '.join(lost)}.")
    return " ".join(sentences)


def _level(labels: Sequence[str]) -> str:
    """Say who may be as good as the first."""
    if not labels:
        return "Every other one ends above the first, and not by chance."
    named = f": {', '.join(labels)}" if len(labels) <= LISTED else ""
    return f"Of {len(labels)} others no difference to the first is shown{named}."


def league_drawing(result: LeagueResult) -> Drawing:
    """Draw every entry's loss minus the baseline's with its interval, the lowest on top."""
    rows = [row for row in result.rows if row.loss is not None]
    means = {row.label: _mean(row) for row in rows}
    left = min([0.0, *(low for row in rows if (low := _ends(row)[0]) is not None)])
    reach = max(-CUT * left, 0.05)
    with settings():
        figure, (axes,) = axes_grid(width=4.7, height=0.9 + INCHES_PER_ROW * len(rows))
        axes.axvline(0, color=FAINT, linewidth=1)
        for position, row in enumerate(rows):
            mean, (low, high) = means[row.label], _ends(row)
            if mean > reach:
                axes.plot([reach], [position], ">", color=FAINT, markersize=4)
                text = f"+{mean:.2f}"
                axes.text(reach * 0.97, position, text, ha="right", va="center", color=INK, fontsize=8)
                continue
            if low is not None and high is not None:
                axes.plot((low, min(high, reach)), (position, position), color=INK, linewidth=1)
            is_shown = row.label == result.baseline or _is_shown(row)
            axes.plot([mean], [position], "o", color=INK, markerfacecolor=INK if is_shown else "none", markersize=4)
        axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8.5)
        frame(axes, [], x_label=f"loss minus {result.baseline}'s, nats (left is better)", y_label="")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(left * 1.06 - 0.005, reach * 1.06)
        return draw(
            figure,
            name="league",
            title=f"Final loss minus that of {result.baseline}, {len(rows)} optimizers",
            caption="Bars are 95 % intervals, each by itself; a hollow point shows no difference, all judged together. "
            "Arrows stand for points beyond the right edge.",
        )


def league_markdown(result: LeagueResult, *, figure: str, command: str) -> str:
    """Return the page.

    Args:
        result: The league.
        figure: Path of the figure, as the page links to it.
        command: What rebuilds the page.
    """
    drawing = league_drawing(result)
    parts = [
        "# League",
        "Which optimizer ends lowest on one small benchmark when every one is tuned with the same number of runs?",
        league_headline(result),
        f"![{drawing.title}]({figure})",
        drawing.caption,
        "## Setting",
        _setting(result),
        "## Table",
        _markdown(league_table(result)),
        _legend(result),
        *_edges(result),
        "## How the numbers were made",
        *methods(result.comparison)[:2],
        *(f"* {note}" for note in result.comparison.warnings if "at the edge of those tried" not in note),
        f"This page and its figure are written from the records, by\n\n```sh\n{command}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _setting(result: LeagueResult) -> str:
    first = result.records[0]
    data, steps, params = first.config["data"], planned_steps(first), first.model["total_params"]
    tokens = data["batch_size"] * data["sequence_length"] * steps
    trials = sorted({row.num_trials for row in result.rows})
    seeds = sorted({record.seed for record in result.records})
    scouted = f", around the best of {result.scouted} short ones" if result.scouted else ""
    diverged = sum(row.num_diverged for row in result.rows)
    return (
        f"A model of {params:,} parameters on `{data['dataset']}`, {steps:,} updates, {tokens / params:.3g} tokens per "
        "parameter, one schedule, one bound on the gradient and one rule of decay for all (recipe `micro`). Every "
        f"optimizer has {_span(trials)} learning rates in whole runs{scouted}, with seed {seeds[0]}, and then "
        f"{len(seeds)} seeds at the best. Of those whole runs {diverged} diverged, which is a result. Nothing but the "
        "learning rate is tuned: a row stands for an optimizer as its recipe sets it, not for what it could reach. "
        "One small model, small batches and one corpus: no ranking carries over to large runs by itself."
    )


def _legend(result: LeagueResult) -> str:
    return (
        "± is half a 95 % interval of the difference by itself; the verdict is of all differences judged together. "
        f"*compute* is what {result.baseline} needs for the loss of the row, over what the row took, read off finished "
        f"runs of {result.baseline} at {len(result.rungs)} lengths, each tuned; `<` and `>` say that these end before "
        f"the loss does. *step* is the time of the optimizer's step over {_named(result)}'s, measured in pairs in one "
        "process on matrices of width 256, and *state* the bytes per parameter there. *peak lr* says so where it is "
        "the lowest or highest tried. A rank with `=` is of an optimizer to which the first shows no difference."
    )


def _edges(result: LeagueResult) -> list[str]:
    edges = [f"{row.label} ({row.place})" for row in result.rows if row.place in ("lowest", "highest")]
    if not edges:
        return []
    return [f"Best at the edge of its grid, so that a better rate may lie beyond: {', '.join(edges)}."]


def write_league_page(result: LeagueResult, page: str | os.PathLike[str], *, command: str) -> Path:
    """Write the page, and its figure as `figures/league.svg` beside it; return the page."""
    page = Path(page)
    picture = page.parent / "figures" / "league.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_whole(picture, standalone(league_drawing(result)).encode())
    write_whole(page, league_markdown(result, figure="figures/league.svg", command=command).encode())
    return page


def _markdown(table: Table) -> str:
    cells = [list(table.columns), ["--:" if i in table.numeric else "---" for i in range(len(table.columns))]]
    cells += [list(row) for row in table.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells)


def _mean(row: LeagueRow) -> float:
    return row.difference.mean if row.difference is not None and row.difference.mean is not None else 0.0


def _ends(row: LeagueRow) -> tuple[float | None, float | None]:
    if row.difference is None or row.difference.interval is None:
        return None, None
    return row.difference.interval


def _is_shown(row: LeagueRow) -> bool:
    return row.difference is not None and row.difference.verdict in ("better", "worse")


def _difference(difference: Difference | None) -> str:
    if difference is None or difference.mean is None:
        return MISSING
    if difference.interval is None:
        return f"{difference.mean:+.3f}"
    low, high = difference.interval  # around the mean
    return f"{difference.mean:+.3f} ± {(high - low) / 2:.3f}"


def _verdict(row: LeagueRow, result: LeagueResult) -> str:
    if row.label == result.baseline:
        return "baseline"
    return MISSING if row.difference is None else VERDICTS.get(row.difference.verdict, row.difference.verdict)


def _rank(row: LeagueRow) -> str:
    if row.rank is None:
        return MISSING
    return f"{row.rank} =" if row.is_level_with_first and row.behind_first is not None else str(row.rank)


def _multiplier(found: LeagueMultiplier | None) -> str:
    if found is None:
        return MISSING
    if found.interval is None or found.bound:
        return f"{found.bound}{found.value:.2f}x"
    return f"{found.value:.2f}x ({found.interval[0]:.2f}, {found.interval[1]:.2f})"


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _named(result: LeagueResult) -> str:
    named = sorted({row.cost.baseline for row in result.rows if row.cost is not None})
    return ", ".join(named) or result.baseline
