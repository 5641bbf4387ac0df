import copy
import io

import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise, make_params, set_grads
from reference.sophia_g import sophia_g as reference
from torch import nn

from logclock import AdamW, SophiaG
from logclock.algorithms import SophiaGSpec
from logclock.backends import fused

NO_FUSED = fused.unavailable_reason(torch.device("cpu"))
BACKENDS = [
    "loop",
    "foreach",
    pytest.param("fused", marks=pytest.mark.skipif(NO_FUSED is not None, reason=str(NO_FUSED))),
]
SHAPES = ((5, 3), (4,), (2, 3, 2), ())


def give(optimizer, params, seed, *, samples=64):
    """Give gradients that depend on a seed as an estimate."""
    with optimizer.curvature(samples=samples):
        set_grads(params, 500 + seed, scale=0.1)


def steps(optimizer, params, numbers):
    for step in numbers:
        if optimizer.is_due("curvature"):
            give(optimizer, params, step)
        set_grads(params, step)
        optimizer.step()


@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_the_reference_with_estimates(backend):
    params = make_params(SHAPES, torch.float64)
    starts = [p.detach().numpy().copy() for p in params]
    histories, estimates = [[] for _ in params], [{} for _ in params]
    settings = {"betas": (0.9, 0.95), "rho": 0.5, "estimate_interval": 3}
    optimizer = SophiaG(params, lr=1e-2, weight_decay=0.1, backend=backend, **settings)
    for step in range(1, 14):
        if optimizer.is_due("curvature"):
            with optimizer.curvature(samples=64):
                set_grads(params, 500 + step, scale=0.1)
                for own, param in zip(estimates, params, strict=True):
                    own[step] = param.grad.numpy().copy()
        set_grads(params, step)
        for history, param in zip(histories, params, strict=True):
            history.append(param.grad.numpy().copy())
        optimizer.step()

    assert [list(own) for own in estimates] == [[1, 4, 7, 10, 13]] * len(params)
    for param, first, history, own in zip(params, starts, histories, estimates, strict=True):
        expected = reference(
            first,
            history,
            lr=lambda t: 1e-2,
            decay=lambda t: 1e-3,
            beta1=0.9,
            beta2=0.95,
            rho=0.5,
            tokens=64,
            estimates=own,
        )
        ours = [param.detach(), *(v for k, v in optimizer.state[param].items() if k != "step")]
        for mine, theirs in zip(ours, expected, strict=True):
            np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-12, atol=1e-13)


def test_a_step_by_hand():
    """h = 0.5 * 8 * 0.5^2 = 1, m = 0.5 * (0.25, 4): the first coordinate moves by m / (rho h), the second by lr."""
    param = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = SophiaG([param], lr=0.5, betas=(0.5, 0.5), rho=0.25, eps=1e-30, weight_decay=0.0)
    with optimizer.curvature(samples=8):
        param.grad = torch.full((2,), 0.5, dtype=torch.float64)
    param.grad = torch.tensor([0.25, -4.0], dtype=torch.float64)
    optimizer.step()

    assert optimizer.state[param]["hessian"].tolist() == [1.0, 1.0]
    assert param.tolist() == pytest.approx([-0.5 * 0.5, 0.5], rel=1e-14)


def test_the_gauss_newton_diagonal_of_a_softmax_is_what_sampled_labels_average_to():
    """One logit vector for all labels: B b^2 averages to p (1 - p), the diagonal of diag(p) - p p^T."""
    generator = torch.Generator().manual_seed(0)
    logits = nn.Parameter(torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))
    optimizer = SophiaG([logits], ema2=1.0)  # h is the latest estimate
    probs, total = logits.detach().softmax(0), torch.zeros(3, dtype=torch.float64)
    for _ in range(500):
        labels = torch.multinomial(probs, 16, replacement=True, generator=generator)
        with optimizer.curvature(samples=16):
            logits.grad = (probs - nn.functional.one_hot(labels, 3).double()).mean(0)
        total += optimizer.state[logits]["hessian"] / 500

    # the square of a nearly normal number varies by sqrt(2) of its mean: 6 % for a mean of 500, and four times that
    torch.testing.assert_close(total, probs * (1 - probs), rtol=0.25, atol=0)


def test_gradients_from_before_are_back_and_those_of_the_estimate_are_gone():
    params = make_params(SHAPES)
    optimizer = SophiaG(params)
    set_grads(params, 1)
    params[1].grad = None
    before = [param.grad for param in params]

    with optimizer.curvature(samples=2):
        assert all(param.grad is None for param in params)
        set_grads(params, 2)

    assert all(param.grad is grad for param, grad in zip(params, before, strict=True))
    assert [optimizer.state[param]["num_estimates"].item() for param in params] == [1.0] * 4


def test_an_error_within_leaves_everything_as_it_was():
    params = make_params(SHAPES)
    optimizer = SophiaG(params)
    set_grads(params, 1)
    before = [param.grad for param in params]

    def interrupted():
        with optimizer.curvature(samples=2):
            set_grads(params, 2)
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()

    assert all(param.grad is grad for param, grad in zip(params, before, strict=True))
    assert not optimizer.state


def test_a_step_without_any_estimate_says_what_to_do_and_changes_nothing():
    params = make_params(SHAPES)
    optimizer = SophiaG(params, estimate_interval=3)
    for step in range(3):
        set_grads(params, step)
        optimizer.step()
    before = [p.detach().clone() for p in params]
    set_grads(params, 3)

    message = r"3 updates without an estimate of the curvature.*with optimizer\.curvature\(samples=.*backward\(\)"
    for _ in range(2):
        with pytest.raises(RuntimeError, match=message):
            optimizer.step()
    assert_bitwise([p.detach() for p in params], before)
    give(optimizer, params, 3)
    steps(optimizer, params, range(3, 9))


def test_estimates_are_due_at_the_first_update_and_every_interval():
    params = make_params(SHAPES)
    optimizer = SophiaG(params, estimate_interval=4)
    due = []
    for step in range(10):
        due.append(optimizer.is_due("curvature"))
        give(optimizer, params, step)
        set_grads(params, step)
        optimizer.step()

    assert [step + 1 for step, is_due in enumerate(due) if is_due] == [1, 5, 9]
    assert SophiaGSpec(estimate_interval=1).is_due("curvature", 7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_resume_and_copies_with_estimates_are_bitwise(backend):
    params = make_params(SHAPES)
    settings = {"estimate_interval": 2, "state_dtype": {"hessian": "bfloat16_stochastic"}, "backend": backend}
    optimizer = SophiaG(params, **settings)
    steps(optimizer, params, range(5))
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    again = [nn.Parameter(p.detach().clone()) for p in params]
    resumed = SophiaG(again, **settings)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    copied = copy.deepcopy(optimizer)
    twins = copied.param_groups[0]["params"]

    for own, members in ((optimizer, params), (resumed, again), (copied, twins)):
        steps(own, members, range(5, 10))

    assert_bitwise(again, params)
    assert_bitwise(twins, params)


def test_only_parameters_with_a_gradient_take_an_estimate():
    first, second = make_params(((3,), (3,)))
    optimizer = SophiaG([{"params": [first]}, {"params": [second], "algorithm": "adamw"}])
    with optimizer.curvature(samples=1):
        first.grad, second.grad = torch.ones(3), torch.ones(3)

    assert optimizer.state[first]["num_estimates"].item() == 1
    assert second not in optimizer.state


def test_a_body_without_gradients_is_refused():
    optimizer = SophiaG(make_params(SHAPES))

    message = r"no gradient was computed within optimizer\.curvature.*backward"
    with pytest.raises(RuntimeError, match=message), optimizer.curvature(samples=1):
        pass


def test_an_algorithm_that_reads_no_curvature_says_who_does():
    optimizer = AdamW(make_params(SHAPES))

    assert not optimizer.is_due("curvature")
    with pytest.raises(TypeError, match=r"AdamW takes no 'curvature'.*sophia-g"), optimizer.curvature(samples=1):
        pass
    with pytest.raises(ValueError, match=r"unknown second gradient 'curvatur'\. Did you mean 'curvature'"):
        optimizer.is_due("curvatur")


@pytest.mark.parametrize("samples", [0, -3])
def test_a_count_of_samples_that_is_none_is_refused(samples):
    optimizer = SophiaG(make_params(SHAPES))

    with pytest.raises(ValueError, match=rf"samples must be > 0, got {samples}"), optimizer.curvature(samples=samples):
        pass


def test_an_estimate_that_is_not_finite_follows_the_policy():
    params = make_params(SHAPES)
    skipping, raising = SophiaG(params, skip_nonfinite="skip"), SophiaG(params, skip_nonfinite="raise")

    with skipping.curvature(samples=1):
        set_grads(params, 1, scale=float("nan"))
    assert not skipping.state
    with pytest.raises(ValueError, match="hold NaN"), raising.curvature(samples=1):
        set_grads(params, 1, scale=float("nan"))


def test_no_estimate_is_taken_at_the_weights_to_evaluate():
    params = make_params(SHAPES)
    optimizer = SophiaG(params, wrappers=["schedule_free"])
    steps(optimizer, params, range(2))

    with optimizer.evaluated(), pytest.raises(RuntimeError, match="those to evaluate"):
        optimizer.curvature(samples=1)
