"""Lion as printed in its paper (zoo.md 3.11): interpolate, take the sign, then update the momentum."""

from functools import partial

import numpy as np
from contract.case import Case


def lion(theta, grads, *, lr, beta1, beta2, decay):
    m = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        c = beta1 * m + (1 - beta1) * g
        theta = theta - lr(t) * np.sign(c) - decay(t) * theta
        m = beta2 * m + (1 - beta2) * g
    return theta, m


CASES = (
    Case(
        "lion",
        {"ema1": 0.05, "ema2": 0.02},
        partial(lion, beta1=0.95, beta2=0.98),
        4,
        coupled=True,
        jumps=True,
    ),
)
