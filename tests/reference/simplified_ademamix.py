"""Simplified AdEMAMix in float64 (zoo-additions.md D): the momentum is a sum, the gradient has a weight of its own."""

from functools import partial

import numpy as np
from contract.case import Case


def simplified_ademamix(theta, grads, *, lr, beta1, beta2, alpha, eps, decay):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + g
        v = beta2 * v + (1 - beta2) * g**2
        theta = theta - lr(t) * (m + alpha * g) / (np.sqrt(v / (1 - beta2**t)) + eps) - decay(t) * theta
    return theta, m, v


CASES = (
    Case(
        "simplified-ademamix",
        {"betas": (0.95, 0.99), "grad_weight": 3.0, "eps": 1e-6},
        partial(simplified_ademamix, beta1=0.95, beta2=0.99, alpha=3.0, eps=1e-6),
        8,
        coupled=True,
        descent_lr=2e-3,  # a sum of 20 gradients
    ),
)
