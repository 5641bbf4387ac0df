"""ScaledAdam in float64 (zoo.md 3.28), in the authors' notation: k counts updates from 0, D is a momentum of moves."""

from functools import partial

import numpy as np
from contract.case import Case


def scaled_adam(theta, grads, *, lr, decay, beta1=0.9, beta2=0.98, eps=1e-8, period=4, size_lr=0.1, scalar_lr=0.1,
                min_rms=1e-5, max_rms=3.0, max_step=0.1, scalar_max=10.0):  # fmt: skip
    v, d, s = np.zeros_like(theta), np.zeros_like(theta), 0.0
    q = np.zeros(period)
    rms = 0.0
    for k, g in enumerate(grads):
        rate = lr(k + 1)
        is_last = k % period == period - 1
        if k == 0 or is_last:
            rms = np.sqrt(np.mean(theta**2))
        v = beta2 * v + (1 - beta2) * g**2
        divisor = 1 - beta2 ** (k + 1)
        q[k % period] = np.sum(theta * g)
        d = beta1 * d
        start = theta
        if is_last:
            b = beta2**period
            s = b * s + (1 - b) * np.mean(q**2)
            step = -rate * size_lr * np.sqrt(1 - b ** ((k + 1) // period)) * q.sum() / (np.sqrt(s) + eps)
            step = 0.0 if rms < min_rms else step
            step = min(np.clip(step, -max_step, max_step), (max_rms - rms) / rms)
            d = d + (1 - beta1) * theta * step if theta.size > 1 else d
        if theta.size > 1:
            v_hat = v / divisor if divisor < 0.99 else v
            d = d - (1 - beta1) * rate * max(rms, min_rms) * g / (np.sqrt(v_hat) + eps)
        else:
            d = d - (1 - beta1) * rate * scalar_lr * g / (np.sqrt(v / divisor) + eps)
            theta = np.clip(theta, -scalar_max, scalar_max)
        theta = theta + d - decay(k + 1) * start
    begun = q[: len(grads) % period or period]
    return theta, v, d, rms, begun.sum(), (begun**2).sum(), s


CASES = (
    Case(
        "scaled-adam",
        {"betas": (0.8, 0.9), "eps": 1e-6},
        partial(scaled_adam, beta1=0.8, beta2=0.9, eps=1e-6),
        lambda shape: 4 * 2 * int(np.prod(shape)) + 4 * 8,  # four numbers in float64
        coupled=True,
        drifts=("param_rms",),
    ),
)
