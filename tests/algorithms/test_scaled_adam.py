import pytest
import torch
from contract.runs import make_params, run

from logclock import ScaledAdam
from logclock.algorithms import ScaledAdamSpec


def test_scalars_of_a_period_by_hand():
    spec = ScaledAdamSpec(ema2=0.5, size_interval=2)
    names = ("begins_period", "ends_period", "measures_size")

    assert [[spec.scalars(t)[name] for name in names] for t in (1, 2, 3, 4)] == [
        [1.0, 0.0, 1.0],
        [0.0, 1.0, 1.0],
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 1.0],
    ]
    # 1 - 0.5^2 = 3/4 is the weight of a period's squares, and of v after two updates
    second = spec.scalars(2)
    assert (second["size_ema"], second["size_correction"]) == pytest.approx((0.75, 0.75**0.5), rel=1e-14)
    assert (second["correction"], second["number_correction"]) == pytest.approx((0.75**-0.5,) * 2, rel=1e-14)


def test_the_correction_of_tensors_ends_where_it_is_a_hundredth_and_that_of_numbers_goes_on():
    spec = ScaledAdamSpec()  # 1 - 0.98^227 = 0.9898 and 1 - 0.98^228 = 0.98999, then 0.9902

    assert spec.scalars(227)["correction"] == spec.scalars(227)["number_correction"] > 1
    assert spec.scalars(229)["correction"] == 1.0
    assert spec.scalars(229)["number_correction"] > 1


def one_step(values, grads, **settings):
    param = torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))
    optimizer = ScaledAdam([param], eps=0.0, **settings)
    for grad in grads:
        param.grad = torch.tensor(grad, dtype=torch.float64)
        optimizer.step()
    return param.tolist()


def test_the_first_step_is_a_tenth_of_lr_in_units_of_the_size():
    # g / sqrt(v) c2 is the sign of g, the size of (3, -4) is sqrt(12.5), and a tenth of the move is made at once
    expected = 0.1 * 0.5 * 12.5**0.5

    assert one_step([3.0, -4.0], [[2.0, 5.0]], lr=0.5) == pytest.approx([3 - expected, -4 - expected], rel=1e-14)


def test_a_parameter_of_one_element_moves_by_a_tenth_of_lr_whatever_its_size_and_is_bounded():
    assert one_step([5.0], [[-3.0]], lr=0.5) == pytest.approx([5 + 0.1 * 0.5 * 0.1], rel=1e-14)
    assert one_step([25.0], [[-3.0]], lr=0.5) == pytest.approx([10 + 0.1 * 0.5 * 0.1], rel=1e-14)


def test_at_the_end_of_a_period_the_whole_tensor_grows_against_the_slope():
    """With a period of 1: q = sum(theta g) = 2, sqrt(s) of its corrected square is 2, so h = -lr size_lr."""
    without = one_step([1.0, 1.0], [[1.0, 1.0]], lr=0.5, size_interval=1, size_lr=0.0)
    with_size = one_step([1.0, 1.0], [[1.0, 1.0]], lr=0.5, size_interval=1, size_lr=0.1)

    assert [b - a for a, b in zip(without, with_size, strict=True)] == pytest.approx([-0.1 * 0.5 * 0.1] * 2, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "growth"),
    [
        ({"largest_growth": 0.01}, 0.01),
        ({"largest_rms": 1.02}, 0.02),  # the size is 1
        ({"smallest_rms": 1.5}, 0.0),
    ],
)
def test_the_growth_of_a_size_is_bounded(settings, growth):
    settings = {"lr": 0.5, "size_interval": 1, "size_lr": 0.1} | settings
    still = one_step([1.0, -1.0], [[-1.0, 1.0]], **settings | {"size_lr": 0.0})
    grown = one_step([1.0, -1.0], [[-1.0, 1.0]], **settings)

    assert [b - a for a, b in zip(still, grown, strict=True)] == pytest.approx([0.1 * growth, -0.1 * growth], abs=1e-14)


def test_weights_twice_as_large_move_twice_as_far():
    """But for the numbers, whose steps have a length of their own."""
    small, large = (make_params(((5, 3), (4,)), dtype=torch.float64) for _ in range(2))
    with torch.no_grad():
        for param in large:
            param.mul_(2)

    for params in (small, large):
        run(ScaledAdam(params, lr=0.03, eps=0.0, largest_rms=100.0), params, range(20))

    for a, b in zip(small, large, strict=True):
        torch.testing.assert_close(2 * a.detach(), b.detach(), rtol=1e-13, atol=0)


def test_the_momentum_is_one_of_moves_so_that_a_fall_of_the_rate_is_felt_late():
    param = torch.nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
    optimizer = ScaledAdam([param], lr=0.5, eps=0.0)
    for lr in (0.5, 0.25):
        param.grad = torch.ones(2, dtype=torch.float64)
        before = param.detach().clone()
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()

    # D: a tenth of 0.5, then 0.9 of that and a tenth of 0.25
    torch.testing.assert_close(param.detach() - before, torch.full_like(before, -(0.9 * 0.05 + 0.1 * 0.25)))
