"""AdamS in float64 (zoo-additions.md D): the square of the momentum stands in for the second moment."""

from functools import partial

import numpy as np
from contract.case import Case


def adams(theta, grads, *, lr, beta1, beta2, eps, decay):
    m = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        v = beta2 * m**2 + (1 - beta2) * g**2
        m = beta1 * m + (1 - beta1) * g
        theta = theta - decay(t) * theta - lr(t) * m / (np.sqrt(v) + eps)
    return theta, m


CASES = (
    Case(
        "adams",
        {"betas": (0.9, 0.95), "eps": 1e-6},
        partial(adams, beta1=0.9, beta2=0.95, eps=1e-6),
        4,
        coupled=True,
    ),
)
