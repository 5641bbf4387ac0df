import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from contract import optax_run
from contract.test_oracles import TOLERANCE, problem, require, run  # noqa: F401  problem is a fixture

from logclock import ADOPT
from logclock.algorithms import AdoptSpec
from logclock.schedules import log_time_ema


def test_equals_optax(problem, tmp_path):  # noqa: F811
    """Without decay, which optax leaves to a chain."""
    require("optax", "0.2.8")
    np.save(tmp_path / "in.npy", problem)
    settings = json.dumps({"learning_rate": 1e-2, "b1": 0.9, "b2": 0.98, "eps": 1e-6})
    files = [str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    command = [sys.executable, str(Path(optax_run.__file__)), "contrib.adopt", settings, *files]

    mine = run(lambda params: ADOPT(params, lr=1e-2, ema1=0.1, ema2=0.02), problem)
    done = subprocess.run(command, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(mine, np.load(tmp_path / "out.npy"), **TOLERANCE)


@pytest.mark.parametrize("backend", ["loop", "foreach"])
def test_the_first_call_sets_the_second_moment_and_moves_nothing(backend):
    param = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    param.grad = torch.tensor([3.0, 0.0])
    optimizer = ADOPT([param], lr=0.5, weight_decay=0.1, backend=backend)

    optimizer.step()

    assert param.tolist() == [1.0, -2.0]
    assert optimizer.state[param]["exp_avg_sq"].tolist() == [9.0, 0.0]
    assert optimizer.state[param]["exp_avg"].tolist() == [0.0, 0.0]


def test_a_coordinate_that_wakes_up_is_bounded_by_a_power_of_the_updates_made():
    """v is 0 there, so that the quotient is the gradient over eps: 16 updates before the 17th bound it by 2."""
    param = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = ADOPT([param], lr=1.0, ema1=1.0)
    for grad in [0.0] * 16 + [-5.0]:
        param.grad = torch.tensor([grad], dtype=torch.float64)
        optimizer.step()

    assert param.item() == pytest.approx(2.0, rel=1e-14)


def test_without_a_bound_the_quotient_is_what_it_is():
    param = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = ADOPT([param], lr=1.0, ema1=1.0, clip_exponent=None)
    for grad in (0.5, 40.0):
        param.grad = torch.tensor([grad], dtype=torch.float64)
        optimizer.step()

    assert param.item() == pytest.approx(-80.0, rel=1e-14)


def test_averages_may_be_scheduled():
    spec = AdoptSpec(ema1=log_time_ema(1.0), ema2=log_time_ema(3.0))

    assert (spec.scalars(1)["ema1"], spec.scalars(1)["ema2"]) == (0.0, 1.0)
    assert (spec.scalars(3)["ema1"], spec.scalars(3)["ema2"]) == (0.25, 0.5)


def test_an_eps_of_zero_is_refused():
    with pytest.raises(ValueError, match="eps must be > 0"):
        AdoptSpec(eps=0.0)
