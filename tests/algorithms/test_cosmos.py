import numpy as np
import pytest
import torch
from contract.runs import make_params, run
from reference.cosmos import cosmos as reference

from logclock import COSMOS


def random_grads(shape, count, seed=0):
    return list(torch.from_numpy(np.random.default_rng(seed).standard_normal((count, *shape))))


def stepped(grads, **settings):
    param = torch.nn.Parameter(torch.zeros_like(grads[0]))
    optimizer = COSMOS([param], weight_decay=0.0, **{"lr": 0.5, "ema1": 0.1, "ema2": 0.04} | settings)
    for grad in grads:
        param.grad = grad
        optimizer.step()
    return param.detach(), optimizer.state[param]


def test_every_update_has_the_stated_size():
    param = torch.nn.Parameter(torch.zeros(7, 4, dtype=torch.float64))
    optimizer = COSMOS([param], lr=0.5, rank=2, weight_decay=0.0)
    for grad in random_grads((7, 4), 6):
        before = param.detach().clone()
        param.grad = 1e-3 * grad
        optimizer.step()

        assert (param.detach() - before).square().mean().sqrt().item() == pytest.approx(0.5 * 0.1)


def test_the_directions_stay_orthonormal():
    _, state = stepped(random_grads((5, 8), 40), rank=3)

    torch.testing.assert_close(state["basis"].T @ state["basis"], torch.eye(3).double(), rtol=0, atol=1e-12)


def test_the_directions_follow_the_largest_of_the_gradients():
    """Columns scaled by 5, 4, 1, ..., 1: U comes to span the first two coordinates."""
    scales = torch.tensor([5.0, 4.0, 1.0, 1.0, 1.0]).double()
    _, state = stepped([grad * scales for grad in random_grads((6, 5), 300)], rank=2, ema2=0.02)

    assert state["basis"][:2].square().sum().item() == pytest.approx(2.0, abs=0.1)


def test_with_all_directions_nothing_is_left_for_muon():
    grads = random_grads((6, 4), 8)

    whole, _ = stepped(grads, rank=4)
    without, _ = stepped(grads, rank=4, share=0.0)

    torch.testing.assert_close(whole, without, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("shape", "settings", "theirs"),
    [
        ((4, 6), {"rank": 3, "share": 0.0}, {"r": 3, "gamma": 0.0}),
        ((6, 4), {"rank": 9}, {"r": 9}),
        ((3, 5), {"rank": 9}, {"r": 9}),
        ((5, 5), {"rank": 2, "nesterov": False}, {"r": 2, "nesterov": False}),
        ((5, 5), {"rank": 2, "update_rms": 0.7}, {"r": 2, "lr_ratio": 0.7}),
    ],
)
def test_equals_the_reference_in_every_form(shape, settings, theirs):
    grads = random_grads(shape, 8)

    ours, _ = stepped(grads, **settings)

    common = {"b1": 0.9, "b2": 0.96, "eps": 1e-8, "gamma": 0.2, "lr_ratio": 0.1}
    expected, *_ = reference(
        np.zeros(shape), [g.numpy() for g in grads], lr=lambda t: 0.5, decay=lambda t: 0.0, **common | theirs
    )
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-11)


def test_a_gradient_that_is_not_finite_shows_and_does_not_stop_the_program():
    params = make_params(((4, 4), (4, 4)))
    optimizer = COSMOS(params, rank=2, backend="foreach")
    params[0].grad, params[1].grad = torch.full((4, 4), torch.nan), torch.ones(4, 4)
    optimizer.step()

    assert params[0].isnan().all()
    assert params[1].isfinite().all()


def test_zero_gradients_leave_the_weights():
    params = make_params(((4, 4),))
    before = params[0].detach().clone()
    run(COSMOS(params, rank=2, weight_decay=0.0), params, range(3), scale=0.0)

    assert torch.equal(params[0].detach(), before)


def test_a_look_ahead_without_momentum_is_refused():
    with pytest.raises(ValueError, match="ema1 must be < 1 with nesterov=True"):
        COSMOS(make_params(((3, 3),)), ema1=1.0)
