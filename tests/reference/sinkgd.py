"""SinkGD in float64, one matrix at a time (specs/zoo.md 4.20)."""

from functools import partial

import numpy as np
from contract.case import Case


def sinkhorn(u, rounds):
    m, n = u.shape
    for _ in range(rounds):
        u = np.sqrt(n) * u / np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-30)
        u = np.sqrt(m) * u / np.maximum(np.linalg.norm(u, axis=0, keepdims=True), 1e-30)
    return u


def sinkgd(theta, grads, *, lr, decay, rounds, a):
    for t, g in enumerate(grads, start=1):
        theta = theta * (1 - decay(t)) - lr(t) * a * sinkhorn(g, rounds)
    return (theta,)


CASES = (
    Case(
        "sinkgd",
        {"num_rounds": 3, "update_rms": 0.5},
        partial(sinkgd, rounds=3, a=0.5),
        0,
        coupled=True,
        valley_lr=5e-3,
    ),
)
