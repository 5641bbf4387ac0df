"""Dion2 in float64, one matrix at a time (zoo-additions.md A9), iterating as Muon does."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.muon import newton_schulz


def dion2(theta, grads, *, lr, decay, f, ef_decay):
    m = np.zeros_like(theta)
    rows, cols = theta.shape
    axis = 1 if rows <= cols else 0  # along which absolute values are summed
    k = int(np.ceil(f * min(rows, cols)))
    for t, g in enumerate(grads, start=1):
        m = m + g
        chosen = np.argsort(-np.abs(m).sum(axis))[:k]
        where = np.ix_(chosen, range(cols)) if axis == 1 else np.ix_(range(rows), chosen)
        update = np.zeros_like(theta)
        update[where] = np.sqrt(rows / cols) * newton_schulz(m[where])
        m[where] = ef_decay * m[where]
        theta = (1 - decay(t)) * theta - lr(t) * update
    return theta, m


CASES = (
    Case(
        "dion2",
        {"share": 0.4, "error_decay": 0.9, "iteration_dtype": "float32"},
        partial(dion2, f=0.4, ef_decay=0.9),
        4,
        coupled=True,
        descent_lr=5e-2,
    ),
)
