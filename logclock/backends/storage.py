"""In which formats may a state be kept, and how is a value rounded to one?"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["FORMATS", "Format", "Rounding", "element_numbers", "random_bits", "smallest_weight", "write"]


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
        number = _mixed(self.seed, self.step, self.params[param], *state.encode())
        return number & 0xFFFFFFFF, number >> 32


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
    rounded = (bits + random_bits(elements, keys)).bitwise_and_(-65536).view(torch.float32)
    target.copy_(torch.where(exact.isfinite(), rounded, exact))


def random_bits(elements: torch.Tensor, keys: tuple[int, int]) -> torch.Tensor:
    """Return 16 random bits for each element, as int32 in [0, 65535]: a function of element number and keys alone.

    Two rounds of a 32-bit integer hash with a key before each; the arithmetic wraps around, the shifts are logical.
    """
    low, high = (elements & 0xFFFFFFFF), elements >> 32
    x = _signed(low) ^ _as_int32(keys[0])
    x = _hashed(x) ^ _as_int32(keys[1]) ^ _signed(high)
    return _hashed(x) & 0xFFFF


def _hashed(x: torch.Tensor) -> torch.Tensor:
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * 0x7FEB352D
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * _as_int32(0x846CA68B)
    return x ^ ((x >> 16) & 0xFFFF)


def _signed(x: torch.Tensor) -> torch.Tensor:
    """Return the low 32 bits of int64 numbers as int32."""
    return torch.where(x >= 2**31, x - 2**32, x).to(torch.int32)


def _as_int32(x: int) -> int:
    return x - 2**32 if x >= 2**31 else x


def _mixed(*numbers: int) -> int:
    """Return 64 bits that depend on all numbers (splitmix64 over the sequence)."""
    mask = 2**64 - 1
    state = 0
    for number in numbers:
        state = (state + (number & mask) + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state


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
