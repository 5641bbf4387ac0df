import pytest
import torch
from contract.runs import make_params, run, set_grads

from logclock import NormSGD


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_every_tensor_moves_by_the_learning_rate(momentum):
    params = make_params(dtype=torch.float64)
    optimizer = NormSGD(params, lr=0.25, momentum=momentum, nesterov=momentum > 0, eps=0.0)
    for step in range(3):
        before = [p.detach().clone() for p in params]
        run(optimizer, params, [step])

        for param, old in zip(params, before, strict=True):
            assert (param.detach() - old).norm().item() == pytest.approx(0.25, rel=1e-12)


def test_without_momentum_it_is_normalised_gradient_descent():
    params = make_params(dtype=torch.float64)
    before = [p.detach().clone() for p in params]
    run(NormSGD(params, lr=0.1, momentum=0.0, nesterov=False, eps=0.0), params, range(1))

    set_grads(params, 0)
    for param, old in zip(params, before, strict=True):
        torch.testing.assert_close(param.detach(), old - 0.1 * param.grad / param.grad.norm())


def test_the_first_update_points_along_the_gradient_not_the_weights():
    """The warm-up study's code starts the momentum at the weights (specs/adaptive-warmup.md 3.6)."""
    param = torch.nn.Parameter(torch.tensor([100.0, 0.0], dtype=torch.float64))
    optimizer = NormSGD([param], lr=1.0, momentum=0.95)
    param.grad = torch.tensor([0.0, 1e-3], dtype=torch.float64)
    optimizer.step()

    assert param.tolist() == pytest.approx([100.0, -1.0], rel=1e-4)  # eps against a direction of 2e-3


def test_a_zero_gradient_moves_nothing():
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = NormSGD([param], lr=1.0)
    param.grad = torch.zeros(3)
    optimizer.step()

    assert torch.equal(param.detach(), torch.ones(3))
