import pytest
import torch

from logclock.algorithms import LapropSpec
from logclock.schedules import log_time_ema


def test_scalars_by_hand():
    expected = {
        "lr": 4e-4,
        "ema1": 0.1,
        "ema2": 0.001,
        "correction1": 10.0,
        "correction2": 1000**0.5,
        "eps": 1e-15,
        "decay": 4e-6,
    }

    assert LapropSpec(weight_decay=0.01).scalars(1) == pytest.approx(expected, rel=1e-14)
    late = expected | {"correction1": 1.0, "correction2": 1.0}
    assert LapropSpec(weight_decay=0.01).scalars(1_000_000) == pytest.approx(late, rel=1e-14)


def test_scheduled_averages_go_without_correction():
    scalars = LapropSpec(ema1=log_time_ema(), ema2=log_time_ema(), bias_correction=False).scalars(8)

    assert (scalars["ema1"], scalars["ema2"], scalars["correction1"], scalars["correction2"]) == (0.5, 0.5, 1.0, 1.0)


@pytest.mark.parametrize("slot", ["ema1", "ema2"])
def test_bias_correction_of_a_scheduled_average_is_refused(slot):
    with pytest.raises(ValueError, match="ema1 and ema2 must be numbers with bias_correction=True"):
        LapropSpec(**{slot: log_time_ema()})


def test_one_update_by_hand():
    # g = 4 from 0: v = 0.25 * 16 = 4, normalised 4 / (2 * 1.5 + 1) = 1, m = 0.5 * 1, update 2 m = 1
    grad, zero = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 0.0))
    scalars = {"ema1": 0.5, "ema2": 0.25, "correction1": 2.0, "correction2": 1.5, "eps": 1.0}
    (direction,) = LapropSpec.direction

    results = direction(grad, zero, zero, **scalars)

    assert [result.item() for result in results] == pytest.approx([1.0, 0.5, 4.0], rel=1e-15)


def test_an_old_gradient_keeps_the_size_it_had_in_its_own_time():
    """Where Adam divides the whole average by the latest root, here a huge new gradient leaves the old terms alone."""
    param, zero = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    spec = LapropSpec(ema1=0.5, ema2=1.0, bias_correction=False, lr=1.0)

    _, exp_avg, exp_avg_sq = spec.rule(param, torch.full_like(param, 1e-3), zero, zero, **spec.scalars(1))
    _, exp_avg, _ = spec.rule(param, torch.full_like(param, -1e3), exp_avg, exp_avg_sq, **spec.scalars(1))

    assert exp_avg.item() == pytest.approx(0.5 * 0.5 - 0.5, rel=1e-9)
