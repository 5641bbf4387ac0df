"""Are products by halves, which leave out zeros, the whole products?"""

import pytest
import torch

from logclock.rules import linalg
from logclock.rules.linalg import symmetric_product, transposed_upper_times, upper_product, upper_times

SIDES = (1, 8, 37)


@pytest.fixture(autouse=True)
def halves_from_8(monkeypatch):
    monkeypatch.setattr(linalg, "HALVED_FROM", 8)


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("num_cols", [1, 11])
def test_triangular_times_matrices(side, num_cols):
    upper, matrices = torch.triu(random(3, side, side)), random(3, num_cols, side).mT

    torch.testing.assert_close(upper_times(upper, matrices), upper @ matrices, rtol=0, atol=1e-12)
    torch.testing.assert_close(transposed_upper_times(upper, matrices), upper.mT @ matrices, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", SIDES)
def test_the_product_of_triangular_matrices_is_triangular(side):
    one, other = torch.triu(random(3, side, side)), torch.triu(random(3, side, side).mT)

    product = upper_product(one, other)

    torch.testing.assert_close(product, one @ other, rtol=0, atol=1e-12)
    assert torch.equal(product, torch.triu(product))


@pytest.mark.parametrize("side", SIDES)
def test_a_symmetric_product_is_symmetric_to_the_last_bit(side):
    matrices = random(3, side, 20)

    product = symmetric_product(matrices, matrices.mT)

    torch.testing.assert_close(product, matrices @ matrices.mT, rtol=0, atol=1e-12)
    assert torch.equal(product[:, : side // 2, side // 2 :], product[:, side // 2 :, : side // 2].mT)
