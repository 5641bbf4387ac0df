"""KL-SOAP and KL-Shampoo in float64, one matrix at a time (specs/zoo-additions.md A6).

The factors start at rms(G) times the identity with the first gradient that is not zero, which the specification leaves
open.
"""

from functools import partial

import numpy as np
from contract.case import Case
from reference.soap import descending_eigenvectors, is_square, refreshed


def inverse(basis, eigenvalues, eps):
    return basis @ np.diag(1 / np.maximum(eigenvalues, eps)) @ basis.T


def kl(theta, grads, *, lr, decay, beta1, shampoo_beta, eps, interval, beta2=None):
    """KL-SOAP with a beta2, KL-Shampoo without."""
    m, n = theta.shape
    left, right, lam_left, lam_right = np.zeros((m, m)), np.zeros((n, n)), np.zeros(m), np.zeros(n)
    q_left, q_right = np.eye(m), np.eye(n)
    average, squares = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        k = t - 1
        if not lam_left.any():
            size = np.sqrt(np.mean(g**2))
            left, right = size * np.eye(m), size * np.eye(n)
            lam_left, lam_right = np.full(m, size), np.full(n, size)
        if k:
            average = beta1 * average + (1 - beta1) * g
            rotated = q_left.T @ (average / (1 - beta1**k)) @ q_right
            if beta2 is None:
                small = np.outer(np.sqrt(np.maximum(lam_left, eps)), np.sqrt(np.maximum(lam_right, eps)))
                direction = q_left @ (rotated / small) @ q_right.T
            else:
                squares = beta2 * squares + (1 - beta2) * (q_left.T @ g @ q_right) ** 2
                # as in SOAP eps stands beside the root before that is corrected
                direction = q_left @ (rotated * np.sqrt(1 - beta2**k) / (np.sqrt(squares) + eps)) @ q_right.T
            theta = theta - lr(t) * direction - decay(t) * theta
        left, right = (
            shampoo_beta * left + (1 - shampoo_beta) / n * g @ inverse(q_right, lam_right, eps) @ g.T,
            shampoo_beta * right + (1 - shampoo_beta) / m * g.T @ inverse(q_left, lam_left, eps) @ g,
        )
        if k == 0:
            q_left, q_right = descending_eigenvectors(left), descending_eigenvectors(right)
        elif k % interval == 0:
            q_left, row_order = refreshed(left, q_left)
            q_right, col_order = refreshed(right, q_right)
            squares = squares[row_order][:, col_order]
        if k % interval == 0:
            lam_left, lam_right = np.diag(q_left.T @ left @ q_left), np.diag(q_right.T @ right @ q_right)
    averages = (average,) if beta2 is None else (average, squares)
    return theta, *averages, left, right, q_left, q_right, lam_left, lam_right


def state_bytes(shape, *, num_averages):
    rows, cols = shape
    return 4 * (num_averages * rows * cols + 2 * rows**2 + 2 * cols**2 + rows + cols)


CASES = (
    Case(
        "kl-soap",
        {"ema1": 0.1, "ema2": 0.04, "gram_ema": 0.1, "refresh_interval": 3},
        partial(kl, beta1=0.9, beta2=0.96, shampoo_beta=0.9, eps=1e-8, interval=3),
        partial(state_bytes, num_averages=2),
        coupled=True,
        determines=is_square,
    ),
    Case(
        "kl-shampoo",
        {"ema1": 0.1, "gram_ema": 0.1, "refresh_interval": 3},
        partial(kl, beta1=0.9, shampoo_beta=0.9, eps=1e-8, interval=3),
        partial(state_bytes, num_averages=1),
        coupled=True,
        determines=is_square,
    ),
)
