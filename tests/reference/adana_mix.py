"""The mixture of a fast and a log-time average in float64 (issue 15 and every-batch.md, rule 3), in their notation."""

from functools import partial

import numpy as np
from contract.case import Case


def mixture(theta, grads, *, lr, beta1, beta2, kappa, delta, c, eps, decay, peak=None):
    """`peak`, if given, cools the gain: it is multiplied by s(t) = lr(t) / peak."""
    m_fast, m_long, v = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        ema = delta / (delta + t)
        m_fast = beta1 * m_fast + (1 - beta1) * g
        m_long = (1 - ema) * m_long + ema * g
        v = beta2 * v + (1 - beta2) * g**2
        alpha = min(1 / ema, c * (1 + t) ** (1 - kappa))
        if peak is not None:
            alpha *= lr(t) / peak
        u = (m_fast / (1 - beta1**t) + alpha * m_long) / (np.sqrt(v / (1 - beta2**t)) + eps)
        theta = theta - lr(t) * u - decay(t) * theta
    return theta, m_fast, v, m_long


CASES = (
    Case(
        "adana-mix",
        # 1.5 (1 + t)^0.3 is capped at (6 + t) / 6 in the first 14 of 40 updates
        {"ema1": 0.2, "ema2": 0.02, "kappa": 0.7, "delta": 6.0, "gain_factor": 1.5, "gain_cooldown": True},
        partial(mixture, beta1=0.8, beta2=0.98, kappa=0.7, delta=6.0, c=1.5, eps=1e-8, peak=1e-2),
        12,
    ),
)
