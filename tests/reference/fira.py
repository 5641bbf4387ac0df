"""Fira in float64, one matrix at a time (zoo.md 3.17), with the smaller side projected as in GaLore."""

from functools import partial

import numpy as np
from contract.case import Case


def leading_vectors(g, rank, before):
    """Left singular vectors of the smaller side, each with the sign that keeps the direction it had."""
    vectors = np.linalg.svd(g)[0][:, :rank]
    for j in range(vectors.shape[1]):
        largest = vectors[np.abs(vectors[:, j]).argmax(), j]
        along = largest if before is None else vectors[:, j] @ before[:, j]
        vectors[:, j] *= -1 if along < 0 else 1
    return vectors


def fira(theta, grads, *, lr, decay, beta1, beta2, eps, rank, interval, alpha, gamma):
    is_tall = theta.shape[0] >= theta.shape[1]  # a square matrix too
    w = theta.T if is_tall else theta  # now the smaller side is the rows
    p = previous = None
    m = v = 0.0
    for t, gradient in enumerate(grads, start=1):
        g = gradient.T if is_tall else gradient
        if (t - 1) % interval == 0:
            p = leading_vectors(g, rank, p)
        r = p.T @ g
        m = beta1 * m + (1 - beta1) * r
        v = beta2 * v + (1 - beta2) * r**2
        psi = m / (np.sqrt(v) + eps)
        phi = np.linalg.norm(psi, axis=0) / (np.linalg.norm(r, axis=0) + 1e-8)
        s = phi * (g - alpha * p @ r)
        length = np.sqrt((s**2).sum())
        if previous is not None:
            limiter = max(length / (previous + 1e-8), gamma) / gamma
            s, length = s / limiter, length / limiter
        previous = length
        step = lr(t) * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        w = (w - step * (alpha * p @ psi + s)) * (1 - decay(t))
    return w.T if is_tall else w, m.T, v.T, p, previous


def state_bytes(shape, rank=2):
    return 4 * rank * (2 * max(shape) + min(shape)) + 8


CASES = (
    Case(
        "fira",
        {"ema1": 0.1, "ema2": 0.04, "rank": 2, "refresh_interval": 7},
        partial(fira, beta1=0.9, beta2=0.96, eps=1e-6, rank=2, interval=7, alpha=0.25, gamma=1.01),
        state_bytes,
        coupled=True,
        drifts=("basis",),
    ),
)
