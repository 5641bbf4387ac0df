"""Adan in float64 (zoo.md 3.12), in the code's betas, with decay that is not proximal."""

from functools import partial

import numpy as np
from contract.case import Case


def adan(theta, grads, *, lr, b1, b2, b3, eps, decay):
    m, v, n, g_prev = (np.zeros_like(theta) for _ in range(4))
    for t, g in enumerate(grads, start=1):
        d = g - g_prev if t > 1 else np.zeros_like(g)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * d
        n = b3 * n + (1 - b3) * (g + b2 * d) ** 2
        u = (m / (1 - b1**t) + b2 * v / (1 - b2**t)) / (np.sqrt(n / (1 - b3**t)) + eps)
        theta = theta - decay(t) * theta - lr(t) * u
        g_prev = g
    return theta, m, v, n, g_prev


CASES = (
    Case(
        "adan",
        {"betas": (0.9, 0.8, 0.95), "eps": 1e-6},
        partial(adan, b1=0.9, b2=0.8, b3=0.95, eps=1e-6),
        16,
        coupled=True,
    ),
)
