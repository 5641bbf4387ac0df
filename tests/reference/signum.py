"""Signum from zoo.md 4.4: the sign of the momentum, or of Nesterov's (1 - mu) g + mu m."""

from functools import partial

import numpy as np
from contract.case import Case


def signum(theta, grads, *, lr, mu, nesterov, decay):
    m = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = mu * m + (1 - mu) * g
        direction = (1 - mu) * g + mu * m if nesterov else m
        theta = (1 - decay(t)) * theta - lr(t) * np.sign(direction)
    return theta, m


CASES = (
    Case(
        "signum",
        {"ema1": 0.05, "nesterov": True},
        partial(signum, mu=0.95, nesterov=True),
        4,
        coupled=True,
        jumps=True,
    ),
)
