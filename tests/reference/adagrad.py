"""AdaGrad in float64 (Duchi et al. 2011, with diagonal matrices)."""

from functools import partial

import numpy as np
from contract.case import Case


def adagrad(theta, grads, *, lr, decay, initial, eps):
    s = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        s = s + g**2
        theta = theta - lr(t) * g / (np.sqrt(s + initial) + eps) - decay(t) * theta
    return theta, s


CASES = (
    Case(
        "adagrad",
        {"initial": 0.1},
        partial(adagrad, initial=0.1, eps=1e-10),
        4,
        coupled=True,
        only_falls=True,
        descent_lr=0.5,
    ),
)
