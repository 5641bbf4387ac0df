"""Does the toy keep logclock's contract? Run with `pytest`, after the package is installed."""

import logclock
import numpy as np
import pytest
from logclock import testing

SETTINGS = {"ema1": 0.2}


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("around", [{}, {"apply": "cautious_decay", "wrappers": ["clip_rms"]}], ids=["bare", "around"])
def test_keeps_the_contract(check, around):
    check(logclock.RootSGD, SETTINGS | around)


def reference(theta, grads, *, lr, decay):
    m = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        m = 0.8 * m + 0.2 * g
        theta = (1 - decay(t)) * theta - lr(t) * np.sign(m) * np.abs(m) ** 0.5
    return theta, m


def test_equals_its_equation():
    testing.assert_equals_reference(logclock.RootSGD, reference, SETTINGS)
