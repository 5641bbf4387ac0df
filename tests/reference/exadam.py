"""EXAdam in float64 (zoo.md 3.1): Adam whose two averages correct each other, and a term of the newest gradient."""

from functools import partial

import numpy as np
from contract.case import Case


def exadam(theta, grads, *, lr, beta1, beta2, eps, decay):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        d1 = 1 + v / (v + eps) * beta2**t
        d2 = 1 + m**2 / (m**2 + eps) * beta1**t
        m_tilde = m / (1 - beta1**t) * d1
        v_tilde = v / (1 - beta2**t) * d2
        g_tilde = g / (1 - beta1**t) * d1
        theta = theta - decay(t) * theta - lr(t) * (m_tilde + g_tilde) / (np.sqrt(v_tilde) + eps)
    return theta, m, v


CASES = (
    Case(
        "exadam",
        {"betas": (0.9, 0.99), "eps": 1e-6},
        partial(exadam, beta1=0.9, beta2=0.99, eps=1e-6),
        8,
        coupled=True,
    ),
)
