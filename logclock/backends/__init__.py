"""Backends: engines that run any rule, `run(rule, params, grads, states, scalars)`, in place."""

from collections.abc import Callable

import torch

from logclock.backends import compiled, foreach, loop, stacked
from logclock.config.registry import suggestion
from logclock.rules import Rule

__all__ = ["BACKENDS", "WHOLE_TENSOR_BACKENDS", "get"]

Run = Callable[..., None]

BACKENDS: dict[str, Run] = {"loop": loop.run, "foreach": foreach.run, "compiled": compiled.run}
"""For elementwise rules."""

WHOLE_TENSOR_BACKENDS: dict[str, Run] = {"loop": stacked.run_one_by_one, "foreach": stacked.run_stacked}
"""For rules on whole tensors: one by one, or those of equal shape together."""


def get(name: str, device: torch.device, rule: Rule) -> Run:
    """Return the `run` function of a backend for a rule.

    `auto` is `loop` for an elementwise rule on a CPU and `foreach` otherwise.

    Raises:
        ValueError: The name is unknown, or the backend cannot run such a rule.
    """
    if name == "auto":
        name = "loop" if device.type == "cpu" and rule.is_elementwise else "foreach"
    if name not in BACKENDS:
        known = ["auto", *BACKENDS]
        raise ValueError(f"unknown backend {name!r}.{suggestion(name, known)} Known: {', '.join(known)}.")
    if not rule.is_elementwise and name not in WHOLE_TENSOR_BACKENDS:
        raise ValueError(
            f"backend {name!r} runs elementwise rules only; {rule.name!r} works on whole tensors. "
            "Use backend='foreach', which updates those of equal shape together."
        )
    return (BACKENDS if rule.is_elementwise else WHOLE_TENSOR_BACKENDS)[name]
