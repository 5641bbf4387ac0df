import math
from decimal import Decimal

import pytest
import torch

from logclock.algorithms import DanaMk4Spec
from logclock.schedules import log_time_decay


@pytest.mark.parametrize(("t", "ema"), [(1, 8 / 9), (10, 4 / 9), (1_000_000, 1 / 125_001)])
def test_scalars_by_hand(t, ema):
    spec = DanaMk4Spec(lr=0.002, weight_decay=log_time_decay(4.0, offset=100.0))
    decay = 4 / (100 + t)

    # Decay comes after the update: lr is reduced by it.
    assert spec.scalars(t) == pytest.approx(
        {
            "lr": 0.002 * (1 - decay),
            "ema1": ema,
            "ema2": ema,
            "gain": float(Decimal(1 + t) ** Decimal("0.15")),
            "gain_offset": 1.0,
            "clip_snr": 2.0,
            "eps": 1e-8,
            "decay": decay,
        },
        rel=1e-14,
    )


def test_no_clip_is_an_infinite_one():
    assert DanaMk4Spec(clip_snr=None).scalars(1)["clip_snr"] == math.inf


@pytest.mark.parametrize(
    ("sign", "clip_snr", "expected_update"),
    # From 0: m = 2 sign, v = 4, root 2.5; gain abs(m) / root = 2.4; (g + 1 m) / root = 2.4 sign.
    [(1, 2.0, 4.4), (1, 3.0, 4.8), (1, math.inf, 4.8), (-1, 2.0, -4.4), (-1, math.inf, -4.8)],
)
def test_one_update_by_hand(sign, clip_snr, expected_update):
    grad, zero = (torch.tensor([value], dtype=torch.float64) for value in (4.0 * sign, 0.0))
    scalars = {"ema1": 0.5, "ema2": 0.25, "gain": 3.0, "gain_offset": 1.0, "eps": 0.5}
    (direction,) = DanaMk4Spec.direction

    results = direction(grad, zero, zero, clip_snr=clip_snr, **scalars)

    expected = [expected_update, 2.0 * sign, 4.0]
    assert [result.item() for result in results] == pytest.approx(expected, rel=1e-14)
