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

INCHES_PER_ROW = 0.19
SHOWN = 5
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
        f"minus {result.baseline}'s (95 %)",
        "p (Holm)",
        f"against {result.baseline}",
        "against the first",
        "compute",
        "step",
        "state",
        "peak lr",
    )
    rows = tuple(
        (
            MISSING if row.rank is None else str(row.rank),
            row.label,
            fixed(row.loss, 4),
            _difference(row.difference),
            p_value(row.difference.adjusted_p if row.difference else None),
            _verdict(row, result),
            _against_first(row),
            _multiplier(row.multiplier),
            MISSING if row.cost is None else f"{row.cost.step_ratio:.2f}x",
            MISSING if row.cost is None else f"{row.cost.state_bytes_per_param:.1f}",
            MISSING if row.peak_lr is None else number(float(f"{row.peak_lr:.2g}")) + PLACES[row.place],
        )
        for row in result.rows
    )
    return Table(columns=columns, rows=rows, numeric=frozenset({0, 2, 3, 4, 7, 8, 9, 10}))


def league_headline(result: LeagueResult) -> str:
    """Return what came out in three sentences."""
    ranked = [row for row in result.rows if row.loss is not None]
    best = [row for row in ranked if row.difference is not None and row.difference.verdict == "better"]
    worse = [row for row in ranked if row.difference is not None and row.difference.verdict == "worse"]
    level = [row for row in ranked if row.is_level_with_first]
    chance = len(ranked) - len(best) - len(worse) - 1
    named = ", ".join(row.label for row in ranked[:SHOWN])
    lost = [row.label for row in result.rows if row.loss is None]
    return (
        f"Of {len(result.rows) - 1} entries {len(best)} end below {result.baseline}, {len(worse)} above it, and of {chance} no "
        f"difference to it is shown, all judged together. The lowest losses have {named}; of {len(level) - 1} others no "
        f"difference to the first, {result.first}, is shown."
        + (f" Without a finished run: {', '.join(lost)}." if lost else "")
    )


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
                axes.text(reach * 0.97, position, text, ha="right", va="center", color=INK, fontsize=7)
                continue
            if low is not None and high is not None:
                axes.plot((low, min(high, reach)), (position, position), color=INK, linewidth=1)
            is_shown = row.label == result.baseline or _is_shown(row)
            axes.plot([mean], [position], "o", color=INK, markerfacecolor=INK if is_shown else "none", markersize=4)
        axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=7.5)
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
    first = result.records[0]
    seeds = sorted({record.seed for runs in (result.records,) for record in runs})
    tokens = first.config["data"]["batch_size"] * first.config["data"]["sequence_length"] * planned_steps(first)
    trials = sorted({row.num_trials for row in result.rows})
    edges = [f"{row.label} ({row.place})" for row in result.rows if row.place in ("lowest", "highest")]
    diverged = sum(row.num_diverged for row in result.rows)
    notes = [note for note in result.comparison.warnings if "at the edge of those tried" not in note]
    parts = [
        "# League",
        "Which optimizer ends lowest on one small benchmark when every one is tuned with the same number of runs? This page is "
        f"written from the records by\n\n```sh\n{command}\n```",
        league_headline(result),
        f"![{drawing.title}]({figure})",
        f"{drawing.caption}",
        "## Setting",
        f"A model of {first.model['total_params']:,} parameters on `{first.config['data']['dataset']}`, {planned_steps(first):,} "
        f"updates, {tokens / first.model['total_params']:.3g} tokens per parameter, one thread a run, under one schedule, clip and "
        f"decay rule (recipe `micro`). Every entry has {_span(trials)} learning rates in whole runs"
        + (f", around the best of {result.scouted} short ones" if result.scouted else "")
        + f", with one seed, then seeds {', '.join(map(str, seeds))} at the best. {diverged} of these whole runs diverged, which counts "
        "as a result. Nothing but the learning rate is tuned, so an entry stands for its recipe's other settings, not for what "
        "it could reach with all of them tuned.",
        "## Table",
        _markdown(league_table(result)),
        "*compute* is the compute "
        f"that {result.baseline} needs for the entry's loss, in units of the entry's own, by finished runs of {result.baseline} at "
        f"{len(result.rungs)} lengths; `<` and `>` say that these end before the loss does. *step* is the time of the optimizer's step "
        f"over {_named(result)}'s, in one process and in pairs, on matrices of width 256; *state* is in bytes per parameter "
        "there. *peak lr* says where it lies if it is the lowest or highest tried. *against the first*: level means that no "
        "difference is shown.",
    ]
    if edges:
        parts.append(f"At the edge of its grid, so that a better rate may lie beyond: {', '.join(edges)}.")
    parts += ["## How the numbers were made", *methods(result.comparison)[:2], *(f"* {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


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
    low, high = difference.interval
    return f"{difference.mean:+.3f} ({low:+.3f}, {high:+.3f})"


def _verdict(row: LeagueRow, result: LeagueResult) -> str:
    if row.label == result.baseline:
        return "baseline"
    return MISSING if row.difference is None else VERDICTS.get(row.difference.verdict, row.difference.verdict)


def _against_first(row: LeagueRow) -> str:
    if row.loss is None:
        return MISSING
    if row.behind_first is None:
        return "first"
    return "level" if row.is_level_with_first else "behind"


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
