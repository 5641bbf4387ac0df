"""LaProp from its paper's equations: normalise by the corrected second moment, then average, then correct."""

from functools import partial

import numpy as np
from contract.case import Case


def laprop(theta, grads, *, lr, beta1, beta2, eps, decay):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        v = beta2 * v + (1 - beta2) * g**2
        v_hat = v / (1 - beta2**t)
        m = beta1 * m + (1 - beta1) * g / (np.sqrt(v_hat) + eps)
        theta = (1 - decay(t)) * theta - lr(t) * m / (1 - beta1**t)
    return theta, m, v


CASES = (
    Case(
        "laprop",
        {"ema1": 0.1, "ema2": 0.02},
        partial(laprop, beta1=0.9, beta2=0.98, eps=1e-15),
        8,
        coupled=True,
    ),
)
