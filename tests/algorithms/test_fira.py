"""Is Fira Adam within its projection and the rescaled gradient beside it?"""

import itertools

import pytest
import torch
from contract.runs import make_params, run, set_grads

from logclock import Fira
from logclock.rules.linalg import right_singular_vectors

DTYPE = torch.float64


def test_singular_vectors_are_those_of_a_matrix_made_of_them():
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(2, 7, 4, generator=generator, dtype=DTYPE)).Q
    right = torch.linalg.qr(torch.randn(2, 4, 4, generator=generator, dtype=DTYPE)).Q
    matrices = left * torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=DTYPE) @ right.mT

    found = right_singular_vectors(matrices, before=right[..., :3])

    torch.testing.assert_close(found, right[..., :3], rtol=0, atol=1e-13)


def test_singular_vectors_keep_their_sign_and_start_with_a_positive_largest_element():
    matrices = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(1), dtype=DTYPE)

    first = right_singular_vectors(matrices, before=torch.zeros(1, 4, 2, dtype=DTYPE))

    assert (first.gather(-2, first.abs().argmax(-2, keepdim=True)) > 0).all()
    torch.testing.assert_close(right_singular_vectors(matrices, before=-first), -first)


def test_a_matrix_that_is_not_finite_has_none_and_the_others_of_a_stack_have():
    matrices = torch.ones(2, 5, 3)
    matrices[1, 2, 2] = torch.nan

    found = right_singular_vectors(matrices, before=torch.zeros(2, 3, 2))

    assert found[0].isfinite().all()
    assert found[1].isnan().all()


def test_the_basis_is_orthonormal_and_lasts_for_its_interval():
    params = make_params(((6, 4), (4, 6), (5, 5)), DTYPE)
    optimizer = Fira(params, lr=1e-2, rank=3, refresh_interval=4)
    bases = []
    for step in range(6):
        run(optimizer, params, range(step, step + 1))
        bases.append([optimizer.state[p]["basis"].clone() for p in params])
        for basis in bases[-1]:
            torch.testing.assert_close(basis.mT @ basis, torch.eye(3, dtype=DTYPE), rtol=0, atol=1e-12)

    same = [all(torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in itertools.pairwise(bases)]
    assert same == [True, True, True, False, True]


def test_at_full_rank_the_papers_residual_is_nothing_and_fira_is_adam_in_the_singular_basis():
    (param,) = make_params(((6, 4),), DTYPE)
    optimizer = Fira([param], lr=0.1, rank=4, scale=1.0, subtracts_whole=True, ema1=0.1, ema2=0.01, eps=1e-6)
    start = param.detach().clone()
    set_grads([param], 0)
    basis = torch.linalg.svd(param.grad).Vh.mT
    optimizer.step()

    # Adam's first step is g / (abs(g) + eps'), eps' = 1e-6 / sqrt(0.01)
    low = param.grad @ basis
    expected = start - 0.1 * (low / (low.abs() + 1e-5)) @ basis.mT
    torch.testing.assert_close(param.detach(), expected, rtol=0, atol=1e-12)


def test_what_lies_beside_the_basis_is_the_rescaled_gradient():
    (param,) = make_params(((6, 4),), DTYPE)
    optimizer = Fira([param], lr=1.0, rank=2, growth_limit=1e30)
    run(optimizer, [param], range(1))
    start = param.detach().clone()
    run(optimizer, [param], range(1, 2))

    basis = optimizer.state[param]["basis"]
    beside = torch.eye(4, dtype=DTYPE) - basis @ basis.mT
    ratios = ((start - param.detach()) @ beside) / (param.grad @ beside)
    torch.testing.assert_close(ratios, ratios.mean(1, keepdim=True).expand_as(ratios), rtol=1e-9, atol=0)


def test_the_residual_grows_by_its_limit_at_most():
    (param,) = make_params(((6, 4),), DTYPE)
    optimizer = Fira([param], lr=1e-9, rank=2, ema1=1.0, ema2=1.0, bias_correction=False)
    norms = []
    for step in range(12):
        run(optimizer, [param], range(step, step + 1), scale=2.0**step)
        norms.append(optimizer.state[param]["residual_norm"].item())

    grown = [new / old for old, new in itertools.pairwise(norms)]
    assert max(grown) == pytest.approx(1.01, rel=1e-6)
