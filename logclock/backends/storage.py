"""In which formats may a state be kept, and how is a value rounded to one?"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from logclock.rules.random import keys_of, random_bits

__all__ = ["FORMATS", "Format", "Rounding", "element_numbers", "smallest_weight", "write"]


@dataclasses.dataclass(frozen=True)
class Format:
    """How a state is stored: as a plain tensor, so that every checkpoint and host can handle it.

    Args:
        dtype: Of the tensor.
        is_stochastic: Whether values are rounded up or down at random, right on average, instead of to the nearest.
    """

    dtype: torch.dtype
    is_stochastic: bool = False


FORMATS = {
    "float32": Format(torch.float32),
    "bfloat16": Format(torch.bfloat16),
    "bfloat16_stochastic": Format(torch.bfloat16, is_stochastic=True),
    "float16": Format(torch.float16),
    "float64": Format(torch.float64),
}
"""By the name that `state_dtype` takes."""


def smallest_weight(format: Format) -> float:
    """Return the smallest weight of a new sample with which an average in this format still follows its target.

    Rounded to the nearest, a change below half a unit in the last place is lost: an average stops at a distance from
    its target of eps / (2 weight) of its own size. With weight = eps that is one half.
    """
    return 0.0 if format.is_stochastic else torch.finfo(format.dtype).eps / 2


@dataclasses.dataclass(frozen=True)
class Rounding:
    """What decides the random bits of one update: nothing but its place, so that a resumed run repeats them.

    Stages that draw do so with the same seed and the same numbers of parameters.

    Args:
        seed: Of the optimizer.
        step: The update count t.
        params: Number of each parameter in the optimizer.
        states: Names of the states that are rounded stochastically.
    """

    seed: int
    step: int
    params: tuple[int, ...]
    states: frozenset[str]

    def keys(self, param: int, state: str) -> tuple[int, int]:
        """Return the two keys of the bits for a state of the parameter at this position."""
        return keys_of(self.seed, self.step, self.params[param], *state.encode())


def write(
    target: torch.Tensor, values: torch.Tensor, keys: tuple[int, int] | None, elements: torch.Tensor | None
) -> None:
    """Copy values to a tensor of a storage format: rounded to nearest, or, with keys, stochastically to bfloat16.

    Args:
        target: Any tensor; of dtype bfloat16 if `keys` are given.
        values: The same shape.
        keys: Of `Rounding.keys`, or None.
        elements: The number of each element in the whole parameter, as `element_numbers` gives them.
    """
    if keys is None:
        target.copy_(values)
        return
    assert elements is not None
    exact = values.float().contiguous()
    bits = exact.view(torch.int32)
    rounded = (bits + (random_bits(elements, keys) & 0xFFFF)).bitwise_and_(-65536).view(torch.float32)
    target.copy_(torch.where(exact.isfinite(), rounded, exact))


def element_numbers(tensor: Any) -> torch.Tensor:
    """Return the number of each local element in the whole tensor, in the order of its dimensions.

    A shard and the tensor that it was cut from so get the same random bits.
    """
    sharding: Mapping[str, Any] = _shard_of(tensor)
    numbers = torch.zeros(sharding["local"], dtype=torch.int64, device=tensor.device)
    stride = 1
    for dim in reversed(range(len(sharding["local"]))):
        here = torch.arange(sharding["local"][dim], device=tensor.device) + sharding["offset"][dim]
        numbers += (here * stride).reshape(-1, *[1] * (len(sharding["local"]) - 1 - dim))
        stride *= sharding["whole"][dim]
    return numbers


def _shard_of(tensor: Any) -> dict[str, Any]:
    """Return the shape of the local part, where it starts, and the shape of the whole."""
    shape = tuple(tensor.shape)
    if not hasattr(tensor, "placements"):
        return {"local": shape, "offset": (0,) * len(shape), "whole": shape}
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    local, offset = compute_local_shape_and_global_offset(shape, tensor.device_mesh, tensor.placements)
    return {"local": tuple(local), "offset": tuple(offset), "whole": shape}
