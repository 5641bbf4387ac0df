"""SOAP in float64, one matrix at a time, with the first average kept in the rotated space as the authors do.

Ours keeps it in weight space; specs/zoo.md 4.7 says that they are the same.
"""

from functools import partial

import numpy as np
from contract.case import Case


def descending_eigenvectors(gram):
    return np.linalg.eigh(gram)[1][:, ::-1]


def refreshed(gram, basis):
    order = np.argsort(-np.diag(basis.T @ gram @ basis))
    return np.linalg.qr(gram @ basis[:, order])[0], order


def soap(theta, grads, *, lr, decay, beta1, beta2, shampoo_beta, eps, interval, turn=0):
    left, right = np.zeros((theta.shape[0],) * 2), np.zeros((theta.shape[1],) * 2)
    rotated_avg, squares = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        k = t - 1
        if k:
            rotated = q_left.T @ g @ q_right  # noqa: F821
            rotated_avg = beta1 * rotated_avg + (1 - beta1) * rotated
            squares = beta2 * squares + (1 - beta2) * rotated**2
            normalised = rotated_avg * np.sqrt(1 - beta2**k) / (1 - beta1**k) / (np.sqrt(squares) + eps)
            # lr is that of the update before decay: the rule multiplies it by 1 - decay, here decay comes after
            theta = (theta - lr(t) * q_left @ normalised @ q_right.T) * (1 - decay(t))  # noqa: F821
        left = shampoo_beta * left + (1 - shampoo_beta) * g @ g.T
        right = shampoo_beta * right + (1 - shampoo_beta) * g.T @ g
        if k == 0:
            q_left, q_right = descending_eigenvectors(left), descending_eigenvectors(right)
        elif (k + turn) % interval == 0:
            weights = q_left @ rotated_avg @ q_right.T
            q_left, row_order = refreshed(left, q_left)
            q_right, col_order = refreshed(right, q_right)
            rotated_avg = q_left.T @ weights @ q_right
            squares = squares[row_order][:, col_order]
    return theta, q_left @ rotated_avg @ q_right.T, squares, left, right, q_left, q_right


def is_square(shape):
    """The Gram matrix of a longer side has a null space, whose basis is arbitrary (specs/zoo.md 4.7)."""
    return shape[0] == shape[1]


CASES = (
    Case(
        "soap",
        {"ema1": 0.1, "ema2": 0.04, "gram_ema": 0.1, "refresh_interval": 3},
        partial(soap, beta1=0.9, beta2=0.96, shampoo_beta=0.9, eps=1e-8, interval=3),
        lambda shape: 4 * (2 * shape[0] * shape[1] + 2 * shape[0] ** 2 + 2 * shape[1] ** 2),
        coupled=True,
        determines=is_square,
        drifts=("row_basis", "col_basis"),
    ),
)
