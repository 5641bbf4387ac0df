"""What does `logclock check` do? Ask any optimizer the probes of `logclock.testing`, and print what was seen."""

import ast
import contextlib
import dataclasses
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import tyro

from logclock.config.registry import suggestion

__all__ = ["check", "imported", "settings_of"]

Target = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OPTIMIZER")]
Settings = Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="NAME=VALUE ...", help_behavior_hint="")]
Names = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="PROBE ...", help_behavior_hint="")]
Count = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]


def check(
    optimizer: Target,
    /,
    *,
    settings: Settings = (),
    probes: Names = None,
    ranks: Count = None,
    timeout: float = 60.0,
    form: Annotated[Literal["text", "markdown", "json"], tyro.conf.arg(name="format")] = "text",
) -> int:
    """Ask an optimizer, of any package, whether it does what trainers, schedulers and checkpoints count on.

    Prints a table with a line for each probe: passed, failed with what was seen, or not applicable with the reason.
    The optimizer is `torch.optim.AdamW`, `my_package.module:MyOptimizer`, a factory of parameters by the same path, or
    the name of one of ours, such as `adana`. It runs on small tensors on the CPU, in processes of its own. Exit codes:
    0 nothing failed, 1 a probe failed, 2 wrong request.

    Args:
        optimizer: Where it is imported from; modules of the working directory are found too.
        settings: Keywords for it, such as `lr=1e-3 betas=(0.9,0.95)`; lr is 0.01 if not said.
        probes: Only these; the page `conformance` of the documentation describes all.
        ranks: Ask also on this many processes, sharded by FSDP2.
        timeout: Seconds after which a probe has failed.
        form: Of the table.
    """
    from logclock.testing import check_optimizer

    given = settings_of(settings)
    with _working_directory_importable():
        found = check_optimizer(imported(optimizer), given, probes=probes, ranks=ranks, timeout=timeout, name=optimizer)
    if form == "json":
        print(json.dumps(dataclasses.asdict(found), indent=2))
    else:
        print(found.markdown() if form == "markdown" else found)
    return 0 if found.conforms else 1


def settings_of(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Return keywords from `name=value` texts; a value is a Python literal, or else a string."""
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign or not name.isidentifier():
            raise ValueError(f"--set takes NAME=VALUE, got {assignment!r}. An example: --set lr=1e-3 weight_decay=0.1.")
        if name in settings:
            raise ValueError(f"--set has {name} twice. Give it once.")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value
    return settings


def imported(path: str) -> Callable[..., Any]:
    """Return the class or factory that a path names: `module:Name`, `module.Name`, or an optimizer of ours.

    Raises:
        ValueError: There is no such module or name, or it cannot be called.
    """
    module, sign, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not sign:
        return _ours(path)
    if not module or not name:
        raise ValueError(f"an optimizer is named as module:Class or module.Class, got {path!r}.")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise ValueError(
                f"no module {error.name!r} for {path!r}. Install its package, or call logclock from the folder that "
                "holds the module."
            ) from error
        raise ValueError(f"{module} cannot be imported: {error}. Install what it needs.") from error
    except Exception as error:
        raise ValueError(f"{module} cannot be imported: {type(error).__name__}: {error}.") from error
    for part in name.split("."):
        if not hasattr(found, part):
            callables = [known for known in dir(found) if callable(getattr(found, known, None))]
            where = getattr(found, "__name__", module)
            alike = [known for known in callables if known.lower() == part.lower()]
            hint = f" Did you mean {alike[0]!r}?" if alike else suggestion(part, callables)
            raise ValueError(f"{where} has no {part!r}.{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"{path} is a {type(found).__name__}; an optimizer class or a factory is needed.")
    chosen: Callable[..., Any] = found
    return chosen


def _ours(name: str) -> Callable[..., Any]:
    """Return the class of a registered optimizer."""
    import logclock.optim
    from logclock.rules import Spec

    spec = Spec.family.get(name)
    built: Callable[..., Any] = getattr(logclock.optim, spec.class_name)
    return built


@contextlib.contextmanager
def _working_directory_importable() -> Iterator[None]:
    """Let modules beside the user be imported, as `python -m` does and an installed command does not."""
    before = list(sys.path)
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = before
