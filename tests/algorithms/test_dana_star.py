import pytest
import torch

from logclock.algorithms import DanaStarSpec
from logclock.schedules import log_time_decay


@pytest.mark.parametrize(("t", "ema"), [(1, 8 / 9), (10, 4 / 9), (1_000_000, 1 / 125_001)])
def test_scalars_by_hand(t, ema):
    spec = DanaStarSpec(lr=0.002, weight_decay=log_time_decay(4.0, offset=100.0))

    assert spec.scalars(t) == pytest.approx(
        {
            "lr": 0.002,
            "ema1": ema,
            "ema2": ema,
            "t": t,
            "gain_exponent": 0.15,
            "tau_floor": 1 / (1 + t),
            "clip_grad": 2.0,
            "eps": 1e-8,
            "decay": 4 / (100 + t),
        },
        rel=1e-14,
    )


# eps = 2 and sqrt(v) = 2 throughout.
@pytest.mark.parametrize(
    ("state", "grad", "clip_grad", "ema2", "t", "exponent", "expected"),
    [
        # m = 2; abs(g) / (abs(g) + 2 + 2) = 1/2 keeps tau = 1/2, so p = 1; kept = 2 / (4 + 2) = 1/3;
        # e = 6 * 1/2 = 3, gain (3 + 1)^(1/2) = 2; update (4/3 + 2 * 2) / 4 = 4/3
        ((0.0, 0.0, 0.5), 4.0, 1.0, 0.25, 6.0, 0.5, (4 / 3, 2.0, 4.0, 0.5)),
        # the same without a bound on the gradient: (4 + 4) / 4
        ((0.0, 0.0, 0.5), 4.0, 1e30, 0.25, 6.0, 0.5, (2.0, 2.0, 4.0, 0.5)),
        # no gradient: m = 2, v = 4, tau = 0.01, p is the floor 0.04; e = max(0.06, 1), gain 2^1;
        # update (0 + 2 * 2) * 0.2 / 4
        ((4.0, 16.0, 0.02), 0.0, 1.0, 0.75, 6.0, 1.0, (0.2, 2.0, 4.0, 0.01)),
        # tau = 1 + 0.5 (1/2 - 1) = 3/4 is capped at 1/2: p = 1; e = 3; gain 4^(1/2); as the first case
        ((0.0, 0.0, 1.0), 4.0, 1.0, 0.25, 4.0, 0.5, (4 / 3, 2.0, 4.0, 0.75)),
    ],
)
def test_one_update_by_hand(state, grad, clip_grad, ema2, t, exponent, expected):
    tensors = [torch.tensor([value], dtype=torch.float64) for value in (grad, *state)]
    scalars = {"ema1": 0.5, "ema2": ema2, "t": t, "gain_exponent": exponent, "tau_floor": 0.04}
    (direction,) = DanaStarSpec.direction

    results = direction(*tensors, **scalars, clip_grad=clip_grad, eps=2.0)

    assert [result.item() for result in results] == pytest.approx(expected, rel=1e-14)


def test_a_coordinate_without_history_or_gradient_stays_where_it_is():
    spec = DanaStarSpec(clip_grad=None)
    tensors = [torch.tensor([value], dtype=torch.float64) for value in (2.0, 0.0, 0.0, 0.0, 0.0)]

    results = spec.rule(*tensors, **spec.scalars(1))

    assert [result.item() for result in results] == [2.0, 0.0, 0.0, 0.0]
