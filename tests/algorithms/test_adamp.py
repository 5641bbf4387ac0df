import math

import numpy as np
import pytest
import torch
from contract.runs import make_params
from contract.runs import run as run_steps
from contract.test_oracles import DECAY, PEAK, STEPS, require, run

from logclock import SGD, SGDP, AdamP, AdamW
from logclock.rules.projections import project

NEVER, ALWAYS = 1e-9, 1e9
"""Bounds on the cosine under which nothing, or everything that has rows, is projected."""


def projected(param, grad, update, bound, **scalars):
    given = [torch.tensor(x, dtype=torch.float64)[None] for x in (param, grad, update)]
    scalars = {"absorbed_decay": 0.0, "rate_before_decay": 0.0, "decay_ratio": 0.5, "eps": 0.0} | scalars
    (result,) = project(*given, cosine_bound=bound, **scalars)
    return result[0].tolist()


def test_rows_are_projected_one_by_one_if_all_are_orthogonal_to_the_gradient():
    param, grad = [[2.0, 0.0], [0.0, 4.0]], [[0.0, 1.0], [1.0, 0.0]]

    assert projected(param, grad, [[5.0, 6.0], [7.0, 8.0]], 0.1) == [[0.0, 6.0], [7.0, 0.0]]


def test_a_row_without_weights_keeps_its_update_whatever_eps_is():
    param, grad = [[0.0, 0.0], [0.0, 4.0]], [[1.0, 1.0], [1.0, 0.0]]

    assert projected(param, grad, [[5.0, 6.0], [7.0, 8.0]], 0.1, eps=1e-200) == [[5.0, 6.0], [7.0, 0.0]]


def test_the_whole_is_projected_if_a_row_is_not_orthogonal_but_the_sum_is():
    # the rows' cosines are 1 and -1, the inner products cancel; p = theta / 2, p . u = (5 + 6 + 7 + 8) / 2 = 13
    param, grad = [[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [-1.0, -1.0]]

    assert projected(param, grad, [[5.0, 6.0], [7.0, 8.0]], 0.1) == [[-1.5, -0.5], [0.5, 1.5]]


def test_a_gradient_along_the_weights_leaves_the_update_alone():
    param = [[1.0, 2.0], [3.0, 4.0]]

    assert projected(param, param, [[5.0, 6.0], [7.0, 8.0]], 0.1) == [[5.0, 6.0], [7.0, 8.0]]


@pytest.mark.parametrize(("length", "holds"), [(4, True), (8, False)])
def test_the_bound_falls_with_the_root_of_the_length_of_a_row(length, holds):
    """A cosine of 0.04 against 0.1 / sqrt(length), which is 0.05 and 0.035."""
    param = [[1.0] + [0.0] * (length - 1)] * 2  # two equal rows: the whole has the same cosine and a smaller bound
    grad = [[0.04, math.sqrt(1 - 0.04**2)] + [0.0] * (length - 2)] * 2

    result = projected(param, grad, param, 0.1)

    assert result == ([[0.0] * length] * 2 if holds else param)


# The step (0, 2) is orthogonal to the weights (4, 0) and stays; half of a decay of 1/4 acts on (4, 0) - before (0, 2).
@pytest.mark.parametrize(("before", "expected"), [(0.0, [0.5, 2.0]), (2.0, [0.5, 1.5])])
def test_projected_weights_decay_by_a_share_before_or_after_the_step(before, expected):
    scalars = {"absorbed_decay": 0.25, "rate_before_decay": before}

    assert projected([[4.0, 0.0]], [[0.0, 1.0]], [[0.0, 2.0]], 0.1, **scalars) == [expected]


@pytest.mark.parametrize("shape", [(), (5,), (0,), (0, 3), (3, 0)])
def test_what_has_no_rows_keeps_its_update(shape):
    x = torch.ones(1, *shape)
    scalars = {"absorbed_decay": 0.5, "rate_before_decay": 0.0, "decay_ratio": 0.1, "eps": 0.0}

    (result,) = project(x, torch.zeros_like(x), 2 * x, cosine_bound=ALWAYS, **scalars)

    assert torch.equal(result, 2.5 * x)


TWINS = {
    "AdamP": (AdamP, {"betas": (0.9, 0.98)}, AdamW, {"betas": (0.9, 0.98)}),
    "SGDP": (SGDP, {"momentum": 0.9, "nesterov": True}, SGD, {"momentum": 0.9, "nesterov": True}),
}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("order", ["before", "after"])
def test_without_a_projection_they_are_what_they_project(name, order):
    ours, settings, theirs, their_settings = TWINS[name]
    mine, reference = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    shared = {"lr": 1e-2, "weight_decay": 0.1, "decay_order": order}

    run_steps(ours(mine, cosine_bound=NEVER, **shared, **settings), mine, range(30))
    run_steps(theirs(reference, **shared, **their_settings), reference, range(30))

    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", [AdamP, SGDP])
def test_a_projected_step_is_orthogonal_to_every_row(build):
    params = make_params(((5, 3), (2, 3, 2)), dtype=torch.float64)
    before = [p.detach().clone() for p in params]

    run_steps(build(params, lr=0.1, eps=0.0, cosine_bound=ALWAYS, weight_decay=0.0), params, range(1))

    for param, first in zip(params, before, strict=True):
        along = ((param.detach() - first) * first).flatten(1).sum(1)
        assert along.abs().max() < 1e-14
        assert (param.detach() - first).abs().max() > 1e-3


@pytest.fixture
def matrices():
    rows = np.random.default_rng(3).standard_normal((1 + STEPS, 30))
    rows[1:] *= np.geomspace(1.0, 0.1, STEPS)[:, None]
    return rows


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("delta", [0.1, 1.5, 4.0])  # nothing, some updates and all of them are projected
def test_adamp_equals_pytorch_optimizer(matrices, delta, nesterov):
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    shared = {"lr": PEAK, "weight_decay": DECAY, "betas": (0.9, 0.98), "nesterov": nesterov}

    mine = run(lambda p: AdamP(p, cosine_bound=delta, **shared), matrices, (6, 5))
    reference = run(lambda p: package.AdamP(p, delta=delta, **shared), matrices, (6, 5))

    # specs/zoo.md 7: it adds eps to the root before correcting it, which is 1e-7 of the first updates
    np.testing.assert_allclose(mine, reference, rtol=0, atol=1e-7)


@pytest.mark.parametrize("delta", [0.1, 1.5, 4.0])
def test_sgdp_equals_pytorch_optimizer(matrices, delta):
    """Which decays by 1 / (1 - mu) times as much, as the authors do."""
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    shared = {"lr": PEAK, "momentum": 0.9, "dampening": 0.25, "nesterov": True}

    mine = run(lambda p: SGDP(p, cosine_bound=delta, weight_decay=DECAY / (1 - 0.9), **shared), matrices, (6, 5))
    reference = run(lambda p: package.SGDP(p, delta=delta, weight_decay=DECAY, **shared), matrices, (6, 5))

    np.testing.assert_allclose(mine, reference, rtol=1e-10, atol=1e-10)
