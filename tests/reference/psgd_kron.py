"""PSGD-Kron in float64, one matrix at a time, with explicit inverses (zoo.md 4.19, zoo-additions.md C)."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.draws import normal


def lower_bound(p):
    """Of the spectral norm of a positive matrix: one power iteration from its longest column."""
    x = p[:, np.argmax((p**2).sum(0))]
    y = p @ x
    return np.linalg.norm(p @ y) / np.linalg.norm(y)


def probability(t, *, flat, fall, end):
    """Of a fit within the interval before t, as kron anneals it."""
    return np.clip(np.exp(-fall * (t - flat)), end, 1.0)


def fits_until(t, **schedule):
    """The whole part of the probability's integral, by the trapezoidal rule on a fine grid."""
    grid = np.linspace(0, t, 2000 * t + 1) if t else np.zeros(1)
    values = probability(grid, **schedule)
    return np.floor(((values[1:] + values[:-1]) / 2).sum() / 2000 + 1e-6)


def kron(theta, grads, *, lr, decay, position, beta, plr, clip, flat, fall, end):
    m = np.zeros_like(theta)
    q0, q1 = np.eye(theta.shape[0]), np.eye(theta.shape[1])
    for t, g in enumerate(grads, start=1):
        m = beta * m + (1 - beta) * g
        mhat = m / (1 - beta**t)
        if fits_until(t, flat=flat, fall=fall, end=end) > fits_until(t - 1, flat=flat, fall=fall, end=end):
            z = normal("probe", t, theta.shape, position=position)
            seen = mhat + np.sqrt(2.0**-23) * np.abs(mhat).mean() * z
            a = q0 @ seen @ q1.T
            b = np.linalg.inv(q0).T @ z @ np.linalg.inv(q1)
            left, right = (a @ a.T, b @ b.T), (a.T @ a, b.T @ b)
            q0 = q0 - plr / lower_bound(left[0] + left[1]) * np.triu(left[0] - left[1]) @ q0
            q1 = q1 - plr / lower_bound(right[0] + right[1]) * np.triu(right[0] - right[1]) @ q1
            mean = np.sqrt(np.abs(q0).max() * np.abs(q1).max())
            q0, q1 = q0 * mean / np.abs(q0).max(), q1 * mean / np.abs(q1).max()
        u = q0.T @ q0 @ mhat @ q1.T @ q1
        u = u / max(1.0, np.sqrt((u**2).mean()) / clip)
        theta = (1 - decay(t)) * theta - lr(t) * u
    return theta, m, q0, q1


CASES = (
    Case(
        "psgd-kron",
        {
            "ema1": 0.2,
            "fit_rate": 0.2,
            "flat_start": 10.0,
            "probability_decay": 0.1,
            "fit_probability_end": 0.2,
            "clip_rms": 0.9,
        },
        partial(kron, beta=0.8, plr=0.2, clip=0.9, flat=10, fall=0.1, end=0.2),
        lambda shape: 4 * (shape[0] * shape[1] + shape[0] ** 2 + shape[1] ** 2),
        coupled=True,
        drifts=("row_factor", "col_factor"),
    ),
)
