"""InvAdam and DualAdam in float64 (zoo.md 3.20)."""

from functools import partial

import numpy as np
from contract.case import Case


def inv_adam(theta, grads, *, lr, beta1, beta2, eps, decay):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, den = m / (1 - beta1**t), np.sqrt(v / (1 - beta2**t)) + eps
        theta = theta - lr(t) * m_hat * den - decay(t) * theta
    return theta, m, v


def dual_adam(theta, grads, *, lr, beta1, beta2, eps, xi, decay):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, den = m / (1 - beta1**t), np.sqrt(v / (1 - beta2**t)) + eps
        a = max(0.0, 1 - xi * t)
        update = (1 - a) * m_hat / den + a * m_hat * den if a >= xi else m_hat / den
        theta = theta - lr(t) * update - decay(t) * theta
    return theta, m, v


CASES = (
    Case(
        "invadam",
        {"betas": (0.9, 0.99), "eps": 1e-6},
        partial(inv_adam, beta1=0.9, beta2=0.99, eps=1e-6),
        8,
        coupled=True,
        runs_away=True,
        descent_lr=2e-3,
    ),
    Case(
        "dualadam",
        {"betas": (0.9, 0.99), "eps": 1e-6, "switch_rate": 0.06},  # the last inverse part, 0.04, is below the rate
        partial(dual_adam, beta1=0.9, beta2=0.99, eps=1e-6, xi=0.06),
        8,
        coupled=True,
        runs_away=True,
        descent_lr=5e-3,
    ),
)
