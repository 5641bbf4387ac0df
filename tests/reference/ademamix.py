"""AdEMAMix as printed in its paper (zoo.md 4.3), with both warm-ups of length warmup, in the authors' notation."""

from functools import partial

import numpy as np
from contract.case import Case

from logclock.schedules import HalfLifeRamp, LinearRamp


def ademamix(theta, grads, *, lr, beta1, beta2, beta3, alpha, warmup, eps, decay):
    m1, m2, v = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        x = min(t / warmup, 1.0)
        alpha_t = x * alpha
        beta3_t = np.exp(np.log(beta1) * np.log(beta3) / ((1 - x) * np.log(beta3) + x * np.log(beta1)))
        m1 = beta1 * m1 + (1 - beta1) * g
        m2 = beta3_t * m2 + (1 - beta3_t) * g
        v = beta2 * v + (1 - beta2) * g**2
        m1_hat = m1 / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        theta = (1 - decay(t)) * theta - lr(t) * (m1_hat + alpha_t * m2) / (np.sqrt(v_hat) + eps)
    return theta, m1, v, m2


CASES = (
    Case(
        "ademamix",
        {
            "ema2": 0.02,
            "ema_slow": HalfLifeRamp(start=0.1, end=0.01, steps=30),
            "gain": LinearRamp(start=0.0, end=3.0, steps=30),
        },
        partial(ademamix, beta1=0.9, beta2=0.98, beta3=0.99, alpha=3.0, warmup=30, eps=1e-8),
        12,
        coupled=True,
    ),
)
