"""AdaMuon in float64, one matrix at a time: the paper's rule, with the sign (specs/zoo-additions.md A8)."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.muon import newton_schulz


def adamuon(theta, grads, *, lr, decay, beta1, beta2, eps, nesterov=False, takes_sign=True):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        source = beta1 * m + (1 - beta1) * g if nesterov else m
        o = newton_schulz(np.sign(source) if takes_sign else source)
        v = beta2 * v + (1 - beta2) * o**2
        p = o / (np.sqrt(v) + eps)
        theta = theta * (1 - decay(t)) - lr(t) * 0.2 * np.sqrt(o.size) / np.linalg.norm(p) * p
    return theta, m, v


CASES = (
    Case(
        "adamuon",
        {"ema1": 0.1, "ema2": 0.08, "iteration_dtype": "float32"},
        partial(adamuon, beta1=0.9, beta2=0.92, eps=1e-8),
        8,
        coupled=True,
        jumps=True,
        descent_lr=5e-2,
    ),
)
