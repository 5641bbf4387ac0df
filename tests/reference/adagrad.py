"""AdaGrad and AdaGrad-Norm in float64 (Duchi et al. 2011, diagonal matrices; Ward et al. 2018, algorithm 1)."""

from functools import partial

import numpy as np
from contract.case import Case


def adagrad(theta, grads, *, lr, decay, initial, eps):
    s = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        s = s + g**2
        theta = theta - lr(t) * g / (np.sqrt(s + initial) + eps) - decay(t) * theta
    return theta, s


def adagrad_norm(thetas, histories, *, lr, decay, initial, eps):
    thetas, parts = [theta.copy() for theta in thetas], [0.0] * len(thetas)
    for t in range(1, len(histories[0]) + 1):
        for k, history in enumerate(histories):
            parts[k] += np.sum(history[t - 1] ** 2)
        b = np.sqrt(sum(parts) + initial)
        for k, history in enumerate(histories):
            thetas[k] = thetas[k] - lr(t) * history[t - 1] / (b + eps) - decay(t) * thetas[k]
    return [(thetas[k], parts[k]) for k in range(len(thetas))]


CASES = (
    Case(
        "adagrad",
        {"initial": 0.1},
        partial(adagrad, initial=0.1, eps=1e-10),
        4,
        coupled=True,
        only_falls=True,
        descent_lr=0.5,
    ),
    Case(
        "adagrad-norm",
        {"initial": 0.25},
        partial(adagrad_norm, initial=0.25, eps=1e-10),
        lambda shape: 8,
        coupled=True,
        is_joint=True,
        only_falls=True,
        descent_lr=2.0,
    ),
)
