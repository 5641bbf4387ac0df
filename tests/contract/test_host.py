"""Does every optimizer behave as training loops, schedulers and scalers expect?"""

import inspect

import pytest
import torch
from contract.cases import WEIGHT_DECAY
from contract.runs import assert_bitwise, make_params, run, set_grads
from torch import nn

from logclock.optim import ADANA, AdamW, ScheduledOptimizer
from logclock.schedules import Constant

BACKENDS = ["loop", "foreach"]


def build(case, params, **settings):
    settings = {"lr": 1e-2, "weight_decay": WEIGHT_DECAY} | case.settings | settings
    return case.build(params, **settings)


def test_an_unknown_argument_is_a_type_error_with_a_suggestion(case):
    with pytest.raises(TypeError, match=r"weight_deca.*Did you mean 'weight_decay'"):
        case.build(case.params(), weight_deca=0.1)
    with pytest.raises(TypeError, match=r"weight_deca.*Did you mean 'weight_decay'"):
        case.build([{"params": case.params(), "weight_deca": 0.1}])
    with pytest.raises(TypeError, match="backend='loop'"):
        case.build(case.params(), foreach=True)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"lr": -1.0}, ValueError, r"lr must be > 0, got -1\.0\..*peak"),
        ({"lr": 0.0}, ValueError, "lr must be > 0"),
        ({"lr": torch.tensor([1e-3, 1e-3])}, ValueError, "one element"),
        ({"lr": "fast"}, (TypeError, ValueError), "fast"),
        ({"weight_decay": -0.1}, ValueError, r"weight_decay must be >= 0, got -0\.1"),
        ({"weight_decay": {"kind": "inverse_tim", "scale": 1.0}}, ValueError, "Did you mean 'inverse_time'"),
        ({"decay_order": "during"}, ValueError, "'before', 'after'"),
        ({"backend": "triton"}, ValueError, "unknown backend 'triton'.*Known: auto, loop, foreach"),
        ({"state_dtype": "int8"}, ValueError, "state_dtype must be None or one of float32"),
    ],
)
def test_bad_values_raise_errors_that_say_what_is_allowed(case, settings, error, message):
    with pytest.raises(error, match=message):
        build(case, case.params(), **settings)


def test_an_unknown_algorithm_is_named_with_its_nearest():
    with pytest.raises(
        ValueError, match=r"unknown optimizer 'adanna'\. Did you mean 'adana'.*Known: .*adamw, .*adana, "
    ):
        ScheduledOptimizer(make_params(), "adanna")


def test_the_signature_shows_the_hyperparameters(case):
    names = list(inspect.signature(case.build).parameters)

    assert names[:2] == ["params", "lr"]
    assert {"weight_decay", "lr_schedule", "backend", "peak_lr"} <= set(names)
    assert all(name in names for name in case.settings)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("maximize", [False, True])
def test_gradients_are_not_written(case, backend, dtype, maximize):
    params = case.params(dtype=dtype)
    optimizer = build(case, params, backend=backend, maximize=maximize)
    for step in range(3):
        set_grads(params, step)
        before = [(p.grad, p.grad.clone()) for p in params]
        optimizer.step()
        for param, (grad, value) in zip(params, before, strict=True):
            assert param.grad is grad
            assert torch.equal(grad, value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_maximize_is_minimizing_the_negative(case, backend):
    up, down = case.params(), case.params()
    run(build(case, up, maximize=True, backend=backend), up, range(4), scale=1.0)
    run(build(case, down, backend=backend), down, range(4), scale=-1.0)

    assert_bitwise(up, down)


def test_a_late_parameter_gets_the_right_first_update(case):
    early, late = case.params(((3, 2), (3, 2)))
    absent, twin = nn.Parameter(early.detach().clone()), nn.Parameter(late.detach().clone())
    optimizer, reference = build(case, [early, late]), build(case, [absent, twin])  # draws depend on the position
    for step in range(1, 8):
        late.grad = None
        early.grad = torch.ones(3, 2)
        if step >= 5:
            late.grad = torch.full((3, 2), 0.3 * step)
            twin.grad = late.grad.clone()
            reference.step()
        optimizer.step()

    if not case.is_joint:  # a number that all tensors share has moved on without the late one
        assert_bitwise([late], [twin])
    assert optimizer.state[early]["step"].item() == 7
    assert optimizer.state[late]["step"].item() == 3


def test_parameters_without_gradients_are_skipped(case):
    params = case.params()
    before = [p.detach().clone() for p in params]
    optimizer = build(case, params)
    optimizer.step()

    assert_bitwise([p.detach() for p in params], before)
    assert not optimizer.state


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tensor_lr_under_a_lambda_lr_equals_a_float_lr(case, backend):
    """The float is the float32 number that the tensor holds; the schedule ends at zero without a NaN."""
    peak = torch.tensor(1e-2).item()
    results = []
    for lr in (peak, torch.tensor(peak)):
        params = case.params()
        optimizer = build(case, params, lr=lr, backend=backend)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(1 - step / 4, 0))
        for step in range(7):
            set_grads(params, step)
            optimizer.step()
            scheduler.step()
        assert float(optimizer.param_groups[0]["lr"]) == 0
        assert optimizer.param_groups[0]["peak_lr"] == peak
        assert all(p.isfinite().all() for p in params)
        results.append(params)

    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)  # the scheduler multiplies in float32


def test_at_lr_zero_nothing_moves(case):
    params = case.params()
    before = [p.detach().clone() for p in params]
    optimizer = build(case, params)
    optimizer.param_groups[0]["lr"] = 0.0
    run(optimizer, params, range(3))

    assert_bitwise([p.detach() for p in params], before)


def test_two_groups_with_their_own_peak_get_their_own_decay():
    """At the same point of the schedule independent decay removes the same fraction, whatever the peak."""
    fast, slow = (nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    optimizer = ADANA([{"params": [fast]}, {"params": [slow], "lr": 1e-3}], lr=1e-2, weight_decay=0.004)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    for param in (fast, slow):
        param.grad = torch.zeros(3, dtype=torch.float64)
    optimizer.step()
    scheduler.step()

    assert fast[0].item() == pytest.approx(1 - 0.5 * 0.004, abs=1e-15)
    assert slow[0].item() == pytest.approx(1 - 0.5 * 0.004, abs=1e-15)


def test_an_optimizer_built_below_its_peak_can_be_told_the_peak():
    param = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = ADANA([param], lr=1e-4, peak_lr=1e-2, weight_decay=0.004)
    param.grad = torch.zeros(3, dtype=torch.float64)
    optimizer.step()

    assert param[0].item() == pytest.approx(1 - 0.01 * 0.004, abs=1e-15)


def test_a_group_may_override_any_hyperparameter(case):
    one, other = case.params(), case.params(seed=1)
    optimizer = case.build(
        [{"params": one}, {"params": other, "weight_decay": Constant(value=0.25), "lr": 0.1}], lr=1e-2
    )
    twin = case.params(seed=1)
    reference = case.build(
        [*case.params(), *twin], lr=0.1, weight_decay=Constant(value=0.25)
    )  # draws depend on the position
    run(optimizer, other, range(3))
    run(reference, twin, range(3))

    assert_bitwise(other, twin)


def test_a_group_may_name_another_algorithm():
    matrices, rest = make_params(((3, 4),)), make_params(((4,),), seed=1)
    optimizer = ADANA(
        [{"params": matrices}, {"params": rest, "algorithm": "adamw", "weight_decay": 0.1, "lr": 3e-3}], lr=1e-2
    )
    twins, others = make_params(((3, 4),)), make_params(((4,),), seed=1)
    run(optimizer, [*matrices, *rest], range(4))
    set_twins = [*twins, *others]
    one, other = ADANA(twins, lr=1e-2), AdamW(others, lr=3e-3, weight_decay=0.1)
    for step in range(4):
        set_grads(set_twins, step)
        one.step()
        other.step()

    assert_bitwise([*matrices, *rest], set_twins)
    assert "kappa" not in optimizer.param_groups[1]
    assert set(optimizer.state[rest[0]]) == {"step", "exp_avg", "exp_avg_sq"}


def test_add_param_group_after_steps(case):
    params, added = case.params(), case.params(((2, 2),), seed=3)
    optimizer = build(case, params)
    run(optimizer, params, range(3))
    optimizer.add_param_group({"params": added, "weight_decay": 0.0})
    run(optimizer, [*params, *added], range(3, 5))

    assert optimizer.state[params[0]]["step"].item() == 5
    assert optimizer.state[added[0]]["step"].item() == 2


def test_named_parameters_keep_their_names(case):
    net = nn.Linear(3, 2, bias=not case.matrices_only)
    optimizer = build(case, net.named_parameters())

    assert optimizer.param_groups[0]["param_names"] == [name for name, _ in net.named_parameters()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_scalars_and_empty_tensors_are_fine(case, backend):
    params = case.params(((), (1, 1), (0,), (0, 0), (0, 3), (1,)))
    before = params[0].item()
    optimizer = build(case, params, backend=backend)
    run(optimizer, params, range(2))

    assert params[0].item() != before
    assert all(p.isfinite().all() for p in params)


def test_sparse_gradients_raise_an_error_that_names_the_way_out(case):
    embedding = nn.Embedding(5, 2, sparse=True)
    optimizer = build(case, embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()

    with pytest.raises(RuntimeError, match=rf"{case.build.__name__} does not support sparse gradients.*sparse=False"):
        optimizer.step()


def test_complex_parameters_raise_an_error_that_names_the_way_out(case):
    with pytest.raises(TypeError, match=rf"{case.build.__name__} does not support complex.*view_as_real"):
        build(case, [nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))])


def test_step_runs_a_closure_and_returns_its_loss(case):
    params = case.params()
    optimizer = build(case, params)

    def closure():
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = sum((p**2).sum() for p in params)
        loss.backward()
        return loss

    first, _, third = (optimizer.step(closure) for _ in range(3))  # SOAP's first call makes no update
    assert third < first


def test_hooks_run_around_the_step(case):
    params = case.params()
    optimizer = build(case, params)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    run(optimizer, params, range(1))

    assert calls == ["pre", "post"]


def test_a_grad_scaler_skips_the_step_on_overflow(case):
    params = case.params()
    optimizer = build(case, params)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(sum(p.sum() for p in params)).backward()
    params[0].grad[0, 0] = float("inf")
    before = [p.detach().clone() for p in params]
    scaler.step(optimizer)
    scaler.update()

    assert_bitwise([p.detach() for p in params], before)
    assert scaler.get_scale() == 4.0
    optimizer.zero_grad()
    scaler.scale(sum(p.sum() for p in params)).backward()
    scaler.step(optimizer)
    assert optimizer.state[params[0]]["step"].item() == 1


def test_current_scalars_are_those_of_the_latest_update(case):
    params = case.params()
    optimizer = build(case, params)
    run(optimizer, params, range(5))

    (scalars,) = optimizer.current_scalars()
    expected = optimizer.spec(optimizer.param_groups[0]).scalars(5)
    assert scalars == pytest.approx({name: float(value) for name, value in expected.items()})


def test_a_clock_that_float32_cannot_advance_raises():
    params = make_params(((2,),))
    optimizer = ADANA(params)
    run(optimizer, params, range(1))
    optimizer.state[params[0]]["step"].fill_(2.0**24 - 1)
    set_grads(params, 1)

    with pytest.raises(RuntimeError, match="16777216 updates"):
        optimizer.step()


def test_betas_and_emas_together_are_refused():
    with pytest.raises(TypeError, match="not both"):
        AdamW(make_params(), betas=(0.9, 0.99), ema1=0.1)
    with pytest.raises(ValueError, match="bias_correction=False"):
        AdamW(make_params(), ema1={"kind": "inverse_time", "scale": 8.0, "offset": 8.0})
