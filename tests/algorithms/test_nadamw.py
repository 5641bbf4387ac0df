from decimal import Decimal

import pytest
import torch

from logclock.algorithms import NadamwSpec
from logclock.schedules import log_time_ema


@pytest.mark.parametrize("t", [1, 2, 10, 1000, 1_000_000])
def test_the_weights_of_the_look_ahead_are_those_of_constant_averages(t):
    scalars = NadamwSpec(ema1=0.05, ema2=0.02).scalars(t)

    beta1, beta2 = Decimal("0.95"), Decimal("0.98")
    expected = {
        "grad_weight": float((1 - beta1) / (1 - beta1**t)),
        "momentum_weight": float(beta1 / (1 - beta1 ** (t + 1))),
        "correction2": float(1 / (1 - beta2**t).sqrt()),
    }
    assert {name: scalars[name] for name in expected} == pytest.approx(expected, rel=1e-13)


def test_scalars_by_hand():
    # t = 1: grad 0.1 / 0.1, momentum 0.9 / (1 - 0.81)
    expected = {
        "lr": 1e-3,
        "ema1": 0.1,
        "ema2": 0.001,
        "grad_weight": 1.0,
        "momentum_weight": 0.9 / 0.19,
        "correction2": 1000**0.5,
        "eps": 1e-8,
        "decay": 1e-5,
    }

    assert NadamwSpec().scalars(1) == pytest.approx(expected, rel=1e-14)
    late = expected | {"grad_weight": 0.1, "momentum_weight": 0.9, "correction2": 1.0}
    assert NadamwSpec().scalars(1_000_000) == pytest.approx(late, rel=1e-14)


def test_scheduled_averages_look_ahead_without_correction():
    scalars = NadamwSpec(ema1=log_time_ema(), ema2=log_time_ema(), bias_correction=False).scalars(24)

    assert (scalars["grad_weight"], scalars["momentum_weight"], scalars["correction2"]) == (0.25, 0.75, 1.0)


@pytest.mark.parametrize("slot", ["ema1", "ema2"])
def test_bias_correction_of_a_scheduled_average_is_refused(slot):
    with pytest.raises(ValueError, match="ema1 and ema2 must be numbers with bias_correction=True"):
        NadamwSpec(**{slot: log_time_ema()})


def test_one_update_by_hand():
    # g = 4 from 0: m = 0.5 * 4 = 2, v = 0.25 * 16 = 4, look-ahead 3 * 2 + 0.5 * 4 = 8, update 8 / (2 * 1.5 + 1) = 2
    grad, zero = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 0.0))
    scalars = {"ema1": 0.5, "ema2": 0.25, "correction2": 1.5, "eps": 1.0}
    (direction,) = NadamwSpec.direction

    results = direction(grad, zero, zero, grad_weight=0.5, momentum_weight=3.0, **scalars)

    assert [result.item() for result in results] == pytest.approx([2.0, 2.0, 4.0], rel=1e-15)
