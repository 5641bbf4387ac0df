"""SWAN in float64, one matrix at a time, with an eigendecomposition for the inverse root (specs/zoo.md 3.19)."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.muon import newton_schulz


def grad_norm(g, centers):
    g = g - g.mean(axis=1, keepdims=True) if centers else g
    return g / np.sqrt((g**2).mean(axis=1, keepdims=True))


def inverse_root_whitened(g):
    """(G G^T)^(-1/2) G, for a matrix of full row rank."""
    values, vectors = np.linalg.eigh(g @ g.T)
    return vectors @ np.diag(values**-0.5) @ vectors.T @ g


def swan(theta, grads, *, lr, decay, centers, whiten, update_rms=0.05):
    for t, g in enumerate(grads, start=1):
        u = whiten(grad_norm(g, centers))
        theta = theta * (1 - decay(t)) - lr(t) * update_rms * np.sqrt(u.size) / np.linalg.norm(u) * u
    return (theta,)


CASES = (
    Case(
        "swan",
        {
            "centers": False,
            "update_rms": 0.2,
            "coefficients": "jordan",
            "num_iterations": 5,
            "iteration_dtype": "float32",
        },
        partial(swan, centers=False, whiten=newton_schulz, update_rms=0.2),
        0,
        coupled=True,
        descent_lr=5e-2,
    ),
)
