"""Prodigy in float64, all tensors of a run together (zoo.md 4.14): one distance d from sums over all of them.

The step has the d from before and eps the one after it, as in the authors' code.
"""

from functools import partial

import numpy as np
from contract.case import Case


def prodigy(thetas, histories, *, lr, decay, beta1, beta2, eps, d0, d_coef=1.0, growth_rate=np.inf, correct=False):
    beta3 = np.sqrt(beta2)
    starts, thetas = [theta.copy() for theta in thetas], [theta.copy() for theta in thetas]
    m, v, s = ([np.zeros_like(theta) for theta in thetas] for _ in range(3))
    parts = [0.0] * len(thetas)
    d, d_max = d0, d0
    for t in range(1, len(histories[0]) + 1):
        c = np.sqrt(1 - beta2**t) / (1 - beta1**t) if correct else 1.0
        for k, theta in enumerate(thetas):
            g = histories[k][t - 1]
            parts[k] = beta3 * parts[k] + d / d0 * d * c * lr(t) * np.sum(g * (starts[k] - theta))
            s[k] = beta3 * s[k] + d / d0 * d * c * lr(t) * g
            m[k] = beta1 * m[k] + (1 - beta1) * d * g
            v[k] = beta2 * v[k] + (1 - beta2) * (d * g) ** 2
        size = sum(np.abs(x).sum() for x in s)
        estimate = d_coef * sum(parts) / size if size > 0 else 0.0
        d_max = max(d_max, estimate)
        after = min(d_max, growth_rate * (max(d, estimate) if d == d0 else d))
        for k, theta in enumerate(thetas):
            step = m[k] / (np.sqrt(v[k]) + after * eps)
            thetas[k] = theta - lr(t) * c * d * step - decay(t) * c * d * theta
        d = after
    sizes = [np.abs(x).sum() for x in s]
    return [
        (thetas[k], starts[k], s[k], parts[k], sizes[k], d / d0, m[k], v[k], d_max / d0) for k in range(len(thetas))
    ]


CASES = (
    Case(
        "prodigy",
        {"initial_distance": 1e-2, "ema1": 0.1, "ema2": 0.01},
        partial(prodigy, beta1=0.9, beta2=0.99, eps=1e-8, d0=1e-2),
        lambda shape: 16 * int(np.prod(shape)) + 4 * 8,
        coupled=True,
        is_joint=True,
        decay_at_rest=lambda shape: 1e-2,
        descent_lr=1.0,
    ),
)
