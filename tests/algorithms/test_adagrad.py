import numpy as np
import pytest
import torch
from contract.runs import make_params
from contract.runs import run as run_steps

from logclock import AdaGrad


def test_it_is_torchs_adagrad():
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    optimizer = AdaGrad(ours, lr=0.1, initial=0.3)
    reference = torch.optim.Adagrad(theirs, lr=0.1, initial_accumulator_value=0.3)

    run_steps(optimizer, ours, range(20))
    run_steps(reference, theirs, range(20))

    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), its.detach().numpy(), rtol=1e-12)


def test_of_a_constant_gradient_the_steps_shrink_like_one_over_the_root():
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = AdaGrad([weight], lr=1.0)

    for t in range(1, 5):
        before = weight.item()
        weight.grad = torch.full((1,), 3.0, dtype=torch.float64)
        optimizer.step()
        assert before - weight.item() == pytest.approx(t**-0.5, rel=1e-9)


def test_a_first_gradient_of_zero_moves_nothing():
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.zeros(3)

    AdaGrad([weight], lr=1.0).step()

    assert torch.equal(weight, torch.ones(3))


def test_the_sum_is_kept_in_32_bits_whatever_is_asked():
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = AdaGrad([weight], lr=1.0)
    weight.grad = torch.ones(3, dtype=torch.bfloat16)

    optimizer.step()

    assert optimizer.state[weight]["grad_sq_sum"].dtype == torch.float32
