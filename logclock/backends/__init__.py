"""Backends: engines that run any rule, `run(rule, params, grads, states, scalars)`, in place."""

import warnings
from collections.abc import Callable

import torch

from logclock.backends import foreach, fused, loop
from logclock.backends.parts import Turns, finish_together
from logclock.config.registry import suggestion
from logclock.rules import Rule

__all__ = ["BACKENDS", "current_name", "finish_together", "get", "get_start", "name_for"]

Run = Callable[..., None]

BACKENDS: dict[str, Run] = {"loop": loop.run, "foreach": foreach.run, "fused": fused.run}

STARTS: dict[str, Callable[..., Turns]] = {"loop": loop.start, "foreach": foreach.start, "fused": fused.start}


def get(name: str, device: torch.device, rule: Rule) -> Run:
    """Return the `run` function of a backend.

    Raises:
        ValueError: The name is unknown.
        RuntimeError: The backend cannot run here; the message says why.
    """
    return BACKENDS[_checked_name(name, device, rule)]


def get_start(name: str, device: torch.device, rule: Rule) -> Callable[..., Turns]:
    """Return the `start` function of a backend, for updates that `finish_together` ends side by side.

    Raises:
        ValueError: The name is unknown.
        RuntimeError: The backend cannot run here; the message says why.
    """
    return STARTS[_checked_name(name, device, rule)]


def _checked_name(name: str, device: torch.device, rule: Rule) -> str:
    chosen = name_for(name, device, rule)
    reason = fused.unavailable_reason(device) if chosen == "fused" else None
    if reason is not None:
        raise RuntimeError(reason)
    return chosen


def name_for(name: str, device: torch.device, rule: Rule) -> str:
    """Return the backend that a name stands for: `auto` is `loop` for an elementwise rule on a CPU, else `foreach`.

    Both give the same bits on every machine of a kind, which `fused` does not promise.
    """
    name = current_name(name)
    if name == "auto":
        return "loop" if device.type == "cpu" and rule.is_elementwise else "foreach"
    return name


def current_name(name: str) -> str:
    """Return a backend's name, today's for `compiled`.

    Raises:
        ValueError: No backend has the name.
    """
    if name == "compiled":
        warnings.warn("backend 'compiled' was replaced by 'fused', which runs now. Write 'fused'.", FutureWarning, 3)
        return "fused"
    known = ["auto", *BACKENDS]
    if name not in known:
        raise ValueError(f"unknown backend {name!r}.{suggestion(str(name), known)} Known: {', '.join(known)}.")
    return name
