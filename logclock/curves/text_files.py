"""How does a table or a log of text become rows, with the line of whatever is wrong?"""

import csv
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from logclock.config.files import MARKS, MAX_DEPTH
from logclock.curves.sheet import Sheet, shortened

__all__ = ["LOGS", "csv_sheet", "decoded", "history_sheet", "log_sheet", "read_lines", "state_sheet"]

DELIMITERS = (",", ";", "\t")


def decoded(path: Path) -> str:
    """Return the text of a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is empty or no UTF-8; the message names the file and the line.
    """
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"{path} is empty. Export the run again, or leave it out.")
    for mark, name in MARKS.items():
        if content.startswith(mark):
            raise ValueError(f"{path}, line 1: it looks like {name}, not text in UTF-8. Save it as UTF-8, unpacked.")
    null = content.find(b"\0")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if null < 0:
            line = content.count(b"\n", 0, error.start) + 1
            raise ValueError(
                f"{path}, line {line}: byte {content[error.start]:#04x} is not UTF-8. Save the file as UTF-8 (it may "
                "be Latin-1 now)."
            ) from None
    if null >= 0:
        line = content.count(b"\n", 0, null) + 1
        raise ValueError(f"{path}, line {line}: a zero byte; this is no text file. Give the export, not a binary file.")
    return text


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file without their ends."""
    return re.split(r"\r\n|\n|\r", decoded(path).rstrip("\r\n"))


def csv_sheet(path: Path) -> Sheet:
    """Return the rows of a CSV file whose first row names the columns.

    Raises:
        ValueError: A row has another number of cells than the first, or a name stands twice.
    """
    text = decoded(path)
    first = text.lstrip().partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    names: list[str] = []
    columns: list[list[str | None]] = []
    rows: list[int] = []
    try:
        for cells in reader:
            if not cells or not any(cell.strip() for cell in cells):
                continue
            if not names:
                names, columns = _header(path, reader.line_num, cells), [[] for _ in cells]
                continue
            if len(cells) != len(names):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells, and {len(names)} columns are named in the "
                    "first row. The file may be cut off here; export it again, or remove the line."
                )
            rows.append(reader.line_num)
            for column, cell in zip(columns, cells, strict=True):
                column.append(cell if cell.strip() else None)
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}: no CSV ({error}). The file may be cut off here; export it again."
        ) from None
    named = {name: column for name, column in zip(names, columns, strict=True) if name}
    return Sheet(source=str(path), unit="line", columns=named, rows=rows)


def _header(path: Path, line: int, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    known = [name for name in names if name]  # pandas writes an index without a name
    twice = [name for name in known if known.count(name) > 1]
    if twice:
        raise ValueError(f"{path}, line {line}: two columns are called {twice[0]!r}. Rename one of them.")
    return names


def history_sheet(path: Path) -> Sheet:
    """Return the rows of a history: one JSON object a line, or a JSON list of objects.

    Raises:
        ValueError: A line is something else; the message names it.
    """
    text = decoded(path)
    if text.lstrip().startswith("["):
        entries = _parsed(text, str(path), "Export it again.")
        if not all(isinstance(entry, dict) for entry in entries):
            number = next(i for i, entry in enumerate(entries, start=1) if not isinstance(entry, dict))
            raise ValueError(f"{path}, entry {number}: must be a JSON object. Export the history again.")
        return _sheet_of(str(path), "entry", list(enumerate(entries, start=1)))
    entries = []
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            entry = _parsed(line, where, "The file may be cut off here; export it again, or remove the line.")
            if not isinstance(entry, dict):
                raise ValueError(f"{where}: must be a JSON object, got {shortened(line)!r}. Remove the line.")
            entries.append((number, entry))
    return _sheet_of(str(path), "line", entries)


def state_sheet(path: Path) -> Sheet:
    """Return the log in a `trainer_state.json` of Hugging Face's Trainer, one row an entry.

    Raises:
        ValueError: The file is something else.
    """
    state = _parsed(decoded(path), str(path), "It may be cut off; take that of an earlier checkpoint.")
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise ValueError(
            f"{path} has no log_history, a list of objects. Give the trainer_state.json of a checkpoint, or a history "
            "with one JSON object a line as .jsonl."
        )
    steps = state.get("max_steps")
    facts = {"total_steps": steps} if isinstance(steps, int) and not isinstance(steps, bool) and steps > 0 else {}
    return _sheet_of(str(path), "entry", list(enumerate(history, start=1)), facts)


def _parsed(text: str, where: str, advice: str) -> Any:
    """Return what JSON stands for; NaN and Infinity, which Python's writers use, are numbers here."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{where}: nested more than {MAX_DEPTH} deep; no history is. {advice}") from None
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error}). {advice}") from None


def _sheet_of(
    source: str, unit: str, entries: list[tuple[int, dict[str, Any]]], facts: Mapping[str, float] | None = None
) -> Sheet:
    names = dict.fromkeys(name for _, entry in entries for name in entry)
    columns = {name: [entry.get(name) for _, entry in entries] for name in names}
    return Sheet(source=source, unit=unit, columns=columns, rows=[n for n, _ in entries], facts=facts or {})


# -- logs -------------------------------------------------------------------------------------------------------------

NUMBER = r"([-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf))"

Row = dict[str, Any]

LOGS: dict[str, tuple[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "nanogpt": (
        r"\b(?:iter|step) \d+: (?:train )?loss\b",
        (
            (rf"\biter (\d+): loss {NUMBER}(?=,|\s|$)", ("step", "loss")),
            (rf"\bstep (\d+): train loss {NUMBER}, val loss {NUMBER}(?=,|\s|$)", ("step", "", "validation_loss")),
        ),
    ),
    "llm.c": (
        r"(?:^s:\d+ (?:tel|trl|eval):)|(?:\bstep +\d+/\d+ \| (?:train )?loss)|(?:^val loss )",
        (
            (rf"^s:(\d+) tel:{NUMBER}(?=\s|$)", ("step", "validation_loss")),
            (
                rf"^s:(\d+) trl:{NUMBER}(?: lr:{NUMBER})?(?: norm:{NUMBER})?(?=\s|$)",
                ("step", "loss", "lr", "grad_norm"),
            ),
            (r"^s:(\d+) eval:", ("step",)),
            (
                rf"\bstep +(\d+)/(\d+) \| (?:train )?loss {NUMBER}(?: \([^)]*\))? ?\|"
                rf"(?: norm {NUMBER}(?: \([^)]*\))? ?\|)?(?: lr {NUMBER})?",
                ("step", "total_steps", "loss", "grad_norm", "lr"),
            ),
            (rf"^val loss {NUMBER}(?=\s|$)", ("validation_loss",)),
        ),
    ),
    "modded-nanogpt": (
        r"\bstep:\d+/\d+ ",
        (
            (rf"\bstep:(\d+)/(\d+) val_loss:{NUMBER}(?=\s|$)", ("step", "total_steps", "validation_loss")),
            (rf"\bstep:(\d+)/(\d+) (?:train_)?loss:{NUMBER}(?=\s|$)", ("step", "total_steps", "loss")),
            (r"\bstep:(\d+)/(\d+) train_time:", ("step", "total_steps")),
        ),
    ),
    "build-nanogpt": (
        r"^\d+ (?:train|val|hella) [-+\dni]",
        (
            (rf"^(\d+) train {NUMBER}\s*$", ("step", "loss")),
            (rf"^(\d+) val {NUMBER}\s*$", ("step", "validation_loss")),
            (r"^(\d+) hella ", ("step",)),
        ),
    ),
}
"""By format: what a line of it begins like, and its lines with what their groups are. Other lines are passed over."""

FACTS: tuple[tuple[str, str, Callable[[str], float]], ...] = (
    (r"\bnumber of parameters: ([\d.]+)M\b", "params", lambda text: float(text) * 1e6),
    (r"\btokens per iteration will be: ([\d,]+)", "tokens_per_step", lambda text: float(text.replace(",", ""))),
)


def log_sheet(path: Path, format: str) -> Sheet:
    """Return the rows of a text log; lines that say nothing of steps and losses are passed over.

    Raises:
        ValueError: There is no line of the format, or one is cut off.
    """
    begins, patterns = LOGS[format]
    rows: list[tuple[int, Row]] = []
    facts: dict[str, float] = {}
    step: int | str = 0
    for number, line in enumerate(read_lines(path), start=1):
        for pattern, role, read in FACTS:
            if match := re.search(pattern, line):
                facts[role] = read(match[1])
        if not re.search(begins, line):
            continue
        row = _row(line, patterns)
        if row is None:
            raise ValueError(
                f"{path}, line {number}: {shortened(line.strip())!r} begins like a line of {format} and goes on unlike "
                "one. The file may be cut off here; remove the line."
            )
        # `val loss` of llm.c has no step of its own: it is taken before the step that is printed next.
        step = row.setdefault("step", step)
        if "total_steps" in row:
            facts["total_steps"] = float(row.pop("total_steps"))
        rows.append((number, row))
    if not rows:
        known = ", ".join(LOGS)
        raise ValueError(f"{path} has no line with a step and a loss as {format} writes them. Known logs: {known}.")
    return _sheet_of(str(path), "line", rows, facts)


def _row(line: str, patterns: tuple[tuple[str, tuple[str, ...]], ...]) -> Row | None:
    for pattern, roles in patterns:
        if match := re.search(pattern, line):
            return {role: text for role, text in zip(roles, match.groups(), strict=True) if role and text is not None}
    return None
