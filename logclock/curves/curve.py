"""What is one finished run of another program, whatever it was written by?"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from logclock.curves.roles import NAMES, SERIES, columns_of, listed, role_of
from logclock.curves.sheet import Sheet, count_in, number_in, shortened, text_in

__all__ = ["Curve", "Points", "curves_of"]

SEPARATOR = " - "
"""Between the run and the metric in the columns of a chart that was downloaded from W&B."""
BOUNDS = ("__MIN", "__MAX")
"""What W&B appends for the envelope of a chart; the mean is the column without it."""

GAPS = 2
"""A loss that is missing for more than so many of its longest intervals at the end of a log was not a number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Points:
    """Values at ascending steps.

    Args:
        steps: Every step once.
        values: Not finite where the source says so.
        rows: The row of each point in the source.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]
    rows: tuple[int, ...]

    @property
    def finite(self) -> list[tuple[int, float]]:
        """Steps and values without those that are not finite."""
        return [(s, v) for s, v in zip(self.steps, self.values, strict=True) if math.isfinite(v)]

    @property
    def longest_gap(self) -> int:
        """The longest interval between two points; 0 below two."""
        return max((b - a for a, b in itertools.pairwise(self.steps)), default=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """One run, as columns of numbers with known meaning.

    Args:
        name: What the source calls the run.
        source: The file or folder it came from.
        format: How that was written; a key of `FORMATS`, or `frame`.
        digest: Of the source's bytes.
        columns: The name in the source by role, of the roles it has.
        series: Points by role, see `roles.SERIES`; a loss is among them.
        facts: What the source says of the whole run, by role: texts for `run`, `label`, `seed`, `size`, else numbers.
        last_step: Of any row.
        lost_after: The last step with a finite loss if the log goes on without one; None for a good end.
        notes: What was decided about rows that say something twice, in sentences.
    """

    name: str
    source: str
    format: str
    digest: str
    columns: Mapping[str, str]
    series: Mapping[str, Points]
    facts: Mapping[str, Any]
    last_step: int
    lost_after: int | None
    notes: tuple[str, ...]


def curves_of(sheet: Sheet, given: Mapping[str, str], *, name: str, format: str, digest: str) -> list[Curve]:
    """Return the runs in a sheet: one, one for each name in its columns, or one for each pair of columns.

    Args:
        sheet: The rows.
        given: Columns by role that the user named.
        name: What a run is called if the sheet does not say it.
        format: How the source was written.
        digest: Of its bytes.

    Raises:
        ValueError: A column is missing, a cell is not what its role needs, or the rows are in no order.
    """
    if not sheet.rows:
        raise ValueError(f"{sheet.source} has no rows. Export the run again, or leave it out.")
    charts = _charts(sheet)
    if charts:
        return [
            _curve(_chart_sheet(sheet, step, metrics), given, run, format=format, digest=digest)
            for run, (step, metrics) in charts.items()
        ]
    columns = columns_of(list(sheet.columns), given, where=sheet.source)
    curves = []
    for key, indices in _groups(sheet, columns).items():
        curves.append(_curve(_rows(sheet, indices), given, _called(columns, key) or name, format=format, digest=digest))
    return curves


def _groups(sheet: Sheet, columns: Mapping[str, str]) -> dict[tuple[str | None, ...], list[int]]:
    """Return the rows of each run, by what its columns call it.

    A row that leaves some of them empty belongs to the one run that it does not contradict. A summary, without a loss,
    may belong to none.
    """
    keys = [[text_in(cell) for cell in sheet.columns[columns[role]]] for role in NAMES if role in columns]
    rows = [tuple(column[index] for column in keys) for index in range(len(sheet.rows))]
    whole = [key for key in dict.fromkeys(rows) if not any(_says_less(key, other) for other in set(rows))]
    groups: dict[tuple[str | None, ...], list[int]] = {key: [] for key in whole}
    for index, row in enumerate(rows):
        fitting = [row] if row in groups else [key for key in whole if _says_less(row, key)]
        if len(fitting) == 1:
            groups[fitting[0]].append(index)
        elif any(
            text_in(sheet.columns[columns[role]][index]) for role in ("loss", "validation_loss") if role in columns
        ):
            raise ValueError(
                f"{sheet.where(index)}: a loss of no run: {_listed_names(columns)} leave open which of "
                f"{len(fitting)} it belongs to. Fill them in, or remove the row."
            )
    return {key: indices for key, indices in groups.items() if indices}


def _says_less(row: tuple[str | None, ...], other: tuple[str | None, ...]) -> bool:
    return row != other and all(mine in (None, theirs) for mine, theirs in zip(row, other, strict=True))


def _listed_names(columns: Mapping[str, str]) -> str:
    return ", ".join(repr(columns[role]) for role in NAMES if role in columns)


def _called(columns: Mapping[str, str], key: tuple[str | None, ...]) -> str | None:
    known = dict(zip((role for role in NAMES if role in columns), key, strict=True))
    if known.get("run"):
        return known["run"]
    parts = [known.get("label"), known.get("size"), f"s{known['seed']}" if known.get("seed") else None]
    return "-".join(filter(None, parts)) or None


def _curve(sheet: Sheet, given: Mapping[str, str], name: str, *, format: str, digest: str) -> Curve:
    columns = columns_of(list(sheet.columns), given, where=sheet.source)
    if "step" not in columns:
        raise ValueError(
            f"{sheet.source} has no column of steps; it has: {listed(sheet.columns)}. Name it: --column step=NAME."
        )
    if "loss" not in columns and "validation_loss" not in columns:
        raise ValueError(
            f"{sheet.source} has no column that is known as a loss; it has: {listed(sheet.columns)}. Name one: "
            "--column loss=NAME for a training loss, --column validation_loss=NAME for one on held-out text."
        )
    steps = _steps(sheet, columns["step"])
    notes: list[str] = []
    series = {}
    for role in SERIES:
        if role in columns:
            points = _points(sheet, role, columns, steps, notes)
            if points.steps:
                series[role] = points
    if not any(series[role].finite for role in ("loss", "validation_loss") if role in series):
        raise ValueError(
            f"{sheet.source}, run {name!r}: no row has a finite loss in {_loss_columns(columns)}. Name another column "
            "with --column, or leave the run out."
        )
    known_steps = [step for step in steps if step is not None]
    last = max(known_steps)
    return Curve(
        name=name,
        source=sheet.source,
        format=format,
        digest=digest,
        columns=columns,
        series=series,
        facts=dict(sheet.facts) | _facts(sheet, columns),
        last_step=last,
        lost_after=_lost_after(series, last),
        notes=(*sheet.notes, *notes),
    )


def _loss_columns(columns: Mapping[str, str]) -> str:
    return " or ".join(repr(columns[role]) for role in ("loss", "validation_loss") if role in columns)


def _steps(sheet: Sheet, column: str) -> list[int | None]:
    cells = sheet.columns[column]
    return [count_in(cell, where=sheet.where(i), what=f"the step ({column})") for i, cell in enumerate(cells)]


def _points(
    sheet: Sheet, role: str, columns: Mapping[str, str], steps: Sequence[int | None], notes: list[str]
) -> Points:
    """Return the points of one column, with what came after a resume in place of what had been logged before it."""
    kept: list[tuple[int, float, int]] = []
    twice = resumed = 0
    dropped = 0
    goes_on_from: int | None = None  # where a resumed run must get to again
    back: tuple[int, int] = (0, 0)
    for index, value in _values(sheet, role, columns):
        step = steps[index]
        if step is None:
            raise ValueError(
                f"{sheet.where(index)}: {columns[role]} is {value:g} at no step ({columns['step']} is empty). Fill the "
                "step in, or remove the row."
            )
        if kept and step < kept[-1][0]:
            if step < kept[0][0]:
                raise _unsorted(sheet, index, step, kept[-1][0], f"to before the first step, {kept[0][0]:,}")
            goes_on_from, back = max(goes_on_from or 0, kept[-1][0]), (index, step)
            before = len(kept)
            kept = [point for point in kept if point[0] < step]
            dropped += before - len(kept)
            resumed += 1
        elif kept and step == kept[-1][0]:
            twice += 1
            kept.pop()
        if goes_on_from is not None and step >= goes_on_from:
            goes_on_from = None
        kept.append((step, value, index))
    if goes_on_from is not None:
        raise _unsorted(sheet, back[0], back[1], goes_on_from, "and the run never gets there again")
    if resumed:
        notes.append(
            f"{columns[role]} goes back {_times(resumed)} (the run was resumed): {dropped} "
            f"{'row' if dropped == 1 else 'rows'} gave way to what came later."
        )
    if twice:
        notes.append(f"{columns[role]} has a step twice, {_times(twice)}: later rows count.")
    return Points(
        steps=tuple(point[0] for point in kept),
        values=tuple(point[1] for point in kept),
        rows=tuple(sheet.rows[point[2]] for point in kept),
    )


def _times(count: int) -> str:
    return f"{count} {'time' if count == 1 else 'times'}"


def _unsorted(sheet: Sheet, index: int, step: int, before: int, why: str) -> ValueError:
    return ValueError(
        f"{sheet.where(index)}: the step goes back from {before:,} to {step:,}, {why}. Rows must ascend in the step; a "
        "resumed run may go back to where it was resumed and on from there. Sort the rows, or name the column that "
        "tells runs apart with --column run=NAME."
    )


def _values(sheet: Sheet, role: str, columns: Mapping[str, str]) -> list[tuple[int, float]]:
    """Return the numbers of a column with their indices.

    NaN beside a finite number of the other loss stands for nothing, as tables write a value that was not logged.
    """
    found = []
    is_loss = role in ("loss", "validation_loss")
    for index, cell in enumerate(sheet.columns[columns[role]]):
        value = number_in(cell, where=sheet.where(index), what=columns[role])
        if value is None or (math.isnan(value) and not (is_loss and _is_alone(sheet, index, role, columns))):
            continue
        if is_loss and value <= 0:
            raise ValueError(
                f"{sheet.where(index)}: {columns[role]} is {shortened(str(cell))}; a loss in nats per token is above "
                "0. Name the column of the loss with --column, or change its sign."
            )
        found.append((index, value))
    return found


def _is_alone(sheet: Sheet, index: int, role: str, columns: Mapping[str, str]) -> bool:
    other = {"loss": "validation_loss", "validation_loss": "loss"}[role]
    if other not in columns:
        return True
    value = number_in(sheet.columns[columns[other]][index], where=sheet.where(index), what=columns[other])
    return value is None or (math.isnan(value) and role == "loss")


def _lost_after(series: Mapping[str, Points], last: int) -> int | None:
    """Return the last step with a finite loss if the loss was lost after it.

    A loss that is written as NaN at the end was lost. One that is missing at the end was, if it is missing for longer
    than ever before: tables do not tell NaN from a value that was not logged.
    """
    points = series.get("loss") or series["validation_loss"]
    finite = [step for step, _ in points.finite]
    if not finite:
        return 0 if "loss" in series else None
    if not math.isfinite(points.values[-1]):
        return finite[-1]
    gap = max((b - a for a, b in itertools.pairwise(finite)), default=0)
    return (
        finite[-1] if gap and last - finite[-1] > GAPS * gap and not _is_evaluated_after(series, finite[-1]) else None
    )


def _is_evaluated_after(series: Mapping[str, Points], step: int) -> bool:
    points = series.get("validation_loss")
    return points is not None and any(at > step for at, _ in points.finite)


def _facts(sheet: Sheet, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return what columns say of the whole run.

    Raises:
        ValueError: A column says two things.
    """
    facts: dict[str, Any] = {}
    for role in NAMES:
        if role not in columns:
            continue
        said = {
            text: index
            for index, cell in reversed(list(enumerate(sheet.columns[columns[role]])))
            if (text := text_in(cell)) is not None
        }
        if len(said) > 1:
            (one, _), (other, index) = sorted(said.items(), key=lambda item: item[1])[:2]
            raise ValueError(
                f"{sheet.where(index)}: {columns[role]} is {shortened(other)!r}, and {shortened(one)!r} before. A run "
                f"has one {role}; name the column that tells runs apart with --column run=NAME."
            )
        if said:
            (text, index), *_ = said.items()
            facts[role] = text
    return facts


def _rows(sheet: Sheet, indices: Sequence[int]) -> Sheet:
    if len(indices) == len(sheet.rows):
        return sheet
    columns = {name: [column[i] for i in indices] for name, column in sheet.columns.items()}
    return dataclasses.replace(sheet, columns=columns, rows=[sheet.rows[i] for i in indices])


def _charts(sheet: Sheet) -> dict[str, tuple[str, dict[str, str]]]:
    """Return step column and metrics of each run of a downloaded chart, whose columns are called `RUN - METRIC`."""
    step = next(iter(sheet.columns), None)
    runs: dict[str, dict[str, str]] = {}
    for column in list(sheet.columns)[1:]:
        run, separator, metric = column.rpartition(SEPARATOR)
        if not separator:
            return {}
        if not metric.endswith(BOUNDS):
            runs.setdefault(run, {})[metric] = column
    return {run: (step, metrics) for run, metrics in runs.items()} if step is not None else {}


def _chart_sheet(sheet: Sheet, step: str, metrics: Mapping[str, str]) -> Sheet:
    """Return the rows of one run of a chart; those at which another run alone has a value are left out."""
    own = {metric: sheet.columns[column] for metric, column in metrics.items() if role_of(metric) != "step"}
    indices = [i for i in range(len(sheet.rows)) if any(text_in(cells[i]) is not None for cells in own.values())]
    return _rows(dataclasses.replace(sheet, columns={step: sheet.columns[step]} | own), indices)
