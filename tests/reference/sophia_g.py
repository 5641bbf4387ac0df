"""Sophia-G in float64 (zoo.md 4.9): sign(m) min(abs(m) / (rho B h + 1e-15), 1), h from gradients of sampled labels.

`estimates` holds such gradients by the update before which they were given; the authors have B in the step.
"""

from functools import partial

import numpy as np
from contract.case import Case


def sophia_g(theta, grads, *, lr, decay, beta1, beta2, rho, tokens=1.0, estimates=None):
    m, h = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        if estimates and t in estimates:
            h = beta2 * h + (1 - beta2) * estimates[t] ** 2
        m = beta1 * m + (1 - beta1) * g
        theta = (1 - decay(t)) * theta
        theta = theta - lr(t) * np.sign(m) * np.minimum(np.abs(m) / (rho * tokens * h + 1e-15), 1)
    return theta, m, tokens * h, len(estimates or {})


CASES = (
    Case(
        "sophia-g",
        {"ema1": 0.05, "ema2": 0.02, "rho": 0.1, "estimate_interval": 10_000},
        partial(sophia_g, beta1=0.95, beta2=0.98, rho=0.1),
        lambda shape: 8 * int(np.prod(shape)) + 8,
        coupled=True,
        jumps=True,
        descent_lr=5e-3,
    ),
)
