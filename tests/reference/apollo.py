"""APOLLO and APOLLO-Mini in float64, one matrix at a time, with P on the shorter side as in the paper (zoo.md 3.5)."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.draws import normal


def apollo(theta, grads, *, lr, decay, position, beta1, beta2, eps, rank, interval, alpha, gamma, per):
    m_rows, n_cols = theta.shape
    projects_rows = m_rows < n_cols  # of a square matrix the rows are the longer side
    r = min(rank, *theta.shape)
    m = v = 0.0
    previous = None
    for t, g in enumerate(grads, start=1):
        p = normal("projection", (t - 1) // interval, (min(theta.shape), r), position=position) / np.sqrt(r)
        low = p.T @ g if projects_rows else g @ p
        m = beta1 * m + (1 - beta1) * low
        v = beta2 * v + (1 - beta2) * low**2
        psi = m / (np.sqrt(v) + eps)
        if per == "channel":
            axis = 0 if projects_rows else 1
            s = np.sqrt((psi**2).sum(axis, keepdims=True)) / (np.sqrt((low**2).sum(axis, keepdims=True)) + 1e-8)
        else:
            s = np.sqrt((psi**2).sum()) / (np.sqrt((low**2).sum()) + 1e-8)
        u = s * g
        length = np.sqrt((u**2).sum())
        if previous is not None:
            limiter = max(length / (previous + 1e-8), gamma) / gamma
            u, length = u / limiter, length / limiter
        previous = length
        step = lr(t) * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        theta = (theta - step * np.sqrt(alpha) * u) * (1 - decay(t))
    return theta, m.T if projects_rows else m, v.T if projects_rows else v, previous


def state_bytes(shape, rank):
    """2 r max(m, n) numbers in float32 and the norm, which is one in float64."""
    return 4 * 2 * min(rank, *shape) * max(shape) + 8


CASES = (
    Case(
        "apollo",
        {"ema1": 0.1, "ema2": 0.04, "rank": 2, "refresh_interval": 11, "growth_limit": 1.2, "scale": 2.0},
        partial(apollo, beta1=0.9, beta2=0.96, eps=1e-6, rank=2, interval=11, alpha=2.0, gamma=1.2, per="channel"),
        partial(state_bytes, rank=2),
        coupled=True,
    ),
    Case(
        "apollo-mini",
        {"ema1": 0.1, "ema2": 0.04, "refresh_interval": 11, "growth_limit": 1.2},
        partial(apollo, beta1=0.9, beta2=0.96, eps=1e-6, rank=1, interval=11, alpha=128.0, gamma=1.2, per="tensor"),
        partial(state_bytes, rank=1),
        coupled=True,
    ),
)
