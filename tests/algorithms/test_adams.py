import pytest
import torch
from contract.runs import assert_bitwise, make_params, run

from logclock import AdamS
from logclock.algorithms import AdamsSpec


def test_one_update_by_hand():
    # h = 2, g = 4: m = 3, the mixture 0.75 * 4 + 0.25 * 16 = 7
    grad, exp_avg = (torch.tensor([value], dtype=torch.float64) for value in (4.0, 2.0))
    (direction,) = AdamsSpec.direction

    update, average = direction(grad, exp_avg, ema1=0.5, ema2=0.25, eps=1.0)

    assert average.item() == 3.0
    assert update.item() == pytest.approx(3 / (7**0.5 + 1), rel=1e-14)


def test_the_first_step_is_ema1_over_the_root_of_ema2():
    params = make_params(dtype=torch.float64)
    before = [p.detach().clone() for p in params]

    run(AdamS(params, lr=0.5, eps=0.0), params, range(1))

    for param, first in zip(params, before, strict=True):
        torch.testing.assert_close(first - param.detach(), 0.5 * 0.1 / 0.05**0.5 * param.grad.sign())


@pytest.mark.parametrize("ratio", [-10.0, 0.0, 0.1, 2.1, 10.0])
def test_no_step_is_longer_than_its_bound(ratio):
    """By Cauchy and Schwarz, over all gradients g = ratio * h; reached at h / g = (0.9 / 0.95) / (0.1 / 0.05)."""
    bound = (0.9**2 / 0.95 + 0.1**2 / 0.05) ** 0.5
    (direction,) = AdamsSpec.direction
    one = torch.ones(1, dtype=torch.float64)

    update, _ = direction(ratio * one, one, ema1=0.1, ema2=0.05, eps=0.0)
    longest, _ = direction(one, 0.9 / 0.95 / 2 * one, ema1=0.1, ema2=0.05, eps=0.0)

    assert abs(update.item()) <= bound
    assert longest.item() == pytest.approx(bound, rel=1e-14)


def test_the_size_of_the_gradient_does_not_matter():
    results = []
    for scale in (1.0, 2.0**-12):
        params = make_params(dtype=torch.float64)
        run(AdamS(params, lr=1e-2, eps=0.0), params, range(20), scale)
        results.append(params)

    assert_bitwise(*results)
