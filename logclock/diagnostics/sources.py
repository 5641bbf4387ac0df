"""Which model does a person mean by a path, and what is it called?"""

import collections
import dataclasses
from pathlib import Path

from logclock.records import Ledger, RunRecord

__all__ = ["Source", "named_sources"]

ALLOWED = (
    "Give a run's folder OUT/runs/RUN_ID, an entry of a ledger OUT:ENTRY (a label or a run id), or a safetensors file."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One model to look at.

    Args:
        path: A run's folder, or a safetensors file.
        label: What the page calls it.
        group: The label before it was made unique.
        record: Of the run, if there is a ledger.
    """

    path: Path
    label: str
    group: str
    record: RunRecord | None = None

    @property
    def is_run(self) -> bool:
        """Whether it is a run of ours, with configuration and data."""
        return self.path.is_dir()


def named_sources(texts: tuple[str, ...]) -> list[Source]:
    """Return the models that texts name, each with a label of its own.

    Raises:
        FileNotFoundError: There is nothing at a path.
        ValueError: A text names no model, several, or one that another text names.
    """
    if not texts:
        raise ValueError(f"no model was given. {ALLOWED}")
    sources = [_source(text) for text in texts]
    for path, count in collections.Counter(source.path.resolve() for source in sources).items():
        if count > 1:
            raise ValueError(f"{path} was given {count} times. Give each model once.")
    taken = collections.Counter(source.group for source in sources)
    named: list[Source] = []
    for source in sources:
        label = source.group
        if taken[label] > 1:
            apart = source.path.name[:8] if source.is_run else source.path.resolve().parent.name
            label = f"{label} ({apart})"
        if label in {other.label for other in named}:
            label = f"{source.group} ({source.path})"
        named.append(dataclasses.replace(source, label=label))
    return named


def _source(text: str) -> Source:
    path = Path(text)
    if path.is_file() and path.suffix != ".jsonl":
        return Source(path=path, label=path.stem, group=path.stem)
    if (path / "config.json").is_file() and not any(path.glob("*.safetensors.index.json")):
        return _of_folder(path)
    base, colon, entry = text.rpartition(":")
    if colon and not path.exists() and Path(base).exists():
        return _of_entry(_ledger(Path(base), text), entry)
    if not path.exists():
        raise FileNotFoundError(f"no run and no file at {text}. {ALLOWED}")
    if path.is_file() or (path / "ledger.jsonl").is_file():
        ledger = _ledger(path, text)
        raise ValueError(f"{text} is a whole study. Name one of its runs as {path}:ENTRY; {_entries(ledger)}.")
    files = sorted(file.name for file in path.glob("*.safetensors"))
    if files:
        raise ValueError(f"{text} is a folder of weights. Give its files one by one: {', '.join(files[:5])}.")
    raise ValueError(f"{text} is a folder with neither config.json, ledger.jsonl nor *.safetensors. {ALLOWED}")


def _ledger(path: Path, text: str) -> Ledger:
    file = path / "ledger.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{text}: no ledger at {file}. {ALLOWED}")
    return Ledger(file)


def _of_folder(path: Path) -> Source:
    files = [file.name for file in path.glob("*.safetensors") if file.name != "final.safetensors"]
    is_ours = (path / "final.safetensors").is_file() or (path / "checkpoints").is_dir() or not files
    if not is_ours:  # another library's folder, whose config.json is its own
        raise ValueError(f"{path} is no run of logclock. Give its files one by one: {', '.join(sorted(files)[:5])}.")
    file = path.resolve().parent.parent / "ledger.jsonl"
    records = Ledger(file).records() if file.is_file() else []
    found = [record for record in records if record.run_id == path.resolve().name]
    label = found[0].label if found else path.resolve().name
    return Source(path=path, label=label, group=label, record=found[0] if found else None)


def _of_entry(ledger: Ledger, entry: str) -> Source:
    records = ledger.records()
    found = [record for record in records if record.run_id == entry]
    found = found or [record for record in records if record.label == entry]
    found = found or [record for record in records if entry and record.run_id.startswith(entry)]
    if len(found) != 1:
        how_many = f"{len(found)} runs are" if found else "no run is"
        raise ValueError(f"{ledger.path}: {how_many} called {entry!r}. Name one by its run id; {_entries(ledger)}.")
    path = ledger.path.parent / "runs" / found[0].run_id
    if not path.is_dir():
        raise FileNotFoundError(f"{ledger.path} has run {found[0].run_id}, but its folder {path} is not there.")
    return Source(path=path, label=entry, group=found[0].label, record=found[0])


def _entries(ledger: Ledger) -> str:
    records = ledger.records()
    listed = ", ".join(f"{record.run_id} ({record.label}, seed {record.seed})" for record in records[:20])
    return f"it has {len(records)}: {listed}" + (", ..." if len(records) > 20 else "")
