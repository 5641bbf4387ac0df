"""Backends: engines that run any rule, `run(rule, params, grads, states, scalars)`, in place."""

from collections.abc import Callable

import torch

from logclock.backends import compiled, foreach, loop
from logclock.config.registry import suggestion

__all__ = ["BACKENDS", "get"]

BACKENDS: dict[str, Callable[..., None]] = {"loop": loop.run, "foreach": foreach.run, "compiled": compiled.run}


def get(name: str, device: torch.device) -> Callable[..., None]:
    """Return the `run` function of a backend; `auto` is `loop` on a CPU and `foreach` elsewhere.

    Raises:
        ValueError: The name is unknown.
    """
    if name == "auto":
        name = "loop" if device.type == "cpu" else "foreach"
    if name not in BACKENDS:
        known = ["auto", *BACKENDS]
        raise ValueError(f"unknown backend {name!r}.{suggestion(name, known)} Known: {', '.join(known)}.")
    return BACKENDS[name]
