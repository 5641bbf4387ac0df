"""Does APOLLO rescale the gradient as it says, within its limits and with draws that anything reproduces?"""

import copy
import itertools

import pytest
import torch
from contract.runs import assert_bitwise, make_params, run, set_grads

from logclock import APOLLO, APOLLOMini
from logclock.algorithms import ApolloSpec
from logclock.algorithms.apollo import apollo
from logclock.rules.random import Draws

SHAPES = ((6, 4), (4, 6), (5, 5))


def test_the_shapes_of_the_state_by_hand():
    spec = ApolloSpec(rank=3)

    assert [spec.state_shape("exp_avg", shape) for shape in ((8, 5), (5, 8), (2, 9))] == [(8, 3), (8, 3), (9, 2)]
    assert spec.state_shape("update_norm", (8, 5)) == ()


@pytest.mark.parametrize("build", [APOLLO, APOLLOMini])
def test_an_update_has_the_rank_and_the_rows_of_the_gradient(build):
    """pytorch_optimizer's has rank r (specs/zoo.md 3.5)."""
    params = make_params(SHAPES, torch.float64)
    before = [p.detach().clone() for p in params]
    optimizer = build(params, lr=1.0, rank=1)
    run(optimizer, params, range(1))

    for param, first in zip(params, before, strict=True):
        moved, grad = first - param.detach(), param.grad
        assert torch.linalg.matrix_rank(moved) == min(param.shape)
        ratios = moved / grad
        along = 1 if param.shape[0] >= param.shape[1] else 0  # one ratio for every index of the longer side
        torch.testing.assert_close(ratios, ratios.mean(along, keepdim=True).expand_as(ratios), rtol=1e-12, atol=0)
        if build is APOLLOMini:
            torch.testing.assert_close(ratios, ratios.mean().expand_as(ratios), rtol=1e-12, atol=0)
        else:
            assert ratios.std() > 1e-3


class Identity:
    """Draws that project to nothing less: P = I for a rank of the shorter side."""

    def normal(self, name, count, shape, like, *, is_kept=False):
        return torch.eye(*shape, dtype=like.dtype).mul(shape[1] ** 0.5).unsqueeze(0)


def test_without_a_projection_the_ratios_are_those_of_adam():
    generator = torch.Generator().manual_seed(0)
    m = v = torch.zeros(6, 4, dtype=torch.float64)
    state = [torch.zeros(1, 6, 4, dtype=torch.float64), torch.zeros(1, 6, 4, dtype=torch.float64)]
    norm = torch.zeros(1, dtype=torch.float64)
    for t in range(1, 6):
        grad = torch.randn(6, 4, generator=generator, dtype=torch.float64)
        m, v = 0.9 * m + 0.1 * grad, 0.99 * v + 0.01 * grad**2
        adam = m / (v.sqrt() + 1e-6)
        update, *state, norm = apollo(
            grad[None],
            *state,
            norm,
            ema1=0.1,
            ema2=0.01,
            eps=1e-6,
            correction=1.0,
            scale=1.0,
            growth_limit=1e30,
            t=float(t),
            refresh_interval=2,
            ratio_of="rows",
            draws=Identity(),
        )

        # 1e-8 beside a norm of 0.5 or more
        torch.testing.assert_close(update[0].norm(dim=1), adam.norm(dim=1), rtol=3e-8, atol=0)


@pytest.mark.parametrize("build", [APOLLO, APOLLOMini])
def test_the_norm_grows_by_one_percent_at_most(build):
    params = make_params(SHAPES, torch.float64)
    optimizer = build(params, ema1=1.0, ema2=1.0, bias_correction=False, rank=2, scale=1.0, lr=1.0, eps=0.0)
    norms = []
    for step in range(12):
        before = [p.detach().clone() for p in params]
        set_grads(params, step, scale=2.0**step)
        optimizer.step()
        norms.append([(p.detach() - old).norm().item() for p, old in zip(params, before, strict=True)])
        kept = [optimizer.state[p]["update_norm"].item() for p in params]
        assert kept == pytest.approx(norms[-1], rel=1e-12)

    grown = [new / old for one, other in itertools.pairwise(norms) for old, new in zip(one, other, strict=True)]
    assert max(grown) < 1.01 * (1 + 1e-7)
    assert max(grown) > 1.0099


def test_a_gradient_of_zeros_does_not_starve_a_matrix():
    """Remembered as 0, the norm would have to grow from 1e-8 by 1 % an update."""
    params = make_params(((6, 4),), torch.float64)
    optimizer = APOLLO(params, lr=1e-2, rank=2)
    run(optimizer, params, range(3))
    (norm,) = [optimizer.state[p]["update_norm"].item() for p in params]
    run(optimizer, params, range(3, 4), scale=0.0)
    assert optimizer.state[params[0]]["update_norm"].item() == norm
    run(optimizer, params, range(4, 5))

    assert optimizer.state[params[0]]["update_norm"].item() > 0.1 * norm


def test_a_projection_lasts_for_its_interval_and_differs_from_the_next_and_from_its_neighbors():
    params = make_params(((4, 4), (4, 4)), torch.float64)
    optimizer = APOLLO(params, lr=1e-9, ema1=1.0, rank=2, refresh_interval=3)
    lows = []
    for _ in range(6):
        for param in params:
            param.grad = torch.eye(4, dtype=torch.float64)
        optimizer.step()
        lows.append([optimizer.state[p]["exp_avg"].clone() for p in params])

    for step in (1, 2, 4, 5):
        for ours, before in zip(lows[step], lows[step - 1], strict=True):
            torch.testing.assert_close(ours, before, rtol=1e-14, atol=1e-15)  # m + 1 (R - m) is rounded
    assert (lows[3][0] - lows[2][0]).abs().min() > 1e-6
    assert (lows[0][0] - lows[0][1]).abs().min() > 1e-6


@pytest.mark.parametrize("backend", ["loop", "foreach", "fused"])
def test_the_projection_is_that_of_the_position_on_every_backend(backend):
    params = make_params(((4, 4), (6, 3), (4, 4)), torch.float64)
    optimizer = APOLLO(params, lr=1e-9, ema1=1.0, rank=2, rounding_seed=7, backend=backend)
    for param in params:
        param.grad = torch.eye(*param.shape, dtype=torch.float64)
    optimizer.step()

    for i, param in enumerate(params):
        drawn = Draws(7, (i,)).normal("projection", 0, (min(param.shape), 2), param)[0] / 2**0.5
        torch.testing.assert_close(optimizer.state[param]["exp_avg"][: min(param.shape)], drawn, rtol=1e-15, atol=0)


def test_draws_depend_on_neither_torchs_generator_nor_the_copy():
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        params = make_params(SHAPES)
        optimizer = copy.deepcopy(APOLLO(params, lr=1e-2, rank=2))
        own = optimizer.param_groups[0]["params"]
        run(optimizer, own, range(4))
        results.append(own)

    assert_bitwise(*results)


def test_another_seed_is_another_projection():
    results = []
    for seed in (0, 1):
        params = make_params(SHAPES)
        run(APOLLO(params, lr=1e-2, rank=2, rounding_seed=seed), params, range(2))
        results.append(params)

    assert not any(torch.equal(a, b) for a, b in zip(*results, strict=True))
