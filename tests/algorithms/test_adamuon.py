import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise
from reference.adamuon import adamuon as reference

from logclock.optim import AdaMuon


def random_matrices(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def after(param, grads, **settings):
    optimizer = AdaMuon([param], **{"lr": 0.1, "weight_decay": 0.0, "iteration_dtype": "float32"} | settings)
    for grad in grads:
        param.grad = grad.clone()
        optimizer.step()
    return param.detach()


@pytest.mark.parametrize("takes_sign", [True, False])
@pytest.mark.parametrize("nesterov", [True, False])
def test_signs_and_look_ahead_equal_the_reference(takes_sign, nesterov):
    start, grads = random_matrices(6, 4), [random_matrices(6, 4, seed=s) for s in range(1, 7)]

    ours = after(torch.nn.Parameter(start.clone()), grads, takes_sign=takes_sign, nesterov=nesterov)

    expected, _, _ = reference(
        start.numpy(),
        [grad.numpy() for grad in grads],
        lr=lambda t: 0.1,
        decay=lambda t: 0.0,
        beta1=0.95,
        beta2=0.95,
        eps=1e-8,
        nesterov=nesterov,
        takes_sign=takes_sign,
    )
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-11, atol=1e-12)


def test_every_update_has_a_root_mean_square_of_a_fifth():
    start, grad = random_matrices(6, 9), random_matrices(6, 9, seed=1)

    moved = after(torch.nn.Parameter(start.clone()), [grad]) - start

    assert moved.square().mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=1e-12)


def test_the_first_update_sees_signs_only():
    """Gradients of one sign pattern make one update, whatever their sizes."""
    start, grad = random_matrices(6, 4), random_matrices(6, 4, seed=1)
    sizes = random_matrices(6, 4, seed=2).abs() + 0.1

    results = [after(torch.nn.Parameter(start.clone()), [g]) for g in (grad, grad * sizes)]

    assert_bitwise(*[[result] for result in results])


def test_blocks_have_norms_of_their_own():
    fused, grads = random_matrices(9, 4).float(), [random_matrices(9, 4, seed=s).float() for s in range(1, 4)]

    whole = after(torch.nn.Parameter(fused.clone()), grads, row_blocks=[2, 5, 2])
    parts = [
        after(torch.nn.Parameter(part.clone()), [grad.split([2, 5, 2])[i] for grad in grads])
        for i, part in enumerate(fused.split([2, 5, 2]))
    ]

    assert_bitwise([whole], [torch.cat(parts)])
