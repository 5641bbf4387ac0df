import math

import pytest
import torch

from logclock.algorithms import DanaStarMk4Spec
from logclock.schedules import log_time_decay


@pytest.mark.parametrize(("t", "ema"), [(1, 8 / 9), (10, 4 / 9), (1_000_000, 1 / 125_001)])
def test_scalars_by_hand(t, ema):
    spec = DanaStarMk4Spec(lr=0.002, weight_decay=log_time_decay(4.0, offset=100.0))
    decay = 4 / (100 + t)

    # Decay comes after the update: lr is reduced by it.
    assert spec.scalars(t) == pytest.approx(
        {
            "lr": 0.002 * (1 - decay),
            "ema1": ema,
            "ema2": ema,
            "t": t,
            "gain_exponent": 0.15,
            "gain_offset": 1.0,
            "tau_floor": 1 / (1 + t),
            "clip_snr": 2.0,
            "eps": 1e-8,
            "decay": decay,
        },
        rel=1e-14,
    )


def test_no_clip_is_an_infinite_one():
    assert DanaStarMk4Spec(clip_snr=None).scalars(1)["clip_snr"] == math.inf


# eps = 2 and sqrt(v) = 2 throughout: r = sqrt(p) / 4.
@pytest.mark.parametrize(
    ("state", "grad", "clip_snr", "ema2", "t", "exponent", "expected"),
    [
        # m = 2, tau = 1/2, p = 1, r = 1/4: (4 + 2) / 4 = 1.5; e = 6 * 1/2 = 3, e^1 abs(m) r / p = 1.5, clipped at 1
        ((0.0, 0.0, 0.5), 4.0, 1.0, 0.25, 6.0, 1.0, (2.5, 2.0, 4.0, 0.5)),
        ((0.0, 0.0, 0.5), 4.0, math.inf, 0.25, 6.0, 1.0, (3.0, 2.0, 4.0, 0.5)),
        ((0.0, 0.0, 0.5), -4.0, 1.0, 0.25, 6.0, 1.0, (-2.5, -2.0, 4.0, 0.5)),
        # e = 16 * 1/2 = 8, 8^(1/3) = 2: 2 * 2 / 4 = 1
        ((0.0, 0.0, 0.5), 4.0, math.inf, 0.25, 16.0, 1 / 3, (2.5, 2.0, 4.0, 0.5)),
        # no gradient: m = -2, tau = 0.01, p is the floor 0.04, r = 0.05: m r = -0.1;
        # e = max(0.06, 1) = 1, abs(m) r / p = 2.5, clipped at 2, times p sign(m): -0.08
        ((-4.0, 16.0, 0.02), 0.0, 2.0, 0.75, 6.0, 1.0, (-0.18, -2.0, 4.0, 0.01)),
        # tau = 1 + 0.5 (1/2 - 1) = 3/4 is capped at 1/2 in p alone: e = 4 * 3/4 = 3; as the second case
        ((0.0, 0.0, 1.0), 4.0, math.inf, 0.25, 4.0, 1.0, (3.0, 2.0, 4.0, 0.75)),
    ],
)
def test_one_update_by_hand(state, grad, clip_snr, ema2, t, exponent, expected):
    tensors = [torch.tensor([value], dtype=torch.float64) for value in (grad, *state)]
    scalars = {"ema1": 0.5, "ema2": ema2, "t": t, "gain_exponent": exponent, "gain_offset": 1.0}
    (direction,) = DanaStarMk4Spec.direction

    results = direction(*tensors, **scalars, tau_floor=0.04, clip_snr=clip_snr, eps=2.0)

    assert [result.item() for result in results] == pytest.approx(expected, rel=1e-14)
