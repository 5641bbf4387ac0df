"""Shampoo in float64, one matrix at a time (specs/zoo.md 4.8): momentum, bias corrections and grafting as Meta's."""

from functools import partial

import numpy as np
from contract.case import Case


def inverse_root(matrix, power):
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(values**-power) @ vectors.T


def shampoo(theta, grads, *, lr, decay, beta1, beta2, shampoo_beta, eps, interval, graft=None, power=0.25, turn=0):
    """With `shampoo_beta` None the factors are sums; `graft` is the eps of Adam's update, if it is grafted on."""
    m, n = theta.shape
    left, right, left_root, right_root = np.zeros((m, m)), np.zeros((n, n)), np.zeros((m, m)), np.zeros((n, n))
    average, squares = np.zeros_like(theta), np.zeros_like(theta)
    has_roots = False
    for t, g in enumerate(grads, start=1):
        average = beta1 * average + (1 - beta1) * g
        squares = beta2 * squares + (1 - beta2) * g**2
        if shampoo_beta is None:
            left, right, weight = left + g @ g.T, right + g.T @ g, 1
        else:
            left = shampoo_beta * left + (1 - shampoo_beta) * g @ g.T
            right = shampoo_beta * right + (1 - shampoo_beta) * g.T @ g
            weight = 1 - shampoo_beta**t
        if t >= interval and (t + turn) % interval == 0:
            left_root = inverse_root(left / weight + eps * np.eye(m), power)
            right_root = inverse_root(right / weight + eps * np.eye(n), power)
            has_roots = True
        corrected = average / (1 - beta1**t)
        direction = left_root @ corrected @ right_root if has_roots else corrected
        if graft is not None:
            adam = corrected / (np.sqrt(squares / (1 - beta2**t)) + graft)
            direction = direction * np.linalg.norm(adam) / np.linalg.norm(direction) if has_roots else adam
        theta = theta - lr(t) * direction - decay(t) * theta
    averages = (average,) if graft is None else (average, squares)
    return theta, *averages, left, right, left_root, right_root


def state_bytes(shape):
    """With Adam's squares for the grafting, which the table of the specification leaves out."""
    rows, cols = shape
    return 4 * (2 * rows * cols + 2 * sum(side**2 for side in shape if side <= LONGEST))


LONGEST = 64
"""Side that the case gives a Gram matrix, so that larger matrices of the contract cost little."""


CASES = (
    Case(
        "shampoo",
        {"ema1": 0.1, "ema2": 0.04, "gram_ema": 0.1, "refresh_interval": 3, "eps": 1e-3, "max_basis_size": LONGEST},
        partial(shampoo, beta1=0.9, beta2=0.96, shampoo_beta=0.9, eps=1e-3, graft=1e-8, interval=3),
        state_bytes,
        coupled=True,
    ),
)
