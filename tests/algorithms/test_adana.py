from decimal import Decimal

import pytest
import torch

from logclock.algorithms import AdanaSpec
from logclock.schedules import Constant, LinearRamp, log_time_decay

# (1 + t)^0.15 in 28 digits
GAINS = {t: float(Decimal(1 + t) ** Decimal("0.15")) for t in (1, 10, 1_000_000)}


@pytest.mark.parametrize(("t", "ema"), [(1, 8 / 9), (10, 4 / 9), (1_000_000, 1 / 125_001)])
def test_scalars_by_hand(t, ema):
    spec = AdanaSpec(lr=0.002, weight_decay=log_time_decay(4.0, offset=100.0))

    assert spec.scalars(t) == pytest.approx(
        {"lr": 0.002, "ema1": ema, "ema2": ema, "gain": GAINS[t], "eps": 1e-8, "decay": 4 / (100 + t)}, rel=1e-14
    )


def test_the_first_update_of_the_default():
    # 2^0.15 = 1.1095694720678452
    assert AdanaSpec().scalars(1)["gain"] == pytest.approx(1.1095694720678452, rel=1e-15)


@pytest.mark.parametrize("t", [1, 10, 1_000_000])
def test_the_released_code_s_gain_is_1_more(t):
    assert AdanaSpec(gain_offset=1.0).scalars(t)["gain"] == pytest.approx(1 + GAINS[t], rel=1e-14)


def test_the_gain_of_the_study_at_t_10000():
    # adana.md 1.2: 3.98 in the paper's form, 4.98 in the released code
    assert AdanaSpec().scalars(10_000)["gain"] == pytest.approx(3.98, abs=0.005)
    assert AdanaSpec(gain_offset=1.0).scalars(10_000)["gain"] == pytest.approx(4.98, abs=0.005)


def test_every_schedule_can_be_replaced():
    spec = AdanaSpec(ema1=0.1, ema2=Constant(value=0.01), gain=LinearRamp(start=0.0, end=8.0, steps=100))

    scalars = spec.scalars(50)

    assert (scalars["ema1"], scalars["ema2"], scalars["gain"]) == (0.1, 0.01, 4.0)


def test_kappa_and_delta_set_the_default_schedules():
    scalars = AdanaSpec(kappa=0.5, delta=1.0).scalars(3)

    assert (scalars["ema1"], scalars["ema2"], scalars["gain"]) == (0.25, 0.25, 2.0)


def test_one_update_by_hand():
    # g = 4 from 0: m = 0.5 * 4 = 2, v = 0.25 * 16 = 4, update (4 + 3 * 2) / (2 + 0.5) = 4
    grad, zero = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 0.0))
    (direction,) = AdanaSpec.direction

    results = direction(grad, zero, zero, ema1=0.5, ema2=0.25, gain=3.0, eps=0.5)

    assert [result.item() for result in results] == pytest.approx([4.0, 2.0, 4.0], rel=1e-15)
