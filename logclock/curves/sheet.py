"""What does a file of numbers hold, row by row, before anybody knows what its columns mean?"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["LARGEST_STEP", "Sheet", "count_in", "number_in", "shortened", "text_in"]

LARGEST_STEP = 2**53
"""Beyond it neighbouring integers are one float, and steps would run into each other."""

MISSING = frozenset({"", "none", "null", "n/a", "na", "-"})
SHOWN = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sheet:
    """Columns of cells as the source has them: texts, numbers, or None where a row has no value.

    Args:
        source: The file or folder, as errors name it.
        unit: What a row is called: `line`, `row`, `entry` or `event`.
        columns: Of equal length, by name.
        rows: The number of each row in the source.
        facts: What the source says beside its rows, such as `total_steps` or `params`.
        notes: What was decided about the source as a whole, in sentences.
    """

    source: str
    unit: str
    columns: Mapping[str, Sequence[Any]]
    rows: Sequence[int]
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def where(self, index: int) -> str:
        """Name a row in an error or a note."""
        return f"{self.source}, {self.unit} {self.rows[index]}"


def number_in(cell: Any, *, where: str, what: str) -> float | None:
    """Return the number in a cell, infinite and NaN ones included, or None if the cell is empty.

    Args:
        cell: A text, a number or None.
        where: The row, for errors.
        what: What the number is, for errors.

    Raises:
        ValueError: It is something else.
    """
    if cell is None:
        return None
    if isinstance(cell, str):
        text = cell.strip()
        if text.lower() in MISSING:
            return None
        try:
            if "_" in text or not text.isascii():  # Python reads 1_0 as 10; no program writes it
                raise ValueError
            return float(text)
        except ValueError:
            hint = " Write decimals with a point, and no separators of thousands." if "," in text else ""
            raise ValueError(
                f"{where}: {what} is {shortened(text)!r}, not a number.{hint} Correct the row, or name another column "
                "with --column."
            ) from None
    try:
        if isinstance(cell, bool | bytes):
            raise TypeError
        return float(cell)
    except OverflowError:
        return math.inf if cell > 0 else -math.inf
    except (TypeError, ValueError):
        raise ValueError(
            f"{where}: {what} is {shortened(repr(cell))}, not a number. Correct the row, or name another column with "
            "--column."
        ) from None


def count_in(cell: Any, *, where: str, what: str) -> int | None:
    """Return the whole number in a cell, or None if the cell is empty.

    Raises:
        ValueError: It is something else, negative, or too large for a float to tell it from its neighbours.
    """
    value = number_in(cell, where=where, what=what)
    if value is None or math.isnan(value):
        return None
    if not 0 <= value <= LARGEST_STEP or value != int(value):
        raise ValueError(
            f"{where}: {what} is {shortened(str(cell))}; it must be a whole number from 0 to 2^53. Correct the row, or "
            f"name another column with --column."
        )
    return int(value)


def text_in(cell: Any) -> str | None:
    """Return what a cell says as a name; 1.0 and 1 are one name, and None stands for an empty cell."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text = str(cell).strip()
    return text or None


def shortened(text: str) -> str:
    """Cut a text that would fill an error."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"
