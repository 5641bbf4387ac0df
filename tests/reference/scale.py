"""SCALE in float64 (specs/zoo.md 3.8): the authors' root mean square form, in torch's orientation (out, in)."""

from functools import partial

import numpy as np
from contract.case import Case


def scale(theta, grads, *, lr, decay, beta=0.0, along=1):
    m = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = beta * m + (1 - beta) * g
        size = np.maximum(np.sqrt((m**2).mean(axis=along, keepdims=True)), 1e-8)
        theta = theta * (1 - decay(t)) - lr(t) * m / size
    return (theta, m) if beta else (theta,)


CASES = (Case("scale", {}, partial(scale), 0, coupled=True),)
