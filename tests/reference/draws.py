"""The random numbers of docs/design/0014 in numpy: splitmix64 over the place, a 32-bit hash, Box and Muller."""

import numpy as np

MASK = 2**64 - 1


def key_of(*numbers):
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def lowbias(x):
    """The finalizer of 32-bit hashes with the multipliers 0x7feb352d and 0x846ca68b, in wrapping arithmetic."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def normal(name, count, shape, *, position, seed=0):
    """Draw `count` of what is called `name`, for the parameter at a position, standard normal."""
    key = key_of(seed, count, position, *name.encode())
    numel = int(np.prod(shape))
    numbers = np.arange(numel + numel % 2, dtype=np.uint32)
    bits = lowbias(lowbias(numbers ^ np.uint32(key & 0xFFFFFFFF)) ^ np.uint32(key >> 32))
    uniform = (bits.astype(np.float64) + 0.5) / 2**32
    radius, angle = np.sqrt(-2 * np.log(uniform[0::2])), 2 * np.pi * uniform[1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1)[:numel].reshape(shape)
