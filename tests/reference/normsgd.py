"""Normalised SGD with momentum in float64 (specs/adaptive-warmup.md 3.5, momentum from zero)."""

import numpy as np


def normsgd(theta, grads, *, lr, decay, mu, nesterov, eps):
    buffer = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        buffer = mu * buffer + g
        direction = g + mu * buffer if nesterov else buffer
        length = np.sqrt((direction**2).sum())
        theta = (1 - decay(t)) * theta - lr(t) * direction / (length + eps)
    return theta, buffer
