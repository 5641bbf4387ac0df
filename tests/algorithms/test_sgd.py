import pytest
import torch

from logclock.algorithms import SgdSpec
from logclock.schedules import InverseTime


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (SgdSpec(), {"lr": 1e-3, "momentum": 0.0, "grad_weight": 0.0, "buffer_weight": 1.0, "decay": 0.0}),
        (
            SgdSpec(lr=0.1, momentum=0.9, weight_decay=0.5),
            {"lr": 0.1, "momentum": 0.9, "grad_weight": 0.0, "buffer_weight": 1.0, "decay": 0.05},
        ),
        (
            SgdSpec(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.5, decay_coupling="independent"),
            {"lr": 0.1, "momentum": 0.9, "grad_weight": 1.0, "buffer_weight": 0.9, "decay": 0.5},
        ),
    ],
)
@pytest.mark.parametrize("t", [1, 10, 1e6])
def test_scalars_by_hand(spec, t, expected):
    assert spec.scalars(t) == pytest.approx(expected, rel=1e-15)


def test_momentum_may_be_scheduled():
    spec = SgdSpec(momentum=InverseTime(scale=1.0, offset=1.0), nesterov=True)

    assert [spec.scalars(t)["momentum"] for t in (1, 3)] == [0.5, 0.25]
    assert [spec.scalars(t)["buffer_weight"] for t in (1, 3)] == [0.5, 0.25]


@pytest.mark.parametrize(
    ("nesterov", "expected_param"),
    # b = 0.5 * 8 + 2 = 6; heavy ball 1 - 0.1 * 6 - 0.2; nesterov 1 - 0.1 * (2 + 0.5 * 6) - 0.2
    [(False, 0.2), (True, 0.3)],
)
def test_one_update_by_hand(nesterov, expected_param):
    spec = SgdSpec(lr=0.1, momentum=0.5, nesterov=nesterov, weight_decay=2.0)
    one, two, eight = (torch.tensor([value], dtype=torch.float64) for value in (1.0, 2.0, 8.0))

    param, buffer = spec.rule(one, two, eight, **spec.scalars(1))

    assert param.item() == pytest.approx(expected_param, rel=1e-14)
    assert buffer.item() == 6.0
