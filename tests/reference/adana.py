"""ADANA and Dana-MK4, transcribed from specs/adana.md 1.2 and 1.3 in the authors' notation."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.schedules import newest_weight


def adana(theta, grads, *, lr, kappa, delta, plus_one, eps, decay, momentum_weight=None):
    """Paper form with plus_one = 0, released code with 1. Decay acts together with the update.

    `momentum_weight(t)` is the weight of the newest gradient in m, if it is another than in v.
    """
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        d = newest_weight(t, delta)
        e = d if momentum_weight is None else momentum_weight(t)
        m = (1 - e) * m + e * g
        v = (1 - d) * v + d * g**2
        r = 1 / (np.sqrt(v) + eps)
        alpha = plus_one + (1 + t) ** (1 - kappa)
        theta = theta - lr(t) * (g + alpha * m) * r - decay(t) * theta
    return theta, m, v


def dana_mk4(theta, grads, *, lr, kappa, delta, clip, eps, decay):
    """Released code: signal-to-noise clip on the amplified part, decay after the update."""
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        d = newest_weight(t, delta)
        m = (1 - d) * m + d * g
        v = (1 - d) * v + d * g**2
        r = 1 / (np.sqrt(v) + eps)
        q = np.abs(m) * r
        a = np.minimum((1 + t) ** (1 - kappa) * q, clip)
        u = -lr(t) * (g * r + (np.sign(m) * a + m * r))
        theta = theta + u
        theta = theta * (1 - decay(t))
    return theta, m, v


CASES = (
    Case(
        "adana",
        {"kappa": 0.8, "delta": 6.0},
        partial(adana, kappa=0.8, delta=6.0, plus_one=0, eps=1e-8),
        8,
    ),
    Case(
        "dana-mk4",
        {"kappa": 0.75, "clip_snr": 0.5},
        partial(dana_mk4, kappa=0.75, delta=8.0, clip=0.5, eps=1e-8),
        8,
    ),
)
