"""diffGrad in float64 (zoo.md 3.18), the second published version: the previous gradient is a copy, zero at first."""

from functools import partial

import numpy as np
from contract.case import Case


def diffgrad(theta, grads, *, lr, beta1, beta2, eps, decay):
    m, v, g_prev = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        xi = 1 / (1 + np.exp(-np.abs(g_prev - g)))
        step = np.sqrt(1 - beta2**t) / (1 - beta1**t)
        theta = theta - lr(t) * step * xi * m / (np.sqrt(v) + eps) - decay(t) * theta
        g_prev = g
    return theta, m, v, g_prev


CASES = (
    Case(
        "diffgrad",
        {"betas": (0.9, 0.99), "eps": 1e-6},
        partial(diffgrad, beta1=0.9, beta2=0.99, eps=1e-6),
        12,
        coupled=True,
    ),
)
