"""Backends: engines that run any rule, `run(rule, params, grads, states, scalars)`, in place."""

from collections.abc import Callable

import torch

from logclock.backends import foreach, loop
from logclock.config.registry import suggestion
from logclock.rules import Rule

__all__ = ["BACKENDS", "check", "get"]

Run = Callable[..., None]

BACKENDS: dict[str, Run] = {"loop": loop.run, "foreach": foreach.run}


def get(name: str, device: torch.device, rule: Rule) -> Run:
    """Return the `run` function of a backend.

    `auto` is `loop` for an elementwise rule on a CPU and `foreach` otherwise.

    Raises:
        ValueError: The name is unknown.
    """
    check(name)
    if name == "auto":
        name = "loop" if device.type == "cpu" and rule.is_elementwise else "foreach"
    return BACKENDS[name]


def check(name: str) -> None:
    """Raise a ValueError for a name that no backend has."""
    known = ["auto", *BACKENDS]
    if name not in known:
        hint = " It was replaced by 'fused'." if name == "compiled" else suggestion(str(name), known)
        raise ValueError(f"unknown backend {name!r}.{hint} Known: {', '.join(known)}.")
