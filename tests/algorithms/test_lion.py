import pytest
import torch

from logclock.algorithms import LionSpec
from logclock.schedules import log_time_ema


def test_scalars_by_hand():
    spec = LionSpec(lr=2e-4, ema1=0.05, ema2=0.02, weight_decay=0.5)

    for t in (1, 10, 1e6):
        assert spec.scalars(t) == pytest.approx({"lr": 2e-4, "ema1": 0.05, "ema2": 0.02, "decay": 1e-4}, rel=1e-15)


def test_both_averages_may_be_scheduled():
    scalars = LionSpec(ema1=log_time_ema(1.0), ema2=log_time_ema(2.0)).scalars(3)

    assert (scalars["ema1"], scalars["ema2"]) == (0.25, 0.4)


@pytest.mark.parametrize(
    ("momentum", "expected_update", "expected_momentum"),
    # g = 4: the sign of m + 0.5 (4 - m), and m + 0.25 (4 - m)
    [(0.0, 1.0, 1.0), (-8.0, -1.0, -5.0), (-4.0, 0.0, -2.0)],
)
def test_one_update_by_hand(momentum, expected_update, expected_momentum):
    grad, exp_avg = (torch.tensor([value], dtype=torch.float64) for value in (4.0, momentum))
    (direction,) = LionSpec.direction

    results = direction(grad, exp_avg, ema1=0.5, ema2=0.25)

    assert [result.item() for result in results] == pytest.approx([expected_update, expected_momentum], rel=1e-15)
