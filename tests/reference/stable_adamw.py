"""StableAdamW in float64 (zoo-additions.md D): a learning rate per tensor, shortened by Adafactor's clip."""

from functools import partial

import numpy as np
from contract.case import Case


def stable_adamw(theta, grads, *, lr, beta1, beta2, eps, decay):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        b1 = (beta1**t - beta1) / (beta1**t - 1)
        b2 = (beta2**t - beta2) / (beta2**t - 1)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        rms = np.sqrt(np.mean(g**2 / np.maximum(v, eps**2)))
        share = 1 / max(1.0, rms)
        theta = theta - share * decay(t) * theta - share * lr(t) * m / (np.sqrt(v) + eps)
    # the averages above are corrected as they are made; Adam keeps them uncorrected
    return theta, m * (1 - beta1**t), v * (1 - beta2**t)


CASES = (
    Case(
        "stable-adamw",
        {"betas": (0.9, 0.98), "eps": 1e-6},
        partial(stable_adamw, beta1=0.9, beta2=0.98, eps=1e-6),
        8,
        coupled=True,
    ),
)
