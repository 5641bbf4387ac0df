import pytest
import torch

from logclock.algorithms import AdemamixSpec
from logclock.schedules import HalfLifeRamp, LinearRamp, log_time_ema


def test_scalars_by_hand():
    expected = {
        "lr": 1e-3,
        "ema1": 0.1,
        "ema2": 0.001,
        "ema_slow": 0.0001,
        "gain": 8.0,
        "correction1": 10.0,
        "correction2": 1000**0.5,
        "eps": 1e-8,
        "decay": 1e-5,
    }

    assert AdemamixSpec(weight_decay=0.01).scalars(1) == pytest.approx(expected, rel=1e-14)
    late = expected | {"correction1": 1.0, "correction2": 1.0}
    assert AdemamixSpec(weight_decay=0.01).scalars(1_000_000) == pytest.approx(late, rel=1e-14)


@pytest.mark.parametrize(("t", "gain", "ema_slow"), [(50, 2.0, 2 / 101), (100, 4.0, 0.01), (1000, 4.0, 0.01)])
def test_the_slow_average_and_its_gain_may_be_warmed_up(t, gain, ema_slow):
    spec = AdemamixSpec(
        gain=LinearRamp(start=0.0, end=4.0, steps=100), ema_slow=HalfLifeRamp(start=0.5, end=0.01, steps=100)
    )

    scalars = spec.scalars(t)

    assert scalars["gain"] == gain
    # half-way between two half-lives: -ln(1 - ema) is their harmonic mean, near 2 / (1 / 0.69 + 1 / 0.01)
    assert scalars["ema_slow"] == pytest.approx(ema_slow, rel=0.01)


def test_only_the_fast_averages_are_corrected():
    # g = 3 from 0 at t = 1: m c1 = 3 and sqrt(v) c2 = 3, but n = 1e-4 * 3; update (3 + 8 * 3e-4) / 3
    spec = AdemamixSpec(lr=1.0, eps=0.0)
    grad, zero = torch.tensor([3.0], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)

    param, *_ = spec.rule(zero, grad, zero, zero, zero, **spec.scalars(1))

    assert param.item() == pytest.approx(-1.0008, rel=1e-13)


def test_without_correction_the_averages_enter_as_they_are():
    scalars = AdemamixSpec(ema1=log_time_ema(), bias_correction=False).scalars(8)

    assert (scalars["ema1"], scalars["correction1"], scalars["correction2"]) == (0.5, 1.0, 1.0)


def test_the_slow_average_may_be_scheduled_with_bias_correction_on():
    assert AdemamixSpec(ema_slow=log_time_ema()).scalars(8)["ema_slow"] == 0.5


@pytest.mark.parametrize("slot", ["ema1", "ema2"])
def test_bias_correction_of_a_scheduled_average_is_refused(slot):
    with pytest.raises(ValueError, match="ema1 and ema2 must be numbers with bias_correction=True"):
        AdemamixSpec(**{slot: log_time_ema()})


def test_one_update_by_hand():
    # g = 4 from 0: m = 2, v = 4, n = 0.125 * 4 = 0.5; update (2 * 2 + 8 * 0.5) / (2 * 1.5 + 1) = 2
    grad, zero = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 0.0))
    scalars = {"ema1": 0.5, "ema2": 0.25, "correction1": 2.0, "correction2": 1.5, "eps": 1.0}
    (direction,) = AdemamixSpec.direction

    results = direction(grad, zero, zero, zero, ema_slow=0.125, gain=8.0, **scalars)

    assert [result.item() for result in results] == pytest.approx([2.0, 2.0, 4.0, 0.5], rel=1e-15)
