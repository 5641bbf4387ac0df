"""What does a type checker see of the optimizers? Stubs with typed hyperparameters, written from the specs."""

import types
import typing
from pathlib import Path
from typing import Any

from logclock.optim.signatures import ordered_fields, spellings_of
from logclock.rules import Spec

__all__ = ["stub_of", "stubs", "write_stubs"]


def stubs() -> dict[str, str]:
    """Return the type stubs that `make stubs` writes, by their path within the package.

    `optim/classes.pyi` has a class with typed hyperparameters for every algorithm of this package, and
    `algorithms/__init__.pyi` says where each spec is.
    """
    ours = [spec for spec in map(Spec.family.get, Spec.family) if spec.__module__.startswith("logclock.")]
    return {"optim/classes.pyi": _classes_stub(ours), "algorithms/__init__.pyi": _specs_stub(ours)}


def write_stubs() -> None:
    """Write the type stubs beside the modules that they describe."""
    package = Path(__file__).parents[1]
    for path, text in stubs().items():
        (package / path).write_text(text)


_HEAD = "# Written by `make stubs`; a test says when it is out of date."


def _specs_stub(ours: list[type[Spec]]) -> str:
    homes = sorted((spec.__module__, spec.__name__) for spec in ours)
    imports = [f"from {module} import {name} as {name}" for module, name in homes]
    return "\n".join([_HEAD, *imports, "", '__all__ = ["ENTRY_POINTS"]', "", "ENTRY_POINTS: str", ""])


def _classes_stub(ours: list[type[Spec]]) -> str:
    names = sorted((spec.class_name for spec in ours), key=lambda name: (not name.isupper(), name))
    head = [
        _HEAD,
        "from collections.abc import Iterable, Sequence",
        "from typing import Any, Literal",
        "",
        "import torch",
        "",
        "from logclock.optim.optimizer import ScheduledOptimizer",
        "from logclock.schedules import Schedule",
        "",
        "__all__ = [",
        *(f'    "{name}",' for name in names),
        "]",
        "",
    ]
    return "\n".join([*head, *(stub_of(spec) for spec in sorted(ours, key=lambda spec: spec.class_name))])


def stub_of(spec: type[Spec]) -> str:
    """Return the type stub of a spec's optimizer class."""
    hints = typing.get_type_hints(spec)
    lines = [f"class {spec.class_name}(ScheduledOptimizer):", "    def __init__(", "        self,"]
    lines += ["        params: Iterable[Any],", "        lr: float | torch.Tensor | None = ...,", "        *,"]
    lines += [
        f"        {f.name}: {_written(hints[f.name], f.name)} = ...," for f in ordered_fields(spec) if f.name != "lr"
    ]
    lines += [
        f"        {name}: {'tuple[float, ...]' if name == 'betas' else 'float'} | None = ...,"
        for name in spellings_of(spec)
    ]
    lines += [
        "        peak_lr: float | None = ...,",
        '        backend: Literal["auto", "loop", "foreach", "fused"] = ...,',
        "        maximize: bool = ...,",
        "        state_dtype: str | dict[str, str] | None = ...,",
        "        rounding_seed: int = ...,",
        '        skip_nonfinite: Literal["propagate", "skip", "raise"] = ...,',
        "        capturable: bool = ...,",
        "        clip_norm: float | None = ...,",
        "    ) -> None: ...",
        "",
    ]
    return "\n".join(lines)


def _written(annotation: Any, name: str) -> str:
    """Return an annotation as source; options and schedules may also be given as plain data."""
    if name == "apply":
        return "str | dict[str, Any]"
    if name == "wrappers":
        return "Iterable[str | dict[str, Any]]"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        parts = [_written(argument, name) for argument in arguments]
        plain = ["dict[str, Any]"] if "Schedule" in parts else []
        return " | ".join([*(part for part in parts if part != "None"), *plain, *(["None"] if "None" in parts else [])])
    if origin is typing.Literal:
        return f"Literal[{', '.join(repr(choice) for choice in arguments)}]".replace("'", '"')
    if origin is tuple:
        items = "Any" if typing.get_origin(arguments[0]) is tuple else arguments[0].__name__
        return f"Sequence[{items}]"
    return "None" if annotation is type(None) else annotation.__name__
