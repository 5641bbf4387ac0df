"""AdamP and SGDP in float64 (zoo.md 3.3), with the projection as the authors' code has it."""

from functools import partial

import numpy as np
from contract.case import Case


def projection(theta, g, u, *, delta, wd_ratio, eps):
    """Return the update and the ratio of the decay: rows first, then the whole tensor."""
    if theta.ndim < 2:
        return u, 1.0
    for view in ((theta.shape[0], -1), (1, -1)):
        p, gradient, perturbation = (x.reshape(view) for x in (theta, g, u))
        p_norm = np.linalg.norm(p, axis=1)
        cosine = np.abs((p * gradient).sum(1)) / ((p_norm + eps) * (np.linalg.norm(gradient, axis=1) + eps))
        if cosine.max() < delta / np.sqrt(p.shape[1]):
            p_hat = p / (p_norm + eps)[:, None]
            perturbation = perturbation - p_hat * (p_hat * perturbation).sum(1)[:, None]
            return perturbation.reshape(u.shape), wd_ratio
    return u, 1.0


def adamp(theta, grads, *, lr, beta1, beta2, eps, delta, wd_ratio, nesterov, decay):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        root = np.sqrt(v) / np.sqrt(1 - beta2**t) + eps
        u = (beta1 * m + (1 - beta1) * g) / root if nesterov else m / root
        u, ratio = projection(theta, g, u, delta=delta, wd_ratio=wd_ratio, eps=eps)
        theta = theta - ratio * decay(t) * theta - lr(t) / (1 - beta1**t) * u
    return theta, m, v


def sgdp(theta, grads, *, lr, mu, dampening, nesterov, eps, delta, wd_ratio, decay):
    """Its decay without the authors' factor 1 / (1 - mu), which is part of what `decay` gives."""
    buf = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        buf = mu * buf + (1 - dampening) * g
        u = g + mu * buf if nesterov else buf
        u, ratio = projection(theta, g, u, delta=delta, wd_ratio=wd_ratio, eps=eps)
        theta = theta - ratio * decay(t) * theta - lr(t) * u
    return theta, buf


def decay_at_rest(shape):
    """A gradient of zero is orthogonal to everything."""
    return 0.3 if len(shape) > 1 else 1.0


# A bound at which half of the contract's matrices are projected, by rows or as a whole, and half are not.
PROJECTION = {"delta": 1.0, "wd_ratio": 0.3}
SETTINGS = {"cosine_bound": 1.0, "decay_ratio": 0.3, "eps": 1e-6, "nesterov": True}

CASES = (
    Case(
        "adamp",
        {"betas": (0.9, 0.99), **SETTINGS},
        partial(adamp, beta1=0.9, beta2=0.99, eps=1e-6, nesterov=True, **PROJECTION),
        8,
        coupled=True,
        decay_at_rest=decay_at_rest,
    ),
    Case(
        "sgdp",
        {"momentum": 0.9, "dampening": 0.5, **SETTINGS},
        partial(sgdp, mu=0.9, dampening=0.5, eps=1e-6, nesterov=True, **PROJECTION),
        4,
        coupled=True,
        descent_lr=1e-3,
        decay_at_rest=decay_at_rest,
    ),
)
