import pytest
import torch
from contract.runs import make_params, run

from logclock import ADANA, AdamW, SimplifiedAdEMAMix
from logclock.algorithms import SimplifiedAdemamixSpec
from logclock.schedules import Constant, HalfLifeRamp


def test_one_update_by_hand():
    # b = 0.5 * 2 + 4 = 5, v = 0.25 * 16 = 4: (5 + 3 * 4) / (2 * 1.5 + 1)
    grad, buffer, zero = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 2.0, 0.0))
    scalars = {"ema1": 0.5, "ema2": 0.25, "grad_weight": 3.0, "correction2": 1.5, "eps": 1.0}
    (direction,) = SimplifiedAdemamixSpec.direction

    assert [x.item() for x in direction(grad, buffer, zero, **scalars)] == [4.25, 5.0, 4.0]


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("grad_weight", [0.5, 10.0])
def test_it_is_adana_with_a_constant_memory_and_gain(grad_weight):
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    shared = {"ema1": 0.05, "ema2": 0.01, "weight_decay": Constant(value=0.1), "decay_coupling": "independent"}

    run(SimplifiedAdEMAMix(ours, lr=1e-3, grad_weight=grad_weight, bias_correction=False, **shared), ours, range(40))
    run(ADANA(theirs, lr=1e-3 * grad_weight, gain=1 / (grad_weight * 0.05), **shared), theirs, range(40))

    close(ours, theirs)


def test_without_the_gradients_weight_it_is_adamw_at_a_hundredfold_rate_without_correction_of_m():
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    shared = {"ema1": 0.01, "ema2": 0.01, "bias_correction": False, "weight_decay": 0.0}

    run(SimplifiedAdEMAMix(ours, lr=1e-4, **shared), ours, range(40))
    run(AdamW(theirs, lr=1e-2, **shared), theirs, range(40))

    close(ours, theirs)


def test_the_memory_may_be_warmed_up_while_v_is_corrected():
    ramp = HalfLifeRamp(start=0.1, end=0.001, steps=100)

    scalars = SimplifiedAdemamixSpec(ema1=ramp, ema2=0.5).scalars(1)

    assert scalars["ema1"] == ramp(1)
    assert scalars["correction2"] == pytest.approx(2**0.5, rel=1e-15)
    with pytest.raises(ValueError, match="set bias_correction=False for a scheduled ema2"):
        SimplifiedAdemamixSpec(ema2=ramp)
