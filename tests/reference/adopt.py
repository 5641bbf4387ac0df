"""ADOPT in float64 (zoo.md 4.13): the second moment normalizes the gradient that comes after it; v first, no step."""

from functools import partial

import numpy as np
from contract.case import Case


def adopt(theta, grads, *, lr, decay, beta1, beta2, eps):
    m = np.zeros_like(theta)
    v = grads[0] ** 2
    for t, g in enumerate(grads[1:], start=2):
        earlier = t - 1
        theta = (1 - decay(t)) * theta
        c = np.clip(g / np.maximum(np.sqrt(v), eps), -(earlier**0.25), earlier**0.25)
        m = beta1 * m + (1 - beta1) * c
        theta = theta - lr(t) * m
        v = beta2 * v + (1 - beta2) * g**2
    return theta, m, v


CASES = (
    Case(
        "adopt",
        {"ema1": 0.1, "ema2": 0.01, "eps": 1e-6},
        partial(adopt, beta1=0.9, beta2=0.99, eps=1e-6),
        8,
        coupled=True,
    ),
)
