import pytest
import torch

from logclock.algorithms import SignumSpec
from logclock.schedules import InverseTime


@pytest.mark.parametrize(("nesterov", "ema_ahead"), [(False, 0.0), (True, 0.05)])
@pytest.mark.parametrize("t", [1, 10, 1e6])
def test_scalars_by_hand(nesterov, ema_ahead, t):
    spec = SignumSpec(lr=2e-4, ema1=0.05, nesterov=nesterov, weight_decay=0.5)

    assert spec.scalars(t) == pytest.approx({"lr": 2e-4, "ema1": 0.05, "ema_ahead": ema_ahead, "decay": 1e-4})


def test_the_average_may_be_scheduled():
    scalars = SignumSpec(ema1=InverseTime(scale=1.0, offset=1.0), nesterov=True).scalars(3)

    assert (scalars["ema1"], scalars["ema_ahead"]) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("momentum", "nesterov", "expected_update", "expected_momentum"),
    # g = 3. m + 0.25 (3 - m); ahead once more: -1.5 -> -0.375, 0 -> 0.75, -0.75 -> 0.1875.
    [
        (0.0, False, 1.0, 0.75),
        (-3.0, False, -1.0, -1.5),
        (-3.0, True, -1.0, -1.5),
        (-1.0, False, 0.0, 0.0),
        (-1.0, True, 1.0, 0.0),
        (-2.0, False, -1.0, -0.75),
        (-2.0, True, 1.0, -0.75),
    ],
)
def test_one_update_by_hand(momentum, nesterov, expected_update, expected_momentum):
    grad, exp_avg = (torch.tensor([value], dtype=torch.float64) for value in (3.0, momentum))
    (direction,) = SignumSpec.direction

    results = direction(grad, exp_avg, ema1=0.25, ema_ahead=0.25 if nesterov else 0.0)

    assert [result.item() for result in results] == pytest.approx([expected_update, expected_momentum], rel=1e-15)
