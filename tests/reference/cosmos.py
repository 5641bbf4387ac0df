"""COSMOS in float64, one matrix at a time, in the form of the authors' code (specs/zoo.md 3.15), M a sum."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.muon import newton_schulz


def cosmos(theta, grads, *, lr, decay, b1, b2, eps, r, gamma, lr_ratio, nesterov=True):
    m, n = theta.shape
    r = min(r, m, n)
    total, v = np.zeros_like(theta), np.zeros((m, r))
    for t, g in enumerate(grads, start=1):
        total = b1 * total + g
        if t == 1:
            u = np.linalg.svd(g)[2][:r].T
            s = (1 - b2) * (g @ u).T @ (g @ u)
        else:
            new = np.linalg.qr(b2 * u @ s + (1 - b2) * g.T @ (g @ u))[0]
            turn = u.T @ new
            s = b2 * turn.T @ s @ turn + (1 - b2) * (g @ new).T @ (g @ new)
            u = new
        v = b2 * v + (1 - b2) * (g @ u) ** 2
        c = (1 - b1**t) / (1 - b1)
        h = (g + b1 * total) / (1 + b1 * c) if nesterov else total / c
        direction = (h @ u) / (np.sqrt(v) / np.sqrt(1 - b2**t) + eps) @ u.T
        rest = h - h @ u @ u.T
        if np.linalg.norm(rest) > 1e-13 * np.linalg.norm(h):  # otherwise it is rounding
            rest = newton_schulz(rest)
            direction = direction + gamma * np.sqrt(m * n) * rest / np.linalg.norm(rest)
        theta = theta - lr(t) * lr_ratio * np.sqrt(m * n) * direction / np.linalg.norm(direction) - decay(t) * theta
    return theta, (1 - b1) * total, v, s, u


def state_bytes(shape, r=2):
    rows, cols = shape
    return 4 * (rows * cols + rows * r + cols * r + r * r)


CASES = (
    Case(
        "cosmos",
        {"ema1": 0.1, "ema2": 0.04, "rank": 2},
        partial(cosmos, b1=0.9, b2=0.96, eps=1e-8, r=2, gamma=0.2, lr_ratio=0.1),
        state_bytes,
        coupled=True,
        descent_lr=1e-1,
    ),
)
