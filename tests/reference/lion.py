"""Lion as printed in its paper (zoo.md 3.11): interpolate, take the sign, then update the momentum."""

import numpy as np


def lion(theta, grads, *, lr, beta1, beta2, decay):
    m = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        c = beta1 * m + (1 - beta1) * g
        theta = theta - lr(t) * np.sign(c) - decay(t) * theta
        m = beta2 * m + (1 - beta2) * g
    return theta, m
