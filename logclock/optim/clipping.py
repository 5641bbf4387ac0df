"""How is the norm of the whole gradient bounded within an update, without a pass over the gradients of its own?"""

import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Any

import torch

from logclock.backends.operands import is_sharded
from logclock.rules import Rule
from logclock.rules.rule import Step
from logclock.rules.stage import elementwise

__all__ = ["CLIP_SCALE", "check_clip_norm", "clip_scale", "clipped", "total_norm"]

CLIP_SCALE = "clip_scale"
"""Name of the scalar by which a clipped rule multiplies gradients."""


@elementwise
def scaled_down(grad: Any, *, clip_scale):  # type: ignore[no-untyped-def]
    """Return the gradient that the direction sees: clip_scale g."""
    return clip_scale * grad


@functools.lru_cache(maxsize=256)
def clipped(rule: Rule) -> Rule:
    """Return the rule on gradients that are multiplied by the scalar `clip_scale` first."""
    return dataclasses.replace(rule, steps=(Step(scaled_down, "grad"), *rule.steps))


def total_norm(grads: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the 2-norm of all gradients together, over all ranks, as `torch.nn.utils.clip_grad_norm_` measures it."""
    found: Any = torch.nn.utils.get_total_norm(list(grads))
    norm: torch.Tensor = found.full_tensor() if is_sharded(found) else found
    return norm


def clip_scale(norm: torch.Tensor, bound: float) -> torch.Tensor:
    """Return min(1, bound / (norm + 1e-6)), torch's factor; NaN for a norm that is NaN."""
    return torch.clamp(bound / (norm + 1e-6), max=1.0)


def check_clip_norm(bound: float | None) -> None:
    """Raise for what cannot bound a norm."""
    if bound is None:
        return
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        raise TypeError(f"clip_norm must be a number or None, got {bound!r}.")
    if not 0 < bound < math.inf:
        raise ValueError(f"clip_norm must be > 0 and finite, got {bound!r}. None leaves gradients as they are.")
