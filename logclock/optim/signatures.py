"""What does a user see of an algorithm's hyperparameters? Signature, documentation and tables, from the spec."""

import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from logclock.config import to_dict
from logclock.config.bounds import bounds_of
from logclock.config.field_docs import field_docs
from logclock.optim.completion import BETAS, SETTINGS
from logclock.rules import Spec, State
from logclock.rules.state import SIDES
from logclock.schedules import Schedule

__all__ = [
    "FieldRow",
    "StateRow",
    "documentation_of",
    "field_rows",
    "ordered_fields",
    "signature_of",
    "spellings_of",
    "state_bytes_per_element",
    "state_rows",
]


def ordered_fields(spec: type[Spec]) -> "list[dataclasses.Field[Any]]":
    """Return the fields of a spec in reading order: lr, its own, then those that every algorithm has."""
    shared = [f.name for f in dataclasses.fields(Spec)]
    fields = dataclasses.fields(spec)
    own = [f for f in fields if f.name not in shared]
    return [*(f for f in fields if f.name == "lr"), *own, *(f for f in fields if f.name in shared and f.name != "lr")]


def signature_of(spec: type[Spec]) -> inspect.Signature:
    """Return the signature of a spec's class: params, lr, the spec's fields, torch's spellings, then the settings."""
    kinds = inspect.Parameter
    parameters = [kinds("params", kinds.POSITIONAL_OR_KEYWORD)]
    for f in ordered_fields(spec):
        kind = kinds.POSITIONAL_OR_KEYWORD if f.name == "lr" else kinds.KEYWORD_ONLY
        parameters.append(kinds(f.name, kind, default=f.default, annotation=f.type))
    settings = {**dict.fromkeys(spellings_of(spec)), "peak_lr": None, **SETTINGS}
    settings |= {"skip_nonfinite": "propagate", "capturable": False, "clip_norm": None}
    parameters += [kinds(name, kinds.KEYWORD_ONLY, default=default) for name, default in settings.items()]
    return inspect.Signature(parameters)


def spellings_of(spec: type[Spec]) -> list[str]:
    """Return torch's names for weights of new samples that a spec has."""
    names = {f.name for f in dataclasses.fields(spec)}
    return [spelling for spelling, emas in BETAS.items() if set(emas) <= names]


def documentation_of(spec: type[Spec]) -> str:
    """Return a spec's docstring with the documentation of its fields as the section on arguments."""
    docs = field_docs(spec)
    lines = ["Args:"]
    for f in ordered_fields(spec):
        text = " ".join(docs.get(f.name, "").split())
        lines += textwrap.wrap(f"{f.name}: {text}", 116, initial_indent="    ", subsequent_indent="        ")
    body = inspect.cleandoc(spec.__doc__ or "")
    sections = re.split(r"\n(?=(?:Examples|Deviations|References):)", body, maxsplit=1)
    return "\n\n".join([sections[0].rstrip(), "\n".join(lines), *sections[1:]]) + "\n"


class FieldRow(NamedTuple):
    """A hyperparameter as a page shows it.

    Args:
        name: The field.
        default: Its default as plain data, written as Python.
        values: What it may be.
        documentation: What stands under it in the source, on one line.
    """

    name: str
    default: str
    values: str
    documentation: str


def field_rows(cls: Any) -> list[FieldRow]:
    """Return the hyperparameters of a spec, or of an apply stage or wrapper, in reading order."""
    fields = ordered_fields(cls) if issubclass(cls, Spec) else list(dataclasses.fields(cls))
    hints, bounds, docs = typing.get_type_hints(cls), bounds_of(cls), field_docs(cls)
    rows = []
    for f in fields:
        range_ = re.sub("^(be|lie in) ", "", str(bounds[f.name])) if f.name in bounds else ""
        rows.append(
            FieldRow(
                f.name,
                _default_of(f),
                ", ".join(dict.fromkeys(_values(hints[f.name], range_))),
                " ".join(docs.get(f.name, "").split()),
            )
        )
    return rows


def _default_of(field: "dataclasses.Field[Any]") -> str:
    default = to_dict(field.default)
    is_bare_option = isinstance(default, dict) and list(default) == ["name"]
    return repr(default["name"] if is_bare_option else default)


def _values(annotation: Any, range_: str) -> Iterator[str]:
    """Yield what a field of this type may be, numbers by their range."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for option in typing.get_args(annotation):
            yield from _values(option, range_)
    elif typing.get_origin(annotation) is typing.Literal:
        yield from (repr(choice) for choice in typing.get_args(annotation))
    elif typing.get_origin(annotation) is tuple:
        yield f"a list of {_plural(typing.get_args(annotation)[0])}"
    elif annotation is bool:
        yield from ("True", "False")
    elif annotation is int:
        yield f"whole number {range_}".rstrip()
    elif annotation is float:
        yield range_ or "number"
    elif annotation is type(None):
        yield "None"
    elif annotation is Schedule:
        yield "schedule"
    else:
        yield "an apply stage"


def _plural(annotation: Any) -> str:
    """Return what the items of a list are."""
    if typing.get_origin(annotation) is tuple:
        return f"{len(typing.get_args(annotation))} {_plural(typing.get_args(annotation)[0])} each"
    return {int: "whole numbers", float: "numbers"}.get(annotation, "wrappers")


class StateRow(NamedTuple):
    """A state of a rule as a page shows it.

    Args:
        name: As in the state of a parameter.
        shape: What it is shaped like.
        start: What it is before the first update.
        formats: In which storage formats it may be kept.
    """

    name: str
    shape: str
    start: str
    formats: str


def state_rows(states: Mapping[str, State]) -> list[StateRow]:
    """Return the declared states of a rule."""
    starts = {"zeros": "0", "param": "a copy of the parameter", "identity": "the identity"}
    rows = []
    for name, state in states.items():
        shapes = {"param": "the parameter's", "number": "one number"}
        shape = shapes[state.shape] if isinstance(state.shape, str) else " x ".join(state.shape)
        if state.empty_above is not None:
            shape += f", 0 x 0 where a side exceeds {state.empty_above}"
        if state.only is not None:
            shape += ", of matrices" if state.only == "matrices" else ", of what is no matrix"
        start = starts[state.init] if isinstance(state.init, str) else f"{state.init:.3g}"
        formats = "any" if state.weight is None else f"any that can follow {state.weight}"
        if state.is_number or state.keeps == "float32":
            formats = "exact" if state.is_number else "float32"
        rows.append(StateRow(name, shape, start, formats))
    return rows


def state_bytes_per_element(states: Mapping[str, State]) -> str:
    """Return the bytes of float32 state per element of an n x n matrix, such as `8` or `8 + 4 r/n`, with r the rank.

    Numbers and vectors do not count.
    """
    taken = [state for state in states.values() if state.only != "others"]
    matrices = [state.shape for state in taken if not isinstance(state.shape, str) and len(state.shape) == 2]
    ranks = [num for shape in matrices if (num := sum(side not in SIDES for side in shape)) < 2]  # r x r vanishes too
    low = sum(ranks)
    full = sum(state.shape == "param" for state in taken) + len(ranks) - low
    terms = [str(4 * full)] if full or not low else []
    return " + ".join([*terms, f"{4 * low} r/n"] if low else terms)
