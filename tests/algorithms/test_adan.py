import numpy as np
import pytest
import torch
from contract.test_oracles import DECAY, PEAK, TOLERANCE, problem, require, run  # noqa: F401  problem is a fixture

from logclock import Adan
from logclock.algorithms import AdanSpec

BETAS = (0.95, 0.9, 0.97)


def test_scalars_by_hand():
    first, second = (AdanSpec(ema1=0.5, ema2=0.25, ema3=0.75).scalars(t) for t in (1, 2))

    # sums of weights after two updates: 3/4, 7/16, 15/16
    expected = {
        "has_previous": 1.0,
        "look_ahead": 0.75,
        "correction1": 4 / 3,
        "correction2": 16 / 7,
        "correction3": 4 / 15**0.5,
    }
    assert {name: second[name] for name in expected} == pytest.approx(expected, rel=1e-14)
    assert first["has_previous"] == 0.0


def test_two_updates_by_hand():
    # g = 4: m = 2, v = 0, n = 0.5 * 16. Then g = 8, d = 4: m = 5, v = 1, g + 0.75 d = 11, n = 4 + 60.5
    zero = torch.zeros(1, dtype=torch.float64)
    scalars = {"ema1": 0.5, "ema2": 0.25, "ema3": 0.5, "look_ahead": 0.75, "eps": 0.0}
    scalars |= {"correction1": 1.0, "correction2": 1.0, "correction3": 1.0}
    (direction,) = AdanSpec.direction

    one, *states = direction(zero + 4, zero, zero, zero, zero, has_previous=0.0, **scalars)
    two, *after = direction(zero + 8, *states, has_previous=1.0, **scalars)

    assert [state.item() for state in states] == [2.0, 0.0, 8.0, 4.0]
    assert [state.item() for state in after] == [5.0, 1.0, 64.5, 8.0]
    assert [one.item(), two.item()] == pytest.approx([2 / 8**0.5, 5.75 / 64.5**0.5], rel=1e-14)


def test_betas_are_those_of_the_authors_code():
    optimizer = Adan([torch.nn.Parameter(torch.zeros(1))], betas=(0.98, 0.92, 0.99))
    group = optimizer.param_groups[0]

    assert [group[name] for name in ("ema1", "ema2", "ema3")] == pytest.approx([0.02, 0.08, 0.01], rel=1e-12)
    with pytest.raises(TypeError, match="give betas or ema1 and ema2 and ema3"):
        Adan([torch.nn.Parameter(torch.zeros(1))], betas=(0.98, 0.92, 0.99), ema3=0.1)


def test_betas_of_a_group_replace_all_three_of_the_constructor():
    param = torch.nn.Parameter(torch.zeros(1))

    optimizer = Adan([{"params": [param], "betas": (0.5, 0.75, 0.875)}], ema1=0.1, ema2=0.2, ema3=0.3)

    assert [optimizer.param_groups[0][name] for name in ("ema1", "ema2", "ema3")] == [0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("decouple", "own"),
    [
        (True, {"weight_decay": DECAY}),
        (False, {"weight_decay": DECAY / (1 + PEAK * DECAY), "decay_order": "after"}),  # the proximal form
    ],
)
def test_equals_pytorch_optimizer(problem, decouple, own):  # noqa: F811
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    settings = {"lr": PEAK, "betas": BETAS, "weight_decay": DECAY}

    mine = run(lambda params: Adan(params, **settings | own), problem)
    reference = run(lambda params: package.Adan(params, weight_decouple=decouple, **settings), problem)

    np.testing.assert_allclose(mine, reference, **TOLERANCE)
