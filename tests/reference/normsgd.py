"""Normalised SGD with momentum in float64 (specs/adaptive-warmup.md 3.5, momentum from zero)."""

from functools import partial

import numpy as np
from contract.case import Case


def normsgd(theta, grads, *, lr, decay, mu, nesterov, eps):
    buffer = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        buffer = mu * buffer + g
        direction = g + mu * buffer if nesterov else buffer
        length = np.sqrt((direction**2).sum())
        theta = (1 - decay(t)) * theta - lr(t) * direction / (length + eps)
    return theta, buffer


CASES = (
    Case(
        "normsgd",
        {"momentum": 0.9},
        partial(normsgd, mu=0.9, nesterov=True, eps=1e-8),
        4,
        coupled=True,
    ),
)
