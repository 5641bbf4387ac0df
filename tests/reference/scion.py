"""Scion in float64, one tensor at a time (specs/zoo-additions.md A10; the authors' scion.py)."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.muon import newton_schulz

EPS = 1e-8


def spectral(g, normalized=True):
    d_out, d_in = g.shape
    return np.sqrt(d_out / d_in if normalized else d_out) * newton_schulz(g)


def col_norm(g, normalized=True):
    d_out, d_in = g.shape
    rms = np.linalg.norm(g, axis=0, keepdims=True) / np.sqrt(d_out)
    return g / (rms * (d_in if normalized else 1) + EPS)


def row_norm(g, normalized=True):
    return g / (np.linalg.norm(g, axis=1, keepdims=True) * np.sqrt(g.shape[1] if normalized else 1) + EPS)


def sign(g, normalized=True):
    return np.sign(g) / (g.shape[1] if normalized else 1)


def bias(g):
    return g / (np.sqrt((g**2).mean()) + EPS)


def scion(theta, grads, *, lr, decay, alpha, radius, lmo):
    m = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = (1 - alpha) * m + alpha * g
        theta = (1 - decay(t)) * theta - lr(t) * radius * lmo(m)
    return theta, m


CASES = (
    Case(
        "scion",
        {"ema1": 0.2, "radius": 2.0, "iteration_dtype": "float32"},
        partial(scion, alpha=0.2, radius=2.0, lmo=spectral),
        4,
        coupled=True,
    ),
)
