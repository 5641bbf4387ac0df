"""Backends: engines that run any rule, `run(rule, params, grads, states, scalars)`, in place."""

import functools
import warnings
from collections.abc import Callable

import torch

from logclock.backends import foreach, fused, loop
from logclock.backends.parts import Turns, finish_together
from logclock.config.registry import suggestion
from logclock.rules import Rule

__all__ = ["BACKENDS", "SlowBackendWarning", "current_name", "finish_together", "get", "get_start", "name_for"]


Run = Callable[..., None]

BACKENDS: dict[str, Run] = {"loop": loop.run, "foreach": foreach.run, "fused": fused.run}

STARTS: dict[str, Callable[..., Turns]] = {"loop": loop.start, "foreach": foreach.start, "fused": fused.start}


class SlowBackendWarning(UserWarning):
    """Backend `auto` is not the fastest one that this machine could have."""


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
    """Return the backend that a name stands for: `auto` is the fastest one that can run.

    On a CPU that is `fused`, which leaves stages on matrices to torch. Where nothing can be compiled, it is `loop` for
    an elementwise rule, which is said once, and `foreach` for others; on other devices it is `foreach`.
    """
    name = current_name(name)
    if name != "auto":
        return name
    if device.type != "cpu":
        return "foreach"
    reason = fused.unavailable_reason(device)
    if reason is None:
        return "fused"
    if not rule.is_elementwise:
        return "foreach"
    _say_once(reason)
    return "loop"


@functools.cache
def _say_once(reason: str) -> None:
    warnings.warn(f"updates run on backend 'loop', several times slower: {reason}", SlowBackendWarning, stacklevel=2)


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
