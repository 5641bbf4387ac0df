"""MARS-AdamW in float64 (zoo.md 4.10), its approximate form: the previous batch's gradient stands for its own."""

from functools import partial

import numpy as np
from contract.case import Case


def mars(theta, grads, *, lr, decay, gamma, beta1, beta2, eps):
    m, v, before = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        c = g + gamma * beta1 / (1 - beta1) * (g - before)
        size = np.sqrt((c**2).sum())
        if size > 1:
            c = c / size
        m = beta1 * m + (1 - beta1) * c
        v = beta2 * v + (1 - beta2) * c**2
        update = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
        theta = theta - lr(t) * update - decay(t) * theta
        before = g
    return theta, m, v, before


CASES = (
    Case(
        "mars",
        {"ema1": 0.05, "ema2": 0.01, "gamma": 0.05},
        partial(mars, gamma=0.05, beta1=0.95, beta2=0.99, eps=1e-8),
        12,
        coupled=True,
    ),
)
