import pytest
import torch
from contract.runs import assert_bitwise, make_params, run

from logclock.optim import Muon, Muon2

SHAPES = ((6, 4), (4, 6), (5, 5))
SETTINGS = {"lr": 0.1, "weight_decay": 0.0, "iteration_dtype": "float32"}


def test_the_first_update_is_muons_of_the_signs():
    ours, theirs = make_params(SHAPES, torch.float64), make_params(SHAPES, torch.float64)
    run(Muon2(ours, **SETTINGS), ours, range(1))
    muon = Muon(theirs, **SETTINGS)
    for param, twin in zip(ours, theirs, strict=True):
        twin.grad = param.grad.sign()
    muon.step()

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)  # eps, and 1e-7 of the normalization


@pytest.mark.parametrize("factor", [2.0**-13, 2.0**13])
def test_the_size_of_the_gradient_does_not_matter(factor):
    one, other = make_params(SHAPES, torch.float64), make_params(SHAPES, torch.float64)
    run(Muon2(one, eps=0.0, **SETTINGS), one, range(5))
    run(Muon2(other, eps=0.0, **SETTINGS), other, range(5), scale=factor)

    assert_bitwise(one, other)


def test_blocks_are_matrices_of_their_own():
    (fused,) = make_params(((9, 4),))
    parts = [torch.nn.Parameter(part.clone()) for part in fused.detach().split([2, 5, 2])]
    one, other = Muon2([fused], row_blocks=[2, 5, 2], **SETTINGS), Muon2(parts, **SETTINGS)
    for seed in range(3):
        fused.grad = torch.randn(9, 4, generator=torch.Generator().manual_seed(seed))
        for part, grad in zip(parts, fused.grad.split([2, 5, 2]), strict=True):
            part.grad = grad.clone()
        one.step()
        other.step()

    assert_bitwise([fused.detach()], [torch.cat([part.detach() for part in parts])])
