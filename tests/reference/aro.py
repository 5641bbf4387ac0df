"""ARO in float64, one matrix at a time (specs/zoo.md 3.21), with rows and columns normalised at once (4.20)."""

from functools import partial

import numpy as np
from contract.case import Case


def sinkhorn(x, rounds):
    """Each round divides by the roots of the rms of rows and of columns, as they are before the round."""
    for _ in range(rounds):
        row = np.sqrt(np.mean(x**2, axis=1, keepdims=True))
        col = np.sqrt(np.mean(x**2, axis=0, keepdims=True))
        x = x / (np.sqrt(row) * np.sqrt(col))
    return x


def row_norm(x):
    return x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))


def aro(theta, grads, *, lr, decay, b, normed, size=0.2):
    """The shorter side is turned, as the rows of a matrix that is laid on its side if need be."""
    average, rotation = np.zeros_like(theta), np.eye(min(theta.shape))
    for t, g in enumerate(grads, start=1):
        average = b * average + (1 - b) * g
        m = average.T if theta.shape[0] > theta.shape[1] else average
        rotation = np.linalg.qr(m @ normed(rotation.T @ m).T)[0]
        step = rotation @ normed(rotation.T @ m)
        step = size * step / np.sqrt(np.mean(step**2))
        step = step.T if theta.shape[0] > theta.shape[1] else step
        theta = theta - lr(t) * step - decay(t) * theta
    return theta, average, rotation


CASES = (
    Case(
        "aro",
        {"ema1": 0.1},
        partial(aro, b=0.9, normed=partial(sinkhorn, rounds=5)),
        lambda shape: 4 * (shape[0] * shape[1] + min(shape) ** 2),
        coupled=True,
        descent_lr=5e-2,
    ),
)
