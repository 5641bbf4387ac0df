"""Adafactor without momentum, in float64 (zoo.md 4.11): two sums for a matrix, whose product over a mean stands for v.

As torch has it: the smallest number is a bound on the mean and on the root, not an addition to g^2.
"""

from functools import partial

import numpy as np
from contract.case import Case


def rms(x):
    return np.sqrt(np.mean(x**2))


def adafactor(theta, grads, *, lr, decay, eps1, eps2, d):
    is_matrix = theta.ndim == 2
    r, c = (np.zeros(theta.shape[0]), np.zeros(theta.shape[1])) if is_matrix else (np.zeros(0), np.zeros(0))
    v = np.zeros(0) if is_matrix else np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        beta2 = 1 - t**-0.8
        if is_matrix:
            r = beta2 * r + (1 - beta2) * (g**2).mean(axis=1)
            c = beta2 * c + (1 - beta2) * (g**2).mean(axis=0)
            estimate = np.outer(r, c) / max(r.mean(), eps1)
        else:
            v = beta2 * v + (1 - beta2) * g**2
            estimate = v
        u = g / np.maximum(np.sqrt(estimate), eps1)
        u = u / max(1.0, rms(u) / d)
        step = max(eps2, rms(theta)) * min(lr(t), 1 / np.sqrt(t))
        theta = (1 - decay(t)) * theta - step * u
    return theta, r, c, v


def factored_bytes(shape):
    return 4 * (sum(shape) if len(shape) == 2 else int(np.prod(shape)))


CASES = (
    Case(
        "adafactor",
        {"eps": 1e-7, "clip": 0.5},
        partial(adafactor, eps1=1e-7, eps2=1e-3, d=0.5),
        factored_bytes,
        coupled=True,
        valley_lr=0.1,
    ),
)
