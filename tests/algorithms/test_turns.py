"""Do matrices that take turns with their decompositions share the work evenly, and compute what their turn says?"""

import copy
import io

import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise, make_params, run, set_grads
from reference.soap import soap as reference

from logclock import SOAP, AdamW
from logclock.algorithms import SoapSpec
from logclock.config import to_dict
from logclock.optim import ScheduledOptimizer

SQUARES = ((4, 4), (3, 3), (4, 4), (3, 3), (4, 4))
LAYERS = ((4, 4), (4, 4), (6, 4), (4, 6)) * 3
SPREAD = {"lr": 1e-2, "refresh_interval": 3, "spread_refreshes": True}
BACKENDS = ["loop", "foreach"]


def values(optimizer, params):
    return [v for p in params for v in (p.detach(), *optimizer.state[p].values())]


@pytest.fixture
def factorised(monkeypatch):
    """Shapes of the matrices whose QR factors were taken, one entry for each of a stack."""
    shapes, plain = [], torch.linalg.qr

    def counting(matrices):
        shapes.extend([tuple(matrices.shape[-2:])] * len(matrices))
        return plain(matrices)

    monkeypatch.setattr(torch.linalg, "qr", counting)
    return shapes


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_step_decomposes_equally_many_matrices(factorised, backend):
    """12 matrices in 5 turns: 2 or 3 of them a step, each with 2 sides, after the first call, which is everybody's."""
    params = make_params(LAYERS)
    optimizer = SOAP(params, refresh_interval=5, spread_refreshes=True, backend=backend)
    run(optimizer, params, range(1))
    counts = []
    for step in range(1, 16):
        factorised.clear()
        run(optimizer, params, [step])
        counts.append(len(factorised))

    assert set(counts) == {4, 6}
    assert [sum(counts[start : start + 5]) for start in (0, 5, 10)] == [24, 24, 24]


def test_every_step_decomposes_equally_many_of_every_shape(factorised):
    """A model's four kinds in 4 turns: by their number alone the large ones would all meet in one step."""
    params = make_params(((4, 4), (4, 4), (2, 2), (9, 9)) * 4)
    optimizer = SOAP(params, refresh_interval=4, spread_refreshes=True)
    run(optimizer, params, range(1))
    for step in range(1, 9):
        factorised.clear()
        run(optimizer, params, [step])

        assert [factorised.count((side, side)) for side in (2, 4, 9)] == [2, 4, 2]


def test_without_turns_all_are_decomposed_in_the_same_step(factorised):
    params = make_params(LAYERS)
    optimizer = SOAP(params, refresh_interval=5)
    run(optimizer, params, range(5))
    assert factorised == []
    run(optimizer, params, [5])

    assert len(factorised) == 24


@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_the_reference_with_the_turns_by_hand(backend):
    """Shape by shape: the 4 x 4 matrices have turns 0, 1, 2, the 3 x 3 ones 0, 1."""
    params = make_params(SQUARES, torch.float64)
    start = [p.detach().numpy().copy() for p in params]
    optimizer = SOAP(params, weight_decay=0.0, eps=1e-8, backend=backend, **SPREAD)
    grads = [[] for _ in params]
    for step in range(12):
        set_grads(params, step)
        for history, param in zip(grads, params, strict=True):
            history.append(param.grad.numpy().copy())
        optimizer.step()

    settings = {"beta1": 0.95, "beta2": 0.95, "shampoo_beta": 0.95, "eps": 1e-8, "interval": 3}
    for param, first, history, turn in zip(params, start, grads, (0, 0, 1, 1, 2), strict=True):
        expected = reference(first, history, lr=lambda t: 1e-2, decay=lambda t: 0.0, turn=turn, **settings)
        ours = [param.detach(), *list(optimizer.state[param].values())[1:]]
        for mine, theirs in zip(ours, expected, strict=True):
            # float64 rounding of 12 updates in another order of operations
            np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_turns_go_on_after_a_checkpoint_and_in_a_copy(backend):
    params = make_params(LAYERS)
    optimizer = SOAP(params, backend=backend, **SPREAD)
    run(optimizer, params, range(5))
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    again = [torch.nn.Parameter(p.detach().clone()) for p in params]
    resumed = SOAP(again, backend=backend)  # the checkpoint brings the option
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    twin = copy.deepcopy(optimizer)

    for each in (optimizer, resumed, twin):
        run(each, each.param_groups[0]["params"], range(5, 11))

    assert_bitwise(values(resumed, again), values(optimizer, params))
    assert_bitwise(values(twin, twin.param_groups[0]["params"]), values(optimizer, params))


def test_a_group_that_is_added_later_changes_no_turn():
    early, twins, late = make_params(LAYERS), make_params(LAYERS), make_params(((4, 4), (2, 2)), seed=1)
    optimizer, reference = SOAP(early, **SPREAD), SOAP(twins, **SPREAD)
    for step in range(8):
        if step == 4:
            optimizer.add_param_group({"params": late})
        set_grads(early, step)
        set_grads(twins, step)
        set_grads(late, step)
        optimizer.step()
        reference.step()

    assert_bitwise(values(optimizer, early), values(reference, twins))
    assert optimizer.state[late[0]]["step"].item() == 4


def test_turns_run_on_over_groups_and_skip_those_without(factorised):
    params = make_params(((4, 4), (4, 4), (4, 4), (4, 4), (7,)))
    groups = [
        {"params": params[:1], "algorithm": "soap", "refresh_interval": 2, "spread_refreshes": True},
        {"params": params[4:]},
        {"params": params[1:4], "algorithm": "soap", "refresh_interval": 2, "spread_refreshes": True},
    ]
    optimizer = AdamW(groups)
    run(optimizer, params, range(1))
    for step in range(1, 7):
        factorised.clear()
        run(optimizer, params, [step])

        assert len(factorised) == 4  # two of the four matrices


def test_one_matrix_that_takes_turns_alone_takes_them_as_ever():
    one, other = make_params(((5, 4),)), make_params(((5, 4),))
    run(SOAP(one, **SPREAD), one, range(9))
    run(SOAP(other, lr=1e-2, refresh_interval=3), other, range(9))

    assert_bitwise(one, other)


def test_data_written_before_there_were_turns_stays_equal():
    assert "spread_refreshes" not in to_dict(SoapSpec())
    assert to_dict(SoapSpec(spread_refreshes=True))["spread_refreshes"] is True
    optimizer = ScheduledOptimizer(make_params(SQUARES), "soap", spread_refreshes=True)
    assert optimizer.param_groups[0]["spread_refreshes"] is True
