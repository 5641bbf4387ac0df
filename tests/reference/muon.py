"""Muon in float64, one matrix at a time (specs/zoo.md 4.5, 4.6)."""

from functools import partial

import numpy as np
from contract.case import Case

JORDAN = ((3.4445, -4.7750, 2.0315),) * 5


def newton_schulz(matrix, triples=JORDAN):
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (np.sqrt((x**2).sum()) + 1e-7)
    for a, b, c in triples:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def polar_factor(matrix):
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def muon(theta, grads, *, lr, decay, mu, nesterov, scale_rule, blocks=1):
    buffer = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        buffer = mu * buffer + (1 - mu) * g
        direction = mu * buffer + (1 - mu) * g if nesterov else buffer
        update = np.concatenate([newton_schulz(part) for part in np.split(direction, blocks)])
        rows, cols = theta.shape[0] // blocks, theta.shape[1]
        scale = 0.2 * np.sqrt(max(rows, cols)) if scale_rule == "match_rms_adamw" else np.sqrt(max(1, rows / cols))
        theta = (1 - decay(t)) * theta - lr(t) * scale * update
    return theta, buffer


CASES = (
    Case(
        "muon",
        {"ema1": 0.1, "scale_rule": "match_rms_adamw", "iteration_dtype": "float32"},
        partial(muon, mu=0.9, nesterov=True, scale_rule="match_rms_adamw"),
        4,
        coupled=True,
        descent_lr=5e-2,
    ),
)
