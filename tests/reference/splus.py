"""SPlus in float64, one matrix at a time, at the weights that are trained (specs/zoo-additions.md C)."""

from functools import partial

import numpy as np
from contract.case import Case
from reference.soap import descending_eigenvectors, is_square


def splus(theta, grads, *, lr, decay, beta1, beta2, interval):
    m, n = theta.shape
    average, left, right = np.zeros_like(theta), np.zeros((m, m)), np.zeros((n, n))
    q_left, q_right = np.eye(m), np.eye(n)
    for t, g in enumerate(grads, start=1):
        average = beta1 * average + (1 - beta1) * g
        update = q_left @ np.sign(q_left.T @ average @ q_right) @ q_right.T
        left = beta2 * left + (1 - beta2) * g @ g.T
        right = beta2 * right + (1 - beta2) * g.T @ g
        if t == 1 or t % interval == 0:
            q_left, q_right = descending_eigenvectors(left), descending_eigenvectors(right)
        # lr is that of the update before decay: the rule multiplies it by 1 - decay, here decay comes after
        theta = (theta - lr(t) * 2 / (m + n) * update) * (1 - decay(t))
    return theta, average, left, right, q_left, q_right


CASES = (
    Case(
        "splus",
        {"ema1": 0.1, "gram_ema": 0.1, "refresh_interval": 3},
        partial(splus, beta1=0.9, beta2=0.9, interval=3),
        lambda shape: 4 * (shape[0] * shape[1] + 2 * shape[0] ** 2 + 2 * shape[1] ** 2),
        coupled=True,
        determines=is_square,
        jumps=True,
        free_signs=("row_basis", "col_basis"),
    ),
)
