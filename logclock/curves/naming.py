"""What is a run called, with which seed and size: by a flag, by a pattern of its path, or by its own name?"""

import dataclasses
import math
import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from logclock.config.registry import suggestion
from logclock.curves.sheet import LARGEST_STEP, shortened

__all__ = ["Facts", "amount", "by_name", "facts_of", "matched", "name_of_path", "pattern_of"]

FIELDS = ("label", "optimizer", "seed", "size", "params", "tokens_per_step", "lr", "total_steps", "_")
"""What a pattern may ask for; `optimizer` is another word for `label`, and `_` stands for anything."""

UNTOLD = re.compile(
    r"metrics|history|trainer_state|logs?|main|out|output|stdout|train(ing)?|events|lightning_logs|results|tensorboard"
    r"|tb|wandb|run|version_\d+|checkpoint-\d+|log\d*|ledger",
    re.IGNORECASE,
)
"""Names of files and folders that programs give, not people."""

SEED = re.compile(r"(?:^|[-_./ ])(?:seed|s)[-_= ]?(\d{1,9})(?=$|[-_./ ])", re.IGNORECASE)

UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What is said of a run beside its curve; None for what nobody says.

    Args:
        label: What tables call it, e.g. its optimizer.
        seed: Tells apart the runs of one label.
        size: Name of its rung in a ladder.
        params: Of the model.
        tokens_per_step: Batch size in tokens.
        lr: Peak learning rate.
        total_steps: Updates it was planned for.
    """

    label: str | None = None
    seed: int | None = None
    size: str | None = None
    params: float | None = None
    tokens_per_step: float | None = None
    lr: float | None = None
    total_steps: int | None = None

    def over(self, other: "Facts") -> "Facts":
        """Return these facts, with those of another where these do not say."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Facts(**{name: getattr(other, name) if value is None else value for name, value in own.items()})


def amount(text: str | float, *, what: str) -> float:
    """Return a positive number, which may be written as 124M or 0.5e6.

    Examples:
        >>> amount("124M", what="params"), amount("0.5m", what="tokens_per_step"), amount(3e-4, what="lr")
        (124000000.0, 500000.0, 0.0003)

    Raises:
        ValueError: It is something else.
    """
    match = re.fullmatch(r"([\d.]+(?:e[-+]?\d+)?) ?([kmbgt]?)", str(text).strip().lower(), re.ASCII)
    try:
        value = float(match[1]) * UNITS[match[2]] if match else math.nan
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf):
        raise ValueError(
            f"{what} must be a number above 0, such as 491520, 0.5M or 3e-4, got {shortened(str(text))!r}. Correct it."
        )
    return value


def whole(text: str | float, *, what: str, least: int) -> int:
    """Return a whole number that is at least so much."""
    value = 0.0 if least == 0 and str(text).strip() in ("0", "0.0") else amount(text, what=what)
    if value != int(value) or not least <= value <= LARGEST_STEP:
        raise ValueError(
            f"{what} must be a whole number of at least {least}, got {shortened(str(text))!r}. Correct it."
        )
    return int(value)


def facts_of(texts: Mapping[str, Any], *, where: str) -> Facts:
    """Return facts from texts by field, those of `FIELDS`.

    Raises:
        ValueError: A text is not what its field takes; the message begins with `where`.
    """
    label = texts.get("label") or texts.get("optimizer")
    known: dict[str, Any] = {"label": label, "size": texts.get("size")}
    for field in ("params", "tokens_per_step", "lr"):
        if texts.get(field) is not None:
            known[field] = amount(texts[field], what=f"{where}: {field}")
    for field, least in (("seed", 0), ("total_steps", 1)):
        if texts.get(field) is not None:
            known[field] = whole(texts[field], what=f"{where}: {field}", least=least)
    return Facts(**known)


def pattern_of(text: str) -> re.Pattern[str] | None:
    """Return the pattern that a label with fields in braces stands for; None for a plain label.

    It matches from the beginning of a part of a path to the end of a part; `{_}` stands for anything within one part.

    Raises:
        ValueError: A field is unknown or stands twice, or a brace is alone.
    """
    if "{" not in text and "}" not in text:
        return None
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(
            f"--label {text!r}: {error}. Fields stand in braces, such as {{optimizer}}-s{{seed}}."
        ) from None
    built, names = "", []
    for literal, field, spec, conversion in parts:
        built += re.escape(literal)
        if field is None:
            continue
        if field not in FIELDS or spec or conversion:
            raise ValueError(
                f"--label {text!r}: unknown field {{{field}}}.{suggestion(field, FIELDS)} Known: "
                f"{', '.join(f'{{{name}}}' for name in FIELDS)}."
            )
        if field == "_":
            built += "[^/]*?"
            continue
        if field in names:
            raise ValueError(
                f"--label {text!r}: {{{field}}} stands twice. Write {{_}} for what varies and has no name."
            )
        names.append(field)
        built += rf"(?P<{field}>{r'[0-9]+' if field == 'seed' else '[^/]+?'})"
    return re.compile(rf"{built}(?=/|\.[A-Za-z]\w*$|$)")


def matched(pattern: re.Pattern[str], label: str, *candidates: str) -> dict[str, str]:
    """Return the fields of the first candidate that a pattern matches, as near to its end as it does.

    Raises:
        ValueError: It matches none.
    """
    for candidate in candidates:
        starts = [0, *(i + 1 for i, character in enumerate(candidate) if character == "/")]
        for start in reversed(starts):  # folders further up, such as a home, may look alike
            if match := pattern.match(candidate, start):
                return match.groupdict()
    raise ValueError(
        f"--label {label!r} matches neither of {', '.join(map(repr, dict.fromkeys(candidates)))}. A pattern covers "
        "whole parts of a path or the whole name of a run; write {_} for what varies."
    )


def by_name(name: str) -> Facts:
    """Return what a run's own name says: `adamw-s1` is label adamw, seed 1."""
    match = SEED.search(name)
    if match is None:
        return Facts(label=name)
    label = (name[: match.start()] + name[match.end() :]).strip("-_./ ")
    return Facts(label=label, seed=int(match[1])) if label else Facts(label=name)


def name_of_path(path: Path) -> str:
    """Return the last part of a path that a person has chosen: `adamw-s0` of `adamw-s0/version_0/metrics.csv`."""
    parts = [*path.parts[:-1], path.stem if path.suffix and not path.is_dir() else path.name]
    named = [part for part in parts if not UNTOLD.fullmatch(part) and part not in ("/", ".", "..")]
    last = parts[-1] if parts else str(path)
    if not UNTOLD.fullmatch(last):
        return last
    return named[-1] if named else last
