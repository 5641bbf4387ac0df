"""How are curves that lie in memory compared: a pandas or polars frame, or a dict of arrays?"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from logclock.analysis import Comparison, LadderResult, analyse_ladder, compare
from logclock.curves.curve import curves_of
from logclock.curves.naming import facts_of
from logclock.curves.runs import Loss, Reading, records_of
from logclock.curves.sheet import Sheet
from logclock.curves.smoothing import DEFAULT_WINDOW
from logclock.records import RunRecord
from logclock.report import (
    comparison_figures,
    comparison_table,
    headline,
    ladder_figures,
    ladder_headline,
    ladder_table,
    write_ladder_report,
    write_report,
)

__all__ = ["CurveComparison", "compare_curves"]

SOURCE = "the frame"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurveComparison:
    """What curves say about each other; in a notebook it shows itself.

    Args:
        records: The runs, as `logclock import` would write them.
        result: Every number: a `Comparison`, or a `LadderResult` if there are several sizes.
    """

    records: tuple[RunRecord, ...]
    result: Comparison | LadderResult

    @property
    def verdict(self) -> str:
        """Who won, by how much and how sure that is, in one sentence."""
        return ladder_headline(self.result) if isinstance(self.result, LadderResult) else headline(self.result)

    @property
    def table(self) -> str:
        """Results as aligned text, with what makes them less certain below."""
        return ladder_table(self.result) if isinstance(self.result, LadderResult) else comparison_table(self.result)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the comparison less fair or less certain than it looks, and what is unknown."""
        return self.result.warnings

    @functools.cached_property
    def figures(self) -> dict[str, Any]:
        """Return the figures of the report by name, as `matplotlib.figure.Figure`; drawn when first asked for.

        Raises:
            ImportError: matplotlib is not installed.
        """
        if isinstance(self.result, LadderResult):
            return ladder_figures(self.result)
        return comparison_figures(self.records, self.result)

    def write_report(self, path: str | os.PathLike[str]) -> Path:
        """Write the whole report as one self-contained HTML file and return its path.

        Of a ladder, `path` is a directory, which gets the page and its figures.
        """
        if isinstance(self.result, LadderResult):
            return write_ladder_report(self.result, path)
        return write_report(self.records, path, baseline=self.result.baseline)

    def __str__(self) -> str:
        return f"{self.table}\n\n{self.verdict}"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p><strong>{escape(self.verdict)}</strong></p><pre>{escape(self.table)}</pre>"


def compare_curves(
    frame: Any,
    *,
    baseline: str | None = None,
    columns: Mapping[str, str] | None = None,
    loss: Loss = "auto",
    window: float = DEFAULT_WINDOW,
    params: float | str | None = None,
    tokens_per_step: float | str | None = None,
    lr: float | None = None,
    total_steps: int | None = None,
) -> CurveComparison:
    """Compare finished runs whose curves lie in a table, one row a logged step.

    Columns are found by their names: `step`, `loss`, `val_loss`, `lr`, `tokens`, and `label` or `optimizer`, `run`,
    `seed`, `params`, which tell runs apart. Downloaded charts of W&B, with a column `RUN - METRIC` each, are understood
    as well. Neither pandas nor polars is needed.

    Args:
        frame: A pandas or polars frame, a pyarrow table, or a dict of arrays or lists.
        baseline: The label to compare with; the first if None.
        columns: Names of columns by meaning, such as `{"loss": "ce", "label": "method"}`, where they are not found.
        loss: What is compared: `validation`, or `training`, averaged; `auto` takes the first that every run has.
        window: Share of the training over which a training loss is averaged.
        params: Parameters of the model if no column says them; a number or a text such as `124M`.
        tokens_per_step: Batch size in tokens likewise.
        lr: Peak learning rate likewise.
        total_steps: Planned updates likewise; a run that ends before counts as not finished.

    Raises:
        TypeError: The frame is something else.
        ValueError: A column is missing, a row is not what it must be, or the runs must not be compared; the message
            names the row, the first being 1.

    Examples:
        >>> curves = {
        ...     "optimizer": ["adamw"] * 3 + ["adana"] * 3,
        ...     "step": [100, 200, 300] * 2,
        ...     "val_loss": [4.0, 3.5, 3.2, 3.9, 3.4, 3.1],
        ... }
        >>> compare_curves(curves).verdict.split(" (")[0]
        'adana ended 0.1000 nats below adamw'
    """
    given = dict(columns or {})
    reading = Reading(
        facts=facts_of(
            {"params": params, "tokens_per_step": tokens_per_step, "lr": lr, "total_steps": total_steps},
            where="compare_curves",
        ),
        columns=given,
        loss=loss,
        window=window,
        baseline=baseline,
    )
    sheet = _sheet(frame)
    digest = hashlib.sha256(repr([(name, list(column)) for name, column in sheet.columns.items()]).encode())
    curves = curves_of(sheet, given, name="run", format="frame", digest=f"sha256:{digest.hexdigest()}")
    records = records_of(curves, reading)
    if any(record.tags["phase"] == "ladder" for record in records):
        return CurveComparison(records=tuple(records), result=analyse_ladder(records, baseline=baseline))
    return CurveComparison(records=tuple(records), result=compare(records, baseline=baseline))


def _sheet(frame: Any) -> Sheet:
    names = _names(frame)
    columns: dict[str, Sequence[Any]] = {}
    for name in names:
        column = frame[name]
        as_list = (
            getattr(column, "to_list", None) or getattr(column, "to_pylist", None) or getattr(column, "tolist", None)
        )
        values = as_list() if as_list is not None else list(column)
        if not isinstance(values, list):
            raise TypeError(f"{SOURCE}: column {name!r} must be a list or an array of one dimension, got {values!r}.")
        columns[str(name)] = [_plain(value) for value in values]
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        (one, first), (other, second) = min(lengths.items(), key=_by_length), max(lengths.items(), key=_by_length)
        raise ValueError(
            f"{SOURCE}: columns must be equally long, and {one!r} has {first} rows, {other!r} {second}. Cut or fill "
            "them."
        )
    return Sheet(source=SOURCE, unit="row", columns=columns, rows=range(1, max(lengths.values(), default=0) + 1))


def _by_length(item: tuple[str, int]) -> int:
    return item[1]


def _names(frame: Any) -> list[Any]:
    found = getattr(frame, "column_names", None)  # pyarrow, whose `columns` are the columns themselves
    if found is None:
        found = getattr(frame, "columns", None)
    if found is None and isinstance(frame, Mapping):
        found = frame.keys()
    if found is None:
        raise TypeError(
            f"compare_curves takes a pandas or polars frame, a pyarrow table, or a dict of arrays, got "
            f"{type(frame).__name__}. A file is read by `logclock import`."
        )
    names = list(found)
    if len(set(names)) < len(names):
        raise ValueError(f"{SOURCE}: two columns are called {max(names, key=names.count)!r}. Rename one of them.")
    return names


def _plain(value: Any) -> Any:
    """Return a cell as a Python value: pandas has marks of its own for nothing, which are no numbers."""
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    item = getattr(value, "item", None)
    return item() if callable(item) else value
