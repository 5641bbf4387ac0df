"""What the contract suite needs to know about each optimizer: class, settings to try, independent reference.

A registered optimizer without a case fails `test_every_optimizer_has_a_case`.
"""

import dataclasses
from collections.abc import Callable

import reference.adamw
import reference.adana
import reference.dana
import reference.dana_star
import reference.sgd

import logclock.optim as optim
from logclock.schedules import log_time_decay


@dataclasses.dataclass(frozen=True)
class Case:
    """One optimizer under test.

    Args:
        build: Its public class.
        settings: Hyperparameters to test with, beside lr and weight decay.
        reference: Float64 numpy run `(theta, grads, *, lr, decay) -> (theta, *states)` with lr, decay functions of t.
        state_bytes: State per float32 parameter.
        coupled: Whether lambda is multiplied by lr (else by lr / peak).
    """

    build: type
    settings: dict
    reference: Callable
    state_bytes: int
    coupled: bool = False


def _ref(function, **fixed):
    return lambda theta, grads, **run: function(theta, grads, **fixed, **run)


CASES = {
    "sgd": Case(
        optim.SGD,
        {"momentum": 0.9, "nesterov": True},
        _ref(reference.sgd.sgd, momentum=0.9, nesterov=True),
        4,
        coupled=True,
    ),
    "adamw": Case(
        optim.AdamW,
        {"betas": (0.9, 0.98)},
        _ref(reference.adamw.adamw, beta1=0.9, beta2=0.98, eps=1e-8),
        8,
        coupled=True,
    ),
    "adana": Case(
        optim.ADANA,
        {"kappa": 0.8, "delta": 6.0},
        _ref(reference.adana.adana, kappa=0.8, delta=6.0, plus_one=0, eps=1e-8),
        8,
    ),
    "dana": Case(
        optim.Dana,
        {"kappa": 0.6, "delta": 4.0, "c3": 0.75},
        _ref(reference.dana.dana, kappa=0.6, delta=4.0, c3=0.75),
        4,
        coupled=True,
    ),
    "dana-mk4": Case(
        optim.DanaMK4,
        {"kappa": 0.75, "clip_snr": 0.5},
        _ref(reference.adana.dana_mk4, kappa=0.75, delta=8.0, clip=0.5, eps=1e-8),
        8,
    ),
    "dana-star": Case(
        optim.DanaStar,
        {"kappa": 0.75, "clip_grad": 0.7},
        _ref(reference.dana_star.dana_star, kappa=0.75, delta=8.0, clip=0.7, eps=1e-8),
        12,
    ),
    "dana-star-mk4": Case(
        optim.DanaStarMK4,
        {"kappa": 0.8, "clip_snr": 0.5},
        _ref(reference.dana_star.dana_star_mk4, kappa=0.8, delta=8.0, clip=0.5, eps=1e-8),
        12,
    ),
}

WEIGHT_DECAY = log_time_decay(0.5, offset=4.0)
"""A running schedule for the suites that want one."""
