"""AdaBelief in float64 (zoo.md 3.10), without the rectification of the authors' package."""

from functools import partial

import numpy as np
from contract.case import Case


def adabelief(theta, grads, *, lr, beta1, beta2, eps, decay):
    m, s = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * (g - m) ** 2 + eps
        m_hat, s_hat = m / (1 - beta1**t), s / (1 - beta2**t)
        theta = theta - lr(t) * m_hat / (np.sqrt(s_hat) + eps) - decay(t) * theta
    return theta, m, s


CASES = (
    Case(
        "adabelief",
        {"betas": (0.9, 0.99), "eps": 1e-8},
        partial(adabelief, beta1=0.9, beta2=0.99, eps=1e-8),
        8,
        coupled=True,
        drifts=("exp_avg_var",),
    ),
)
