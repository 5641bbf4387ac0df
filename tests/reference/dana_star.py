"""Dana-Star and Dana-Star-MK4, transcribed from specs/adana.md 1.4 to 1.6 in the authors' notation."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.schedules import newest_weight


def _moments(m, v, tau, g, t, delta, eps):
    d = newest_weight(t, delta)
    m = (1 - d) * m + d * g
    v = (1 - d) * v + d * g**2
    z = np.abs(g) / (np.abs(g) + np.sqrt(v) + eps)
    tau = (1 - d) * tau + d * z
    h = np.minimum(tau, 0.5)
    tau_tilde = np.maximum(h / (1 - h), 1 / (1 + t))
    return m, v, tau, tau_tilde, np.maximum(tau * t, 1)


def dana_star(theta, grads, *, lr, kappa, delta, clip, eps, decay):
    """The study's form: clip on the gradient term, decay together with the update."""
    m, v, tau = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m, v, tau, tau_tilde, e = _moments(m, v, tau, g, t, delta, eps)
        r = np.sqrt(tau_tilde) / (np.sqrt(v) + eps)
        k = np.minimum(1, clip * np.sqrt(v) / (np.sqrt(tau_tilde) * np.abs(g) + eps))
        u = -lr(t) * (g * r * k + (1 + e) ** (1 - kappa) * m * r)
        theta = theta * (1 - decay(t)) + u
    return theta, m, v, tau


def dana_star_mk4(theta, grads, *, lr, kappa, delta, clip, eps, decay):
    """Released code: signal-to-noise clip, decay after the update."""
    m, v, tau = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m, v, tau, tau_tilde, e = _moments(m, v, tau, g, t, delta, eps)
        r = np.sqrt(tau_tilde) / (np.sqrt(v) + eps)
        q = np.abs(m) * r / tau_tilde
        a = np.minimum(e ** (1 - kappa) * q, clip)
        u = -lr(t) * (g * r + (tau_tilde * np.sign(m) * a + m * r))
        theta = (theta + u) * (1 - decay(t))
    return theta, m, v, tau


CASES = (
    Case(
        "dana-star",
        {"kappa": 0.75, "clip_grad": 0.7},
        partial(dana_star, kappa=0.75, delta=8.0, clip=0.7, eps=1e-8),
        12,
    ),
    Case(
        "dana-star-mk4",
        {"kappa": 0.8, "clip_snr": 0.5},
        partial(dana_star_mk4, kappa=0.8, delta=8.0, clip=0.5, eps=1e-8),
        12,
    ),
)
