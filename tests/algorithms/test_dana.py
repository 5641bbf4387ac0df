import pytest
import torch

from logclock import SGD, Dana
from logclock.algorithms import DanaSpec
from logclock.optim import from_spec
from logclock.schedules import Constant, InverseTime
from logclock.theory import dana_decaying, surrogate_plrf


@pytest.mark.parametrize(
    ("spec", "t", "expected"),
    [
        (
            DanaSpec(lr=0.2),
            4,  # 0.5 * 4^-0.5 = 1/4; 6 / (6 + 4)
            {"lr": 0.2, "gamma1": 1.0, "gamma2": 1.0, "gamma3": 0.25, "damping": 0.6, "decay": 0.0},
        ),
        (
            DanaSpec(lr=0.2, gamma1=3.0, gamma2=0.5, gamma3=0.25, damping=0.1, weight_decay=0.5),
            1000,
            {"lr": 0.2, "gamma1": 3.0, "gamma2": 0.5, "gamma3": 0.25, "damping": 0.1, "decay": 0.1},
        ),
        (
            DanaSpec(lr=2.0, c3=1.0, kappa=1.0, delta=2.0, weight_decay=0.25, decay_order="after"),
            8,  # coupled: decay = 2 * 0.25; the step is scaled by 1 - 0.5
            {"lr": 1.0, "gamma1": 1.0, "gamma2": 1.0, "gamma3": 0.125, "damping": 0.2, "decay": 0.5},
        ),
    ],
)
def test_scalars_by_hand(spec, t, expected):
    assert spec.scalars(t) == pytest.approx(expected, rel=1e-14)


def test_every_coefficient_may_be_scheduled():
    slot = InverseTime(scale=1.0, offset=1.0)
    spec = DanaSpec(lr=0.5, gamma1=slot, gamma2=slot, gamma3=slot, damping=slot)

    expected = {"lr": 0.5, "gamma1": 0.25, "gamma2": 0.25, "gamma3": 0.25, "damping": 0.25, "decay": 0.0}
    assert spec.scalars(3) == expected


def test_one_update_by_hand():
    spec = DanaSpec(lr=0.1, gamma1=2.0, gamma2=3.0, gamma3=0.5, damping=0.25, weight_decay=1.0)
    one, two, eight = (torch.tensor([value], dtype=torch.float64) for value in (1.0, 2.0, 8.0))

    param, buffer = spec.rule(one, two, eight, **spec.scalars(1))

    # y = 0.75 * 8 + 2 * 2 = 10; theta = 1 - 0.1 * (3 * 2 + 0.5 * 10) - 0.1 * 1
    assert buffer.item() == pytest.approx(10.0, rel=1e-14)
    assert param.item() == pytest.approx(-0.2, rel=1e-14)


def descend(build, num_steps=40):
    """Run an optimizer on a quadratic with gradient noise that is the same for all."""
    generator = torch.Generator().manual_seed(0)
    param = torch.nn.Parameter(torch.ones(7, dtype=torch.float64))
    optimizer = build([param])
    for _ in range(num_steps):
        param.grad = param.detach() + torch.randn(7, dtype=torch.float64, generator=generator)
        optimizer.step()
    return param.detach()


def test_without_the_momentum_it_is_sgd():
    ours = descend(lambda params: Dana(params, lr=0.1, gamma3=0.0))

    torch.testing.assert_close(ours, descend(lambda params: torch.optim.SGD(params, lr=0.1)), rtol=1e-12, atol=0)


def test_with_constants_it_is_sgd_with_momentum():
    ours = descend(lambda params: Dana(params, lr=0.1, gamma2=0.0, gamma3=1.0, damping=0.1))

    torch.testing.assert_close(
        ours, descend(lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9)), rtol=1e-12, atol=0
    )


def test_with_constants_and_a_gradient_step_it_is_nesterov():
    ours = descend(lambda params: Dana(params, lr=0.1, gamma2=1.0, gamma3=0.9, damping=0.1))

    nesterov = descend(lambda params: SGD(params, lr=0.1, momentum=0.9, nesterov=True))
    torch.testing.assert_close(ours, nesterov, rtol=1e-12, atol=0)


def test_the_defaults_are_the_theorys_dana_decaying():
    problem = surrogate_plrf(1.0, 0.3, num_features=10, ambient_dim=40)
    algorithm = dana_decaying(problem, kappa=0.5)
    spec = DanaSpec(lr=algorithm.gamma2)

    for t in (1, 7, 1e6):
        scalars = spec.scalars(t)
        ours = {
            "gamma1": scalars["gamma1"],
            "gamma2": scalars["lr"] * scalars["gamma2"],
            "gamma3": scalars["lr"] * scalars["gamma3"],
            "damping": scalars["damping"],
        }
        assert ours == pytest.approx(algorithm.coefficients(t)._asdict(), rel=1e-14)


def test_a_constant_schedule_is_the_number():
    spec = DanaSpec(lr=0.1, gamma3=Constant(value=0.3), damping=0.2)

    torch.testing.assert_close(
        descend(lambda params: from_spec(spec, params)),
        descend(lambda params: Dana(params, lr=0.1, gamma3=0.3, damping=0.2)),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kappa": -0.1}, "kappa must be >= 0, got -0.1"),
        ({"c3": -1.0}, "c3 must be >= 0, got -1.0"),
        ({"delta": 0.0}, "delta must be > 0, got 0.0"),
        ({"gamma1": -1.0}, "gamma1 must be >= 0, got -1.0"),
        ({"gamma3": -1.0}, "gamma3 must be >= 0, got -1.0"),
        ({"damping": 1.5}, r"damping must lie in \[0, 1\], got 1.5. It is 1 - momentum."),
    ],
)
def test_values_out_of_range_raise(wrong, message):
    with pytest.raises(ValueError, match=message):
        DanaSpec(**wrong)
