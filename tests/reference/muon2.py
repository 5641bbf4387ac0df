"""Muon^2 in float64, one matrix at a time (specs/zoo-additions.md A7): the form of the public speed run."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.muon import newton_schulz


def muon2(theta, grads, *, lr, decay, mu, beta2, eps, nesterov=True):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = mu * m + (1 - mu) * g
        v = beta2 * v + (1 - beta2) * g**2
        u = mu * m + (1 - mu) * g if nesterov else m
        rows, cols = theta.shape
        theta = theta * (1 - decay(t)) - lr(t) * np.sqrt(max(1, rows / cols)) * newton_schulz(u / (np.sqrt(v) + eps))
    return theta, m, v


CASES = (
    Case(
        "muon2",
        {"ema1": 0.1, "ema2": 0.08, "iteration_dtype": "float32"},
        partial(muon2, mu=0.9, beta2=0.92, eps=1e-10),
        8,
        coupled=True,
    ),
)
