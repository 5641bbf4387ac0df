import itertools

import numpy as np
import pytest
import torch
from contract.test_oracles import require, run

from logclock import Signum, SPlus


def random_rows(count, size, seed=1):
    return np.random.default_rng(seed).standard_normal((count, size))


def stepped(build, grads, **settings):
    param = torch.nn.Parameter(torch.zeros_like(grads[0]))
    optimizer = build([param], weight_decay=0.0, **settings)
    for grad in grads:
        param.grad = grad
        optimizer.step()
    return param.detach(), optimizer


def test_equals_pytorch_optimizer_on_square_matrices():
    """At the weights that are trained; their decay is multiplied by 2 / (m + n), here 1 / 6."""
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    rows = random_rows(25, 36)
    settings = {"lr": 0.1, "betas": (0.9, 0.99)}

    mine = run(
        lambda p: SPlus(p, lr=0.1, ema1=0.1, gram_ema=0.01, refresh_interval=3, weight_decay=0.6 / 6), rows, (6, 6)
    )
    theirs = run(lambda p: package.SPlus(p, inverse_steps=3, weight_decay=0.6, **settings), rows, (6, 6))

    # theirs decomposes in float32; a sign that turned would move an element by about 2 lr / 6 = 0.03
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5)


def test_without_a_basis_it_is_signum_at_a_rate_by_shape():
    grads = [torch.from_numpy(row.reshape(6, 2)) for row in random_rows(7, 12)]

    ours, _ = stepped(SPlus, grads, lr=0.1, ema1=0.1, max_basis_size=1)
    theirs, _ = stepped(Signum, grads, lr=0.1 * 2 / 8, ema1=0.1)

    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_an_update_has_the_norm_of_a_matrix_of_signs():
    """Rotations keep the Frobenius norm: sqrt(m n) times lr 2 / (m + n)."""
    grads = [torch.from_numpy(row.reshape(5, 5)) for row in random_rows(4, 25)]
    before, _ = stepped(SPlus, grads[:3], lr=0.1, refresh_interval=2)
    after, _ = stepped(SPlus, grads, lr=0.1, refresh_interval=2)

    assert (after - before).norm().item() == pytest.approx(5 * 0.1 * 2 / 10)


def test_bases_are_made_after_the_first_update_and_every_kth():
    grads = [torch.from_numpy(row.reshape(4, 4)) for row in random_rows(9, 16)]
    made = []
    for count in range(1, 10):
        _, optimizer = stepped(SPlus, grads[:count], refresh_interval=4)
        (state,) = optimizer.state.values()
        made.append(state["row_basis"].clone())

    assert [not torch.equal(a, b) for a, b in itertools.pairwise(made)] == [i in (2, 6) for i in range(8)]
