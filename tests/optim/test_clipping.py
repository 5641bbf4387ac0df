"""Is a norm bounded within the update the same as one bounded before it?"""

import copy
import io

import numpy as np
import pytest
import torch
from contract.cases import CASES
from contract.runs import make_params, run, set_grads

from logclock import ADANA, AdamW, Constant

BOUND = 0.5


def two_steps(case, backend, *, folds):
    params = case.params()
    settings = {"clip_norm": BOUND} if folds else {}
    optimizer = case.build(
        params, lr=1e-2, weight_decay=Constant(value=0.1), backend=backend, **settings, **case.settings
    )
    norms = []
    for step in range(1, 4):
        set_grads(params, step)
        if folds:
            optimizer.step()
            norms.append(optimizer.grad_norm.item())
        else:
            norms.append(torch.nn.utils.clip_grad_norm_(params, BOUND).item())
            optimizer.step()
    states = [value for param in params for name, value in optimizer.state[param].items() if name != "step"]
    return norms, [param.detach() for param in params], states


@pytest.mark.parametrize("name", ["adamw", "adana", "dana-star-mk4", "lion", "prodigy", "muon", "soap"])
@pytest.mark.parametrize("backend", ["loop", "foreach"])
def test_it_equals_a_clip_before_the_step_bit_for_bit(name, backend):
    folded, clipped = (two_steps(CASES[name], backend, folds=folds) for folds in (True, False))

    assert folded[0] == clipped[0]
    assert min(folded[0]) > BOUND
    for ours, theirs in zip(folded[1] + folded[2], clipped[1] + clipped[2], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["sgd", "normsgd"])
@pytest.mark.parametrize("backend", ["loop", "foreach"])
def test_a_sum_of_a_gradient_and_its_factor_is_rounded_once_instead_of_twice(name, backend):
    folded, clipped = (two_steps(CASES[name], backend, folds=folds) for folds in (True, False))

    for ours, theirs in zip(folded[1] + folded[2], clipped[1] + clipped[2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["adamw", "adana", "dana-star-mk4", "lion"])
def test_fused_rounds_a_clipped_update_as_it_rounds_any_other(name):
    folded, clipped = (two_steps(CASES[name], "fused", folds=folds) for folds in (True, False))

    for ours, theirs in zip(folded[1], clipped[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_by_hand():
    param = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    param.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    optimizer = ADANA([param], lr=1.0, ema1=1.0, ema2=1.0, gain=0.0, eps=0.0, clip_norm=1.0)
    optimizer.step()

    # the norm is 5, so the direction sees (0.6, 0.8) but for 1e-6 / 5, and its root mean square is kept in the state
    np.testing.assert_allclose(optimizer.state[param]["exp_avg"], [0.6, 0.8], rtol=1e-6)
    assert optimizer.grad_norm.item() == 5.0
    assert param.grad.tolist() == [3.0, 4.0]


def test_a_short_gradient_stays_as_it_is():
    params, twins = make_params(), make_params()
    clipped, plain = AdamW(params, lr=1e-2, clip_norm=1e6), AdamW(twins, lr=1e-2)

    run(clipped, params, range(3))
    run(plain, twins, range(3))

    assert all(torch.equal(ours, theirs) for ours, theirs in zip(params, twins, strict=True))
    assert plain.grad_norm is None


def test_the_norm_is_that_of_all_groups_together():
    params = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    for param, grad in zip(params, (3.0, 4.0), strict=True):
        param.grad = torch.tensor([grad])
    optimizer = ADANA([{"params": [param]} for param in params], lr=1e-3, clip_norm=1.0)

    optimizer.step()

    assert optimizer.grad_norm.item() == 5.0


def test_it_clips_after_a_scaler_has_unscaled():
    param = torch.nn.Parameter(torch.zeros(1))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    optimizer = ADANA([param], lr=1e-3, clip_norm=1.0)
    scaler.scale((param * 5.0).sum()).backward()

    scaler.step(optimizer)

    assert optimizer.grad_norm.item() == 5.0


def test_low_precision_gradients_are_clipped_without_rounding_them():
    param = torch.nn.Parameter(torch.zeros(64, dtype=torch.bfloat16))
    param.grad = torch.linspace(1, 2, 64, dtype=torch.bfloat16)
    optimizer = ADANA([param], lr=1e-3, ema1=1.0, clip_norm=0.7)
    expected = param.grad.float() * (0.7 / (optimizer_norm := param.grad.float().norm()))

    with pytest.warns(UserWarning, match="updates weights"):
        optimizer.step()

    torch.testing.assert_close(optimizer.state[param]["exp_avg"], expected, rtol=5e-3, atol=0)
    ratio = optimizer.state[param]["exp_avg"] / param.grad.float()
    assert ratio.max() / ratio.min() < 1 + 1e-6  # one factor for all: bfloat16 would have rounded each by up to 2^-8
    assert optimizer_norm > 0.7


def test_copies_and_checkpoints_keep_clipping():
    params = make_params()
    optimizer = AdamW(params, lr=1e-2, clip_norm=BOUND)
    run(optimizer, params, range(2))
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)

    copied = copy.deepcopy(optimizer)
    resumed = AdamW(make_params(), lr=1e-2, clip_norm=BOUND)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))

    assert copied.defaults["clip_norm"] == resumed.defaults["clip_norm"] == BOUND


@pytest.mark.parametrize(
    ("bound", "error", "message"),
    [
        (0.0, ValueError, r"clip_norm must be > 0 and finite, got 0\.0"),
        (float("inf"), ValueError, "None leaves gradients as they are"),
        ("1", TypeError, "clip_norm must be a number or None, got '1'"),
        (True, TypeError, "clip_norm must be a number or None, got True"),
    ],
)
def test_a_bound_that_bounds_nothing_is_refused(bound, error, message):
    with pytest.raises(error, match=message):
        AdamW(make_params(), clip_norm=bound)


def test_it_belongs_to_the_whole_optimizer():
    with pytest.raises(TypeError, match=r"clip_norm.*of the whole optimizer, not of a group"):
        AdamW([{"params": make_params(), "clip_norm": 1.0}])
