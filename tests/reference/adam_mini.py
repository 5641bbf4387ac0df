"""Adam-mini in float64 (zoo.md 4.17): one second moment for a block, the mean of its squared gradients."""

from functools import partial

import numpy as np
from contract.case import Case


def adam_mini(theta, grads, *, lr, decay, beta1, beta2, eps, blocks=None):
    if blocks is None:
        blocks = theta.shape[0] if theta.ndim > 1 else 1
    m, v = np.zeros_like(theta), np.zeros(blocks)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        mean_squares = np.array([np.mean(block**2) for block in np.split(np.atleast_1d(g), blocks)])
        v = beta2 * v + (1 - beta2) * mean_squares
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        roots = np.repeat(np.sqrt(v_hat), max(theta.shape[0] if theta.ndim else 1, 1) // blocks)
        roots = roots.reshape((-1,) + (1,) * (theta.ndim - 1)) if theta.ndim else roots[0]
        theta = theta - lr(t) * m_hat / (roots + eps) - decay(t) * theta
    return theta, m, v


def bytes_with_rows(shape):
    return 4 * (int(np.prod(shape)) + (shape[0] if len(shape) > 1 else 1))


CASES = (
    Case(
        "adam-mini",
        {"ema1": 0.1, "ema2": 0.05},
        partial(adam_mini, beta1=0.9, beta2=0.95, eps=1e-8),
        bytes_with_rows,
        coupled=True,
    ),
)
