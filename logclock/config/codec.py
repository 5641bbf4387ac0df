"""How does a tree of dataclasses become plain JSON data, and how is it read back without losing a typo?"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from logclock.config.files import parse_json
from logclock.config.registry import Registry, suggestion

__all__ = ["from_dict", "override", "to_dict"]

T = TypeVar("T")

INTEGERS = range(-(2**63), 2**64)
"""What numpy, torch and other readers of JSON hold without loss."""

SHOWN = 200
"""Characters of a value that an error repeats."""


def to_dict(value: Any) -> Any:
    """Turn a dataclass tree into dicts, lists, numbers, strings and None.

    Members of a family (see `Registry`) get their name under the family's tag, first in the dict. A field whose
    metadata say `omit_default` is left out at its default value, so that data written before there was such a field
    stays equal.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        family = getattr(value, "family", None)
        head = {family.tag: family.name_of(type(value))} if isinstance(family, Registry) else {}
        return head | {
            f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value) if _is_written(f, value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_dict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_dict(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a config holds numbers, strings, lists and dataclasses, got {type(value).__name__}: {value!r}.")


def _is_written(field: "dataclasses.Field[Any]", value: Any) -> bool:
    omits = field.metadata.get("omit_default", False) and getattr(value, field.name) == field.default
    return field.init and not omits


def from_dict(annotation: Any, data: Any, *, path: str = "") -> Any:
    """Rebuild what `to_dict` wrote, checking every key and type on the way.

    Args:
        annotation: A dataclass, the base class of a family, or any annotation built from them, numbers, strings,
            `Literal`, `|`, `list`, `tuple` and `dict`.
        data: The plain data.
        path: Where `data` stands in the whole config, for error messages.

    Raises:
        TypeError: A value has the wrong type, a key is unknown, or a required key is missing.
        ValueError: A value is out of range or not finite, or a name is unknown.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        return _from_union(arguments, data, path)
    if origin is typing.Literal:
        if data not in arguments:
            choices = ", ".join(map(repr, arguments))
            raise ValueError(f"{path or 'value'} must be one of {choices}, got {_shown(data)}.")
        return data
    if origin is tuple:
        _expect(isinstance(data, list | tuple), "a list", data, path)
        items = arguments[:1] * len(data) if arguments[-1] is Ellipsis else arguments
        _expect(len(items) == len(data), f"a list of {len(items)}", data, path)
        return tuple(from_dict(a, d, path=f"{path}[{i}]") for i, (a, d) in enumerate(zip(items, data, strict=True)))
    if origin is list:
        _expect(isinstance(data, list | tuple), "a list", data, path)
        if _are_plain(arguments[0], data):
            return list(data)
        return [from_dict(arguments[0], item, path=f"{path}[{i}]") for i, item in enumerate(data)]
    if origin is dict:
        _expect(isinstance(data, Mapping), "a mapping", data, path)
        return {key: from_dict(arguments[1], item, path=_join(path, key)) for key, item in data.items()}
    if isinstance(annotation, type):
        return _from_class(annotation, data, path)
    raise TypeError(f"{path or 'value'}: cannot read the annotation {annotation!r}.")


def override(config: T, assignments: Iterable[str]) -> T:
    """Return a copy of a dataclass tree with `"a.b=c"` assignments applied.

    Values are read as JSON where they are JSON and as strings otherwise; infinities and NaN, which JSON does not have,
    are refused where a number is expected. Changing the tag of a family member (as in
    `"lr_schedule.kind=constant"`) keeps the fields that the new class has too; where an optional member is not there,
    the tag puts one there; where an optional dataclass whose fields all have defaults is not there, any field does.

    Raises:
        ValueError: The assignment has no `=`, or names an unknown path.
        TypeError: The value does not have the type of its field.
    """
    data = to_dict(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ValueError(f"cannot read {assignment!r}. Write PATH=VALUE, for example optimizer.lr=1e-3.")
        _assign(type(config), data, path.split("."), _parse(text), path)
    rebuilt: T = from_dict(type(config), data)
    return rebuilt


def _parse(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        pass
    try:
        return float(text)  # "1e-3", ".5" and "inf" are numbers to a person, not to JSON
    except ValueError:
        return None if text == "None" else text


def _assign(annotation: Any, data: Any, keys: list[str], value: Any, path: str) -> None:
    """Write `value` at `keys` inside nested dicts, which are described by `annotation`."""
    cls = _class_for(annotation, data)
    key = keys[0]
    if cls is None:
        raise ValueError(f"cannot set {path!r}: nothing below {'.'.join(path.split('.')[: -len(keys)])!r} has fields.")
    family = getattr(cls, "family", None)
    tag = family.tag if isinstance(family, Registry) else None
    names = [f.name for f in dataclasses.fields(cls) if f.init] + ([tag] if tag else [])
    if key not in names:
        raise ValueError(f"unknown path {path!r}.{suggestion(key, names)} Known here: {', '.join(sorted(names))}.")
    if key == tag and family is not None and len(keys) > 1:
        raise ValueError(f"cannot set {path!r}: {key!r} is the name of the {family.noun} and has no fields.")
    if len(keys) > 1:
        if key not in data:  # a field that is left out at its default value
            data[key] = to_dict(next(f.default for f in dataclasses.fields(cls) if f.name == key))
        if data[key] is None and _names_member(_hints(cls)[key], keys[1:]):  # of an optional member that is not there
            data[key] = {keys[1]: value}
            _class_for(_hints(cls)[key], data[key])  # raises for an unknown name
            return
        if data[key] is None and _has_defaults(_hints(cls)[key]):  # an optional dataclass that is not there
            data[key] = {}
        _assign(_hints(cls)[key], data[key], keys[1:], value, path)
    elif key == tag and family is not None:
        known = {f.name for f in dataclasses.fields(family.get(value)) if f.init}
        for name in [name for name in data if name not in known]:
            del data[name]
        data[tag] = value
    else:
        data[key] = value


def _names_member(annotation: Any, keys: list[str]) -> bool:
    """Return whether keys name the member of a family that an optional field may hold, as `kind` does."""
    families = (getattr(option, "family", None) for option in typing.get_args(annotation))
    return any(isinstance(family, Registry) and keys == [family.tag] for family in families)


def _has_defaults(annotation: Any) -> bool:
    """Return whether an optional field may hold a dataclass, of no family, whose fields all have defaults."""
    members = [option for option in typing.get_args(annotation) if dataclasses.is_dataclass(option)]
    return (
        len(members) == 1
        and not any(
            f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
            for f in dataclasses.fields(members[0])
        )
        and not isinstance(getattr(members[0], "family", None), Registry)
    )


def _class_for(annotation: Any, data: Any) -> Any:
    """Return the dataclass that `data` stands for, or None if it is not a dict of fields."""
    if not isinstance(data, Mapping):
        return None
    options = typing.get_args(annotation) if not isinstance(annotation, type) else (annotation,)
    for option in options:
        family = getattr(option, "family", None)
        if isinstance(family, Registry):
            return family.get(data[family.tag])
        if dataclasses.is_dataclass(option):
            return option
    return None


def _are_plain(annotation: Any, items: Sequence[Any]) -> bool:
    """Return whether a list may be taken as it is: `from_dict` item by item is slow for the losses of a run."""
    allowed = set(typing.get_args(annotation) or (annotation,))
    found = set(map(type, items))
    if not found <= allowed & {float, str, bool, type(None)}:
        return False
    return all(map(math.isfinite, (item for item in items if type(item) is float)))


def _from_union(options: tuple[Any, ...], data: Any, path: str) -> Any:
    if data is None and type(None) in options:
        return None
    if isinstance(data, float) and float in options:
        _expect_finite(data, path)
    if isinstance(data, Mapping):
        options = tuple(o for o in options if _takes_mapping(o)) or options
        options = tuple(o for o in options if _may_be_named(o, data)) or options
    candidates = [option for option in options if option is not type(None)]
    errors = []
    for option in candidates:
        try:
            return from_dict(option, data, path=path)
        except (TypeError, ValueError) as error:
            errors.append(error)
    if len(errors) == 1 or isinstance(data, Mapping):
        raise errors[-1]
    expected = " or ".join(_describe(option) for option in options)
    raise TypeError(f"{path or 'value'} must be {expected}, got {_shown(data)}.")


def _from_class(cls: type, data: Any, path: str) -> Any:
    family = getattr(cls, "family", None)
    if isinstance(data, cls) and not isinstance(data, bool | int | float):
        return data
    if isinstance(family, Registry):
        if family.accepts_name and isinstance(data, str):
            data = {family.tag: data}
        _expect(isinstance(data, Mapping), f"a {family.noun}", data, path)
        if family.tag not in data:
            raise TypeError(f"{path or family.noun} needs the key {family.tag!r}. Known: {', '.join(family)}.")
        member: Any = family.get(data[family.tag])
        _expect(issubclass(member, cls), f"a {cls.__name__}", data, path)
        return _build(member, {key: item for key, item in data.items() if key != family.tag}, path)
    if dataclasses.is_dataclass(cls):
        _expect(isinstance(data, Mapping), "a mapping", data, path)
        return _build(cls, data, path)
    if cls is float:
        _expect(isinstance(data, int | float) and not isinstance(data, bool), "a number", data, path)
        try:
            number = float(data)
        except OverflowError:
            number = math.inf if data > 0 else -math.inf
        _expect_finite(number, path)
        return number
    if cls is int:
        whole = isinstance(data, int) or (isinstance(data, float) and data.is_integer())
        _expect(whole and not isinstance(data, bool), "a whole number", data, path)
        if int(data) not in INTEGERS:
            raise ValueError(f"{path or 'value'} must be a whole number of 64 bits, got {_shown(data)}.")
        return int(data)
    _expect(isinstance(data, cls), _describe(cls), data, path)
    return data


def _build(cls: Any, data: Mapping[str, Any], path: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for key in data:
        if key not in fields:
            known = ", ".join(fields)
            raise TypeError(f"unknown key {_join(path, key)!r}.{suggestion(key, fields)} Known: {known}.")
    required = [
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in data]
    if missing:
        raise TypeError(f"{path or cls.__name__} lacks {', '.join(repr(_join(path, name)) for name in missing)}.")
    hints = _hints(cls)
    return cls(**{key: from_dict(hints[key], item, path=_join(path, key)) for key, item in data.items()})


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _takes_mapping(annotation: Any) -> bool:
    is_class = isinstance(annotation, type)
    return (is_class and (hasattr(annotation, "family") or dataclasses.is_dataclass(annotation))) or (
        typing.get_origin(annotation) is dict
    )


def _may_be_named(annotation: Any, data: Mapping[str, Any]) -> bool:
    """Return whether the name in the data leaves this option open; several options may share a family."""
    family = getattr(annotation, "family", None)
    if not isinstance(family, Registry) or data.get(family.tag) not in list(family):
        return True
    return issubclass(family.get(data[family.tag]), annotation)


def _expect(holds: bool, expected: str, data: Any, path: str) -> None:
    if not holds:
        raise TypeError(f"{path or 'value'} must be {expected}, got {_shown(data)}.")


def _expect_finite(number: float, path: str) -> None:
    if not math.isfinite(number):
        raise ValueError(
            f"{path or 'value'} must be a finite number, got {number}. To switch off what may be off, write null."
        )


def _shown(data: Any) -> str:
    """Return a value as an error repeats it: a text of megabytes would hide the message."""
    text = repr(data)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters)"


def _describe(annotation: Any) -> str:
    names = {
        float: "a number",
        int: "a whole number",
        str: "a string",
        bool: "true or false",
        type(None): "null",
    }
    if annotation in names:
        return names[annotation]
    if typing.get_origin(annotation) is typing.Literal:
        return f"one of {', '.join(map(repr, typing.get_args(annotation)))}"
    if typing.get_origin(annotation) in (tuple, list):
        return "a list"
    family = getattr(annotation, "family", None)
    return f"a {family.noun}" if isinstance(family, Registry) else getattr(annotation, "__name__", str(annotation))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
