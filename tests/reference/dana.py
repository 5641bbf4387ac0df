"""DANA in the general form of specs/dana-plrf.md 2.1, with the DANA-decaying coefficients."""

from functools import partial

import numpy as np
from contract.case import Case


def dana(theta, grads, *, lr, kappa, delta, c3, decay):
    """gamma1 = 1, gamma2 = lr, gamma3 = c3 lr t^-kappa, the new y in the step; t = 1 at the first update."""
    y = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        forget = delta / (delta + t)
        y = (1 - forget) * y + g
        theta = (1 - decay(t)) * theta - lr(t) * g - c3 * lr(t) * t**-kappa * y
    return theta, y


CASES = (
    Case(
        "dana",
        {"kappa": 0.6, "delta": 4.0, "c3": 0.75},
        partial(dana, kappa=0.6, delta=4.0, c3=0.75),
        4,
        coupled=True,
        descent_lr=1e-3,
    ),
)
