"""torch.optim.SGD's momentum in the sum form, with decoupled decay."""

from functools import partial

import numpy as np
from contract.case import Case


def sgd(theta, grads, *, lr, momentum, nesterov, decay):
    """Run one update per gradient; lr and decay are functions of t. Returns theta and the buffer."""
    buffer = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        buffer = momentum * buffer + g
        direction = g + momentum * buffer if nesterov else buffer
        theta = (1 - decay(t)) * theta - lr(t) * direction
    return theta, buffer


CASES = (
    Case(
        "sgd",
        {"momentum": 0.9, "nesterov": True},
        partial(sgd, momentum=0.9, nesterov=True),
        4,
        coupled=True,
        descent_lr=1e-3,
    ),
)
