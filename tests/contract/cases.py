"""What the contract suite needs to know about each optimizer: class, settings to try, independent reference.

A registered optimizer without a case fails `test_every_optimizer_has_a_case`.
"""

import dataclasses
import math
from collections.abc import Callable

import reference.adamw
import reference.adana
import reference.ademamix
import reference.dana
import reference.dana_star
import reference.laprop
import reference.lion
import reference.muon
import reference.nadamw
import reference.normsgd
import reference.sgd
import reference.signum
import reference.soap
import torch
from contract.runs import SHAPES, make_params

import logclock.optim as optim
from logclock.rules import Spec
from logclock.schedules import HalfLifeRamp, LinearRamp, log_time_decay


@dataclasses.dataclass(frozen=True)
class Case:
    """One optimizer under test.

    Args:
        build: Its public class.
        settings: Hyperparameters to test with, beside lr and weight decay.
        reference: Float64 numpy run `(theta, grads, *, lr, decay) -> (theta, *states)` with lr, decay functions of t.
        state_bytes: State per float32 parameter, or a function of the shape of a tensor.
        coupled: Whether lambda is multiplied by lr (else by lr / peak).
        determines: For which shapes the equations leave nothing open.
        jumps: Whether the update is the sign of an average, which two roundings of the same zero can set apart.
    """

    build: type
    settings: dict
    reference: Callable
    state_bytes: int | Callable
    coupled: bool = False
    determines: Callable = lambda shape: True
    jumps: bool = False

    @property
    def is_elementwise(self):
        return Spec.family.get(self.build.algorithm)().rule.is_elementwise

    @property
    def matrices_only(self):
        return Spec.family.get(self.build.algorithm).matrices_only

    def params(self, shapes=None, dtype=torch.float32, *, seed=0, determined=False):
        """Parameters as `make_params` makes them, those that the optimizer takes (and determines)."""
        if shapes is None:
            shapes = MATRICES if self.matrices_only else SHAPES
        taken = [shape for shape in shapes if len(shape) == 2 or not self.matrices_only]
        return make_params([shape for shape in taken if self.determines(shape) or not determined], dtype, seed)

    def bytes_of(self, shape):
        """Bytes of the state of a float32 parameter."""
        return self.state_bytes(shape) if callable(self.state_bytes) else self.state_bytes * math.prod(shape)


MATRICES = ((5, 3), (4, 4), (3, 6), (4, 4))


def _is_square(shape):
    """The Gram matrix of a longer side has a null space, whose basis is arbitrary (specs/zoo.md 4.7)."""
    return shape[0] == shape[1]


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
    "muon": Case(
        optim.Muon,
        {"ema1": 0.1, "scale_rule": "match_rms_adamw", "iteration_dtype": "float32"},
        _ref(reference.muon.muon, mu=0.9, nesterov=True, scale_rule="match_rms_adamw"),
        4,
        coupled=True,
    ),
    "normsgd": Case(
        optim.NormSGD,
        {"momentum": 0.9},
        _ref(reference.normsgd.normsgd, mu=0.9, nesterov=True, eps=1e-8),
        4,
        coupled=True,
    ),
    "soap": Case(
        optim.SOAP,
        {"ema1": 0.1, "ema2": 0.04, "gram_ema": 0.1, "refresh_interval": 3},
        _ref(reference.soap.soap, beta1=0.9, beta2=0.96, shampoo_beta=0.9, eps=1e-8, interval=3),
        lambda shape: 4 * (2 * shape[0] * shape[1] + 2 * shape[0] ** 2 + 2 * shape[1] ** 2),
        coupled=True,
        determines=_is_square,
    ),
    "nadamw": Case(
        optim.NAdamW,
        {"ema1": 0.1, "ema2": 0.02},
        _ref(reference.nadamw.nadamw, beta1=0.9, beta2=0.98, eps=1e-8),
        8,
        coupled=True,
    ),
    "ademamix": Case(
        optim.AdEMAMix,
        {
            "ema2": 0.02,
            "ema_slow": HalfLifeRamp(start=0.1, end=0.01, steps=30),
            "gain": LinearRamp(start=0.0, end=3.0, steps=30),
        },
        _ref(reference.ademamix.ademamix, beta1=0.9, beta2=0.98, beta3=0.99, alpha=3.0, warmup=30, eps=1e-8),
        12,
        coupled=True,
    ),
    "lion": Case(
        optim.Lion,
        {"ema1": 0.05, "ema2": 0.02},
        _ref(reference.lion.lion, beta1=0.95, beta2=0.98),
        4,
        coupled=True,
        jumps=True,
    ),
    "signum": Case(
        optim.Signum,
        {"ema1": 0.05, "nesterov": True},
        _ref(reference.signum.signum, mu=0.95, nesterov=True),
        4,
        coupled=True,
        jumps=True,
    ),
    "laprop": Case(
        optim.LaProp,
        {"ema1": 0.1, "ema2": 0.02},
        _ref(reference.laprop.laprop, beta1=0.9, beta2=0.98, eps=1e-15),
        8,
        coupled=True,
    ),
}

WEIGHT_DECAY = log_time_decay(0.5, offset=4.0)
"""A running schedule for the suites that want one."""
