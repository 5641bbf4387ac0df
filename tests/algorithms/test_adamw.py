from decimal import Decimal

import pytest
import torch

from logclock.algorithms import AdamwSpec
from logclock.schedules import log_time_ema


def corrections(beta1, beta2, t):
    """Return c1 and c2 of AdamwSpec in 28 digits."""
    return float(1 / (1 - Decimal(beta1) ** t)), float(1 / (1 - Decimal(beta2) ** t).sqrt())


@pytest.mark.parametrize("t", [1, 2, 10, 1000, 1_000_000])
def test_the_bias_corrections_are_those_of_constant_averages(t):
    scalars = AdamwSpec(lr=1e-3).scalars(t)

    assert (scalars["correction1"], scalars["correction2"]) == pytest.approx(corrections("0.9", "0.999", t), rel=1e-14)


def test_scalars_by_hand():
    expected = {
        "lr": 1e-3,
        "ema1": 0.1,
        "ema2": 0.001,
        "correction1": 10.0,
        "correction2": 1000**0.5,
        "eps": 1e-8,
        "decay": 1e-5,
    }

    assert AdamwSpec().scalars(1) == pytest.approx(expected, rel=1e-14)
    late = expected | {"correction1": 1.0, "correction2": 1.0}
    assert AdamwSpec().scalars(1_000_000) == pytest.approx(late, rel=1e-14)


def test_corrections_keep_their_digits_when_beta_is_near_1():
    # 1 - beta^t with beta = 1 - 1e-9 as a float64 would be wrong in the eighth digit.
    scalars = AdamwSpec(ema1=1e-9, ema2=1e-12).scalars(3)

    expected = corrections(1 - Decimal("1e-9"), 1 - Decimal("1e-12"), 3)
    assert (scalars["correction1"], scalars["correction2"]) == pytest.approx(expected, rel=1e-14)


def test_a_weight_of_1_needs_no_correction():
    scalars = AdamwSpec(ema1=1.0, ema2=1.0).scalars(1)

    assert (scalars["correction1"], scalars["correction2"]) == (1.0, 1.0)


def test_scheduled_averages_go_without_correction():
    spec = AdamwSpec(ema1=log_time_ema(), ema2=log_time_ema(), bias_correction=False)

    assert spec.scalars(8)["ema1"] == 0.5
    assert (spec.scalars(8)["correction1"], spec.scalars(8)["correction2"]) == (1.0, 1.0)


@pytest.mark.parametrize("slot", ["ema1", "ema2"])
def test_bias_correction_of_a_scheduled_average_is_refused(slot):
    with pytest.raises(
        ValueError, match=r"ema1 and ema2 must be numbers with bias_correction=True, got .* set bias_co"
    ):
        AdamwSpec(**{slot: log_time_ema()})


def test_one_update_by_hand():
    # g = 4 from 0: m = 0.5 * 4 = 2, v = 0.25 * 16 = 4, update 2 * 2 / (2 * 1.5 + 1) = 1
    grad, zero = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 0.0))
    scalars = {"ema1": 0.5, "ema2": 0.25, "correction1": 2.0, "correction2": 1.5, "eps": 1.0}
    (direction,) = AdamwSpec.direction

    results = direction(grad, zero, zero, **scalars)

    assert [result.item() for result in results] == pytest.approx([1.0, 2.0, 4.0], rel=1e-15)
