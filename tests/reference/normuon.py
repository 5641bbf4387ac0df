"""NorMuon in float64, one matrix at a time (specs/zoo-additions.md A1): the authors' code, and Algorithm 1's scale."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.muon import newton_schulz


def neuron_normalized(direction, v, *, beta2, eps, along, scale_rule):
    o = newton_schulz(direction)
    v = beta2 * v + (1 - beta2) * (o**2).mean(axis=along, keepdims=True)
    p = o / (np.sqrt(v) + eps)
    m, n = o.shape
    if scale_rule == "match_rms_adamw":
        return 0.2 * np.sqrt(m * n) / np.linalg.norm(p) * p, v
    return np.sqrt(max(1, m / n)) * np.linalg.norm(o) / np.linalg.norm(p) * p, v


def normuon(theta, grads, *, lr, decay, mu, beta2, eps, scale_rule, nesterov=True, axis="rows"):
    along = 0 if axis == "short_axis" and theta.shape[0] < theta.shape[1] else 1
    buffer, v = np.zeros_like(theta), np.zeros_like(theta.mean(axis=along, keepdims=True))
    for t, g in enumerate(grads, start=1):
        buffer = mu * buffer + (1 - mu) * g
        direction = (1 - mu) * g + mu * buffer if nesterov else buffer
        update, v = neuron_normalized(direction, v, beta2=beta2, eps=eps, along=along, scale_rule=scale_rule)
        theta = theta * (1 - decay(t)) - lr(t) * update
    return theta, buffer, v.ravel()


CASES = (
    Case(
        "normuon",
        {"ema1": 0.1, "ema2": 0.08, "scale_rule": "match_rms_adamw", "iteration_dtype": "float32"},
        partial(normuon, mu=0.9, beta2=0.92, eps=1e-10, scale_rule="match_rms_adamw"),
        lambda shape: 4 * (shape[0] * shape[1] + shape[0]),
        coupled=True,
        descent_lr=5e-2,
    ),
)
