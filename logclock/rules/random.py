"""Where do random numbers come from? From their place: each is a function of seed, count, parameter and element.

No generator is advanced, so a resumed run, a copy, a stack and a shard draw what the plain run draws.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence

import torch

__all__ = ["Draws", "keys_of", "random_bits"]

Keys = tuple[int, int]
"""Two 32-bit keys of a sequence of random bits."""


def keys_of(*numbers: int) -> Keys:
    """Return keys that depend on all numbers (splitmix64 over the sequence)."""
    mask = 2**64 - 1
    state = 0
    for number in numbers:
        state = (state + (number & mask) + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state & 0xFFFFFFFF, state >> 32


def random_bits(elements: torch.Tensor, keys: Keys) -> torch.Tensor:
    """Return 32 random bits for each element number, as int32: a function of element number and keys alone.

    Two rounds of a 32-bit integer hash with a key before each; the arithmetic wraps around, the shifts are logical.
    """
    low, high = (elements & 0xFFFFFFFF), elements >> 32
    x = _signed(low) ^ _as_int32(keys[0])
    x = _hashed(x) ^ _as_int32(keys[1]) ^ _signed(high)
    return _hashed(x)


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


@dataclasses.dataclass(frozen=True)
class Draws:
    """What a matrix stage draws from, for the parameters of one stack.

    Args:
        seed: Of the optimizer.
        params: Number of each parameter in the optimizer.
    """

    seed: int = 0
    params: tuple[int, ...] = (0,)

    def normal(
        self, name: str, count: int, shape: Sequence[int], like: torch.Tensor, *, is_kept: bool = False
    ) -> torch.Tensor:
        """Return standard normal numbers, `(n, *shape)`, with the dtype and on the device of `like`.

        Each parameter's are made by themselves and in float64, so that neither a stack nor a device changes a bit of
        them but through its logarithm and cosine.

        Args:
            name: Of what is drawn; two names of one stage are independent.
            count: Number of the draw: the update, or how many were drawn before.
            shape: Of one parameter's draw.
            like: Any tensor.
            is_kept: Whether the same numbers are wanted again in the next updates; a CPU then has them at hand.
        """
        keys = [keys_of(self.seed, count, param, *name.encode()) for param in self.params]
        make = _kept_normal if is_kept and like.device.type == "cpu" else _normal
        return torch.stack([make(own, math.prod(shape), like.device, like.dtype) for own in keys]).reshape(
            len(keys), *shape
        )


def _normal(keys: Keys, count: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return normal numbers in pairs, by the transformation of Box and Muller."""
    exact = torch.float32 if device.type == "mps" else torch.float64
    elements = torch.arange(count + count % 2, device=device)
    uniform = ((random_bits(elements, keys).to(torch.int64) & 0xFFFFFFFF).to(exact) + 0.5) / 2**32
    radius, angle = (-2 * uniform[::2].log()).sqrt(), 2 * math.pi * uniform[1::2]
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten()[:count].to(dtype)


KEPT_BYTES = 64 * 2**20
"""Of the draws at hand; the ones that were not asked for longest go first."""

_kept: "collections.OrderedDict[tuple[Keys, int, torch.dtype], torch.Tensor]" = collections.OrderedDict()


def _kept_normal(keys: Keys, count: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return what `_normal` does, from the draws at hand if it is there."""
    place = keys, count, dtype
    found = _kept.pop(place, None)
    if found is None:
        found = _normal(keys, count, device, dtype)
        while _kept and sum(other.nbytes for other in _kept.values()) + found.nbytes > KEPT_BYTES:
            _kept.popitem(last=False)
    if found.nbytes <= KEPT_BYTES:
        _kept[place] = found
    return found
