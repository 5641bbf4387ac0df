import numpy as np
import pytest
import torch
from contract.runs import make_params, run
from reference.adamw import adamw as reference_adamw

from logclock import SOAP

SQUARE = ((6, 6), (5, 5))


def random_grads(shape, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def stepped(optimizer, param, grads):
    for grad in grads:
        param.grad = grad
        optimizer.step()
    return param.detach()


def test_the_first_call_only_makes_the_basis():
    param = torch.nn.Parameter(torch.ones(4, 4, dtype=torch.float64))
    optimizer = SOAP([param], lr=0.1, weight_decay=0.1)
    (grad,) = random_grads((4, 4), 1)
    stepped(optimizer, param, [grad])

    state = optimizer.state[param]
    assert torch.equal(param.detach(), torch.ones(4, 4, dtype=torch.float64))
    assert not state["exp_avg"].any()
    torch.testing.assert_close(state["row_gram"], 0.05 * grad @ grad.T)
    torch.testing.assert_close(state["col_gram"], 0.05 * grad.T @ grad)
    diagonal = state["row_basis"].T @ grad @ grad.T @ state["row_basis"]
    torch.testing.assert_close(diagonal, torch.diag(torch.diagonal(diagonal)), rtol=0, atol=1e-10)
    assert (torch.diagonal(diagonal).diff() <= 1e-12).all()  # the largest first


def test_without_rotation_it_is_adam_one_call_late():
    """Both sides longer than max_basis_size: eps is outside the root before its correction, so it is taken as 0."""
    shape, grads = (6, 4), random_grads((6, 4), 9)
    param = torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    optimizer = SOAP([param], lr=0.1, max_basis_size=3, eps=0.0, weight_decay=0.0)
    result = stepped(optimizer, param, grads)

    expected, _, _ = reference_adamw(
        np.zeros(shape),
        [g.numpy() for g in grads[1:]],
        lr=lambda t: 0.1,
        decay=lambda t: 0.0,
        beta1=0.95,
        beta2=0.95,
        eps=0.0,
    )
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12)
    assert optimizer.state[param]["row_gram"].shape == (0, 0)


def test_one_side_may_stay_unrotated():
    param = torch.nn.Parameter(torch.zeros(6, 3, dtype=torch.float64))
    optimizer = SOAP([param], lr=0.1, max_basis_size=4, refresh_interval=2, weight_decay=0.0)
    stepped(optimizer, param, random_grads((6, 3), 8))

    state = optimizer.state[param]
    assert state["row_basis"].shape == (0, 0)
    torch.testing.assert_close(
        state["col_basis"].T @ state["col_basis"], torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert param.isfinite().all()


def test_rotating_the_gradients_rotates_the_update():
    left, right = (torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q for _ in range(2))
    grads = random_grads((5, 5), 7)
    params = [torch.nn.Parameter(torch.zeros(5, 5, dtype=torch.float64)) for _ in range(2)]
    settings = {"lr": 0.1, "refresh_interval": 3, "weight_decay": 0.0}

    plain = stepped(SOAP(params[:1], **settings), params[0], grads)
    rotated = stepped(SOAP(params[1:], **settings), params[1], [left @ g @ right for g in grads])

    torch.testing.assert_close(rotated, left @ plain @ right, rtol=1e-8, atol=1e-8)


def test_bases_stay_orthogonal_over_a_long_run():
    params = make_params(((7, 4), (3, 8)))
    optimizer = SOAP(params, refresh_interval=5)
    run(optimizer, params, range(300))

    for param in params:
        for name in ("row_basis", "col_basis"):
            basis = optimizer.state[param][name]
            # float32: 60 factorisations, each orthogonal to a few units in the last place
            torch.testing.assert_close(basis.T @ basis, torch.eye(len(basis)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"refresh_interval": 0}, r"refresh_interval must be >= 1, got 0"),
        ({"max_basis_size": 0}, r"max_basis_size must be >= 1, got 0"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SOAP(make_params(SQUARE), **settings)


def test_only_matrices_are_taken():
    with pytest.raises(ValueError, match=r"a parameter of soap must be a matrix \(2-D\), got \(4,\)"):
        SOAP([torch.nn.Parameter(torch.zeros(4))])
