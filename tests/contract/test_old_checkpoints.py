"""Do checkpoints that released versions wrote still load, and go on as they would have?

`checkpoints/version-0.1.0.pt` was written by version 0.1.0. For each optimizer, with the settings of CASES, it holds
the parameters and the state dict after 4 updates, and `later`, the parameters after 8, on gradients of `contract.runs`.
"""

import copy
from pathlib import Path

import pytest
import torch
from contract.cases import CASES
from contract.runs import assert_bitwise, run
from torch import nn

from logclock import ADANA

OLD = torch.load(Path(__file__).parent / "checkpoints" / "version-0.1.0.pt", weights_only=True)

# Their arithmetic is in another order since the learning rate stands outside the direction and norms are summed in
# float64: a unit in the last place for each of four updates, and what a basis or an iteration makes of it.
MOVED = {"dana": 1e-6, "muon": 1e-5, "normsgd": 1e-6, "soap": 1e-4}


def loaded(name, **settings):
    params = [nn.Parameter(p.detach().clone()) for p in OLD[name]["params"]]
    optimizer = CASES[name].build(params, **settings)
    optimizer.load_state_dict(copy.deepcopy(OLD[name]["optimizer"]))
    return optimizer, params


def test_every_optimizer_of_that_version_is_here():
    assert set(OLD) <= set(CASES)


@pytest.mark.parametrize("name", sorted(OLD))
def test_a_run_goes_on_where_it_stopped(name):
    optimizer, params = loaded(name)

    run(optimizer, params, range(4, 8))

    if name not in MOVED:
        assert_bitwise([p.detach() for p in params], [p.detach() for p in OLD[name]["later"]])
    for param, expected in zip(params, OLD[name]["later"], strict=True):
        torch.testing.assert_close(param.detach(), expected.detach(), rtol=MOVED.get(name, 0), atol=MOVED.get(name, 0))
    assert {optimizer.state[p]["step"].item() for p in params} == {8}


@pytest.mark.parametrize("name", sorted(OLD))
def test_what_that_version_did_not_have_is_filled_in_and_what_it_had_is_kept(name):
    optimizer, params = loaded(name)

    (group,), (old,) = optimizer.param_groups, OLD[name]["optimizer"]["param_groups"]
    assert {key: group[key] for key in old if key not in ("params", "backend")} == {
        key: value for key, value in old.items() if key not in ("params", "backend")
    }
    fresh = CASES[name].build([nn.Parameter(p.detach().clone()) for p in params]).param_groups[0]
    assert set(group) == set(fresh)
    assert (group["apply"], group["wrappers"]) == (fresh["apply"], [])
    optimizer.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("backend", ["compiled", "auto", "loop"])
def test_a_backend_that_no_longer_exists_is_no_obstacle(backend):
    """The backend belongs to the process: whatever the checkpoint says, the constructor's stays."""
    params = [nn.Parameter(p.detach().clone()) for p in OLD["adana"]["params"]]
    optimizer = ADANA(params, backend="foreach")
    saved = copy.deepcopy(OLD["adana"]["optimizer"])
    saved["param_groups"][0]["backend"] = backend

    optimizer.load_state_dict(saved)
    run(optimizer, params, range(4, 8))

    assert optimizer.param_groups[0]["backend"] == "foreach"
    assert_bitwise([p.detach() for p in params], [p.detach() for p in OLD["adana"]["later"]])


def test_a_pickled_optimizer_with_that_backend_is_read_too():
    params = [nn.Parameter(p.detach().clone()) for p in OLD["adana"]["params"]]
    optimizer = ADANA(params)
    state = optimizer.__getstate__()
    state["param_groups"] = [dict(optimizer.param_groups[0], backend="compiled")]
    twin = ADANA.__new__(ADANA)
    twin.__setstate__(state)

    run(twin, params, range(2))

    assert twin.param_groups[0]["backend"] == "auto"
