"""AdamW as printed in its paper: bias-corrected moments, decoupled decay before the update."""

from functools import partial

import numpy as np
from contract.case import Case


def adamw(theta, grads, *, lr, beta1, beta2, eps, decay):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        theta = (1 - decay(t)) * theta
        theta = theta - lr(t) * m_hat / (np.sqrt(v_hat) + eps)
    return theta, m, v


CASES = (
    Case(
        "adamw",
        {"betas": (0.9, 0.98)},
        partial(adamw, beta1=0.9, beta2=0.98, eps=1e-8),
        8,
        coupled=True,
    ),
)
