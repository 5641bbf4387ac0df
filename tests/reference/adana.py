"""ADANA and Dana-MK4, transcribed from specs/adana.md 1.2 and 1.3 in the authors' notation."""

import numpy as np
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
