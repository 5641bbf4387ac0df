"""Which files are runs, and of which format is each?"""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from logclock.config.registry import suggestion
from logclock.curves.binary_files import event_sheet, parquet_sheet
from logclock.curves.curve import SEPARATOR, Curve, curves_of
from logclock.curves.naming import name_of_path
from logclock.curves.roles import normalized
from logclock.curves.sheet import Sheet
from logclock.curves.text_files import LOGS, csv_sheet, history_sheet, log_sheet, read_lines, state_sheet

__all__ = ["FORMATS", "Format", "find_sources", "read_source"]

FIRST_LINES = 10_000
"""In which a text log must show what it is; one of modded-nanogpt begins with the program that wrote it."""
EVENTS = "events.out.tfevents"
CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """One way in which runs are written down.

    Args:
        description: What writes it, in a few words.
        read: Returns the rows of a file.
        is_like: Whether a file looks like this format; asked in the order of `FORMATS`.
    """

    description: str
    read: Callable[[Path], Sheet]
    is_like: Callable[[Path], bool]


def _first_row(path: Path) -> list[str]:
    with open(path, "rb") as file:
        first = file.readline(1 << 20).decode("utf-8-sig", errors="replace")
    return [cell.strip().strip('"') for cell in re.split(r"[,;\t]", first)]


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv")


def _is_chart(path: Path) -> bool:
    columns = _first_row(path) if _is_csv(path) else []
    return "_step" in columns or any(SEPARATOR in column for column in columns)


def _is_lightning(path: Path) -> bool:
    return _is_csv(path) and {"epoch", "step"} <= {normalized(column) for column in _first_row(path)}


def _is_log(path: Path, format: str) -> bool:
    if path.suffix.lower() not in (".log", ".txt", ".out", ".err", ""):
        return False
    with open(path, "rb") as file:
        lines = (line.decode("utf-8", errors="replace") for _, line in zip(range(FIRST_LINES), file, strict=False))
        return any(re.search(LOGS[format][0], line) for line in lines)


FORMATS: dict[str, Format] = {
    "tensorboard": Format(
        description="a folder of TensorBoard's event files",
        read=lambda path: event_sheet(path, _event_files(path)),
        is_like=lambda path: path.is_dir() and bool(_event_files(path)),
    ),
    "trainer-state": Format(
        description="trainer_state.json of Hugging Face's Trainer",
        read=state_sheet,
        is_like=lambda path: path.suffix == ".json" and path.name.endswith("trainer_state.json"),
    ),
    "wandb-csv": Format(description="a chart or a history of W&B as CSV", read=csv_sheet, is_like=_is_chart),
    "lightning-csv": Format(description="metrics.csv of Lightning's CSVLogger", read=csv_sheet, is_like=_is_lightning),
    "csv": Format(description="a CSV file with a row of names", read=csv_sheet, is_like=_is_csv),
    "history": Format(
        description="a history with a JSON object a line (.jsonl), or a list of them (.json)",
        read=history_sheet,
        is_like=lambda path: path.suffix.lower() in (".jsonl", ".ndjson", ".json"),
    ),
    "parquet": Format(
        description="a history as Parquet",
        read=parquet_sheet,
        is_like=lambda path: path.suffix.lower() in (".parquet", ".pq"),
    ),
    **{
        name: Format(
            description=f"a text log of {name}",
            read=functools.partial(log_sheet, format=name),
            is_like=functools.partial(_is_log, format=name),
        )
        for name in LOGS
    },
}
"""By name, in the order in which a file is asked whether it is one."""


def find_sources(given: Sequence[Path], *, format: str | None = None) -> list[tuple[Path, str]]:
    """Return the files and event folders that hold runs, with the format of each.

    A folder stands for everything in it, and must hold one kind of source; of the checkpoints of one training the
    latest `trainer_state.json` counts.

    Args:
        given: Files and folders.
        format: A key of `FORMATS`; None to tell it by name and content.

    Raises:
        ValueError: The format is unknown, or a source is of none; a folder holds none, or several kinds.
        FileNotFoundError: A source does not exist.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"unknown format {format!r}.{suggestion(format, FORMATS)} Known: {', '.join(FORMATS)}.")
    found: dict[Path, str] = {}
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"no file or folder {path}. Give exports of runs, or folders of them.")
        if path.is_dir() and not _event_files(path):
            found |= _in_folder(path, format)
        elif path.name.startswith(EVENTS):
            found |= {path.parent: "tensorboard"}
        else:
            found[path] = format or _format_of(path)
    return list(found.items())


def _in_folder(folder: Path, format: str | None) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        kind = next((name for name, known in FORMATS.items() if _may_be(path, name) and known.is_like(path)), None)
        if kind is not None and format in (None, kind):
            found[path] = kind
    kinds = sorted(set(found.values()))
    if len(kinds) > 1:
        examples = ", ".join(f"{kind} ({next(p for p, k in found.items() if k == kind)})" for kind in kinds)
        raise ValueError(
            f"{folder} holds several kinds of sources, which may be one run twice: {examples}. Say which with "
            "--format, or give the files."
        )
    if not found:
        wanted = f" of format {format}" if format else ""
        known = "; ".join(f"{name}: {one.description}" for name, one in FORMATS.items())
        raise ValueError(f"{folder} holds no run{wanted} that is known. Known formats: {known}.")
    return _latest_checkpoints(found)


def _may_be(path: Path, name: str) -> bool:
    """Return whether a path is what a format is made of: a folder of event files, or a file."""
    return path.is_dir() if name == "tensorboard" else path.is_file() and not path.name.startswith(EVENTS)


def _latest_checkpoints(found: Mapping[Path, str]) -> dict[Path, str]:
    """Keep the last of the states that one training has left in its checkpoints; each holds those before it."""
    kept: dict[Path, str] = {}
    latest: dict[Path, tuple[float, Path]] = {}
    for path, kind in found.items():
        if kind != "trainer-state":
            kept[path] = kind
            continue
        match = CHECKPOINT.fullmatch(path.parent.name)
        training = path.parent.parent if match else path.parent
        rank = (float(match[1]) if match else float("inf"), path)
        latest[training] = max(latest.get(training, rank), rank)
    return kept | {path: "trainer-state" for _, path in latest.values()}


def _format_of(path: Path) -> str:
    for name, format in FORMATS.items():
        if _may_be(path, name) and format.is_like(path):
            return name
    if path.is_file():
        read_lines(path)  # says what is wrong with a file that is empty or binary
    known = "; ".join(f"{name}: {one.description}" for name, one in FORMATS.items())
    raise ValueError(f"{path} looks like no run that is known. Say which with --format. Known: {known}.")


def read_source(path: Path, format: str, columns: Mapping[str, str]) -> list[Curve]:
    """Return the runs in a file or event folder.

    Args:
        path: What to read.
        format: A key of `FORMATS`.
        columns: By role, as the user named them.

    Raises:
        ValueError: The source is not of this format or contradicts itself; the message names it and the row.
    """
    sheet = FORMATS[format].read(path)
    return curves_of(sheet, columns, name=name_of_path(path), format=format, digest=_digest(path))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for part in _event_files(path) if path.is_dir() else [path]:
        with open(part, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _event_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.startswith(EVENTS)) if folder.is_dir() else []
