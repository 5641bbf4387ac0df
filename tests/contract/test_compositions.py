"""Does every algorithm under every wrapper and apply stage keep the promises of the contract?

The product has some five hundred members; each algorithm's sample runs by default, chosen so that together they hold
every wrapper with every apply stage, and the rest is `slow`.
"""

import copy
import dataclasses
import io
import itertools
import pickle

import pytest
import torch
from contract.cases import CASES, WEIGHT_DECAY
from contract.runs import assert_bitwise, make_params, run, set_grads
from torch import nn

from logclock.backends import fused
from logclock.rules import Apply, Spec, Wrapper

MATRICES, OTHERS = ((4, 4), (3, 3), (4, 4)), ((5, 3), (7,), (2, 3, 2), (), (1,), (0,))
NO_FUSED = fused.unavailable_reason(torch.device("cpu"))
BACKENDS = [
    "loop",
    "foreach",
    pytest.param("fused", marks=pytest.mark.skipif(NO_FUSED is not None, reason=str(NO_FUSED))),
]


@dataclasses.dataclass(frozen=True)
class Composition:
    """An algorithm with what stands around it."""

    algorithm: str
    apply: str
    wrapper: str | None

    @property
    def case(self):
        return CASES[self.algorithm]

    @property
    def decays(self):
        return Apply.family.get(self.apply).decays

    @property
    def matrices_only(self):
        return self.case.matrices_only or Apply.family.get(self.apply).matrices_only

    def params(self, dtype=torch.float32):
        shapes = MATRICES if self.matrices_only else MATRICES + OTHERS
        return make_params(shapes, dtype)

    def build(self, params, **settings):
        settings = {"lr": 1e-2, "weight_decay": WEIGHT_DECAY if self.decays else 0.0} | self.case.settings | settings
        wrappers = [] if self.wrapper is None else [self.wrapper]
        return self.case.build(params, apply=self.apply, wrappers=wrappers, **settings)


def compositions():
    """Yield the product; the n-th algorithm's n-th, (n + step)-th, ... pair of options runs by default."""
    pairs = list(itertools.product(Apply.family, [None, *Wrapper.family]))
    for n, algorithm in enumerate(Spec.family):
        for i, (apply, wrapper) in enumerate(pairs):
            runs_by_default = (i - 5 * n) % 21 == 0
            marks = () if runs_by_default else (pytest.mark.slow,)
            yield pytest.param(Composition(algorithm, apply, wrapper), marks=marks, id=f"{algorithm}-{apply}-{wrapper}")


SAMPLE = list(compositions())


@pytest.fixture(params=SAMPLE)
def composed(request):
    return request.param


def test_the_sample_holds_every_pair_of_options_and_two_members_of_every_algorithm():
    sampled = [param.values[0] for param in SAMPLE if not param.marks]

    pairs = {(c.apply, c.wrapper) for c in sampled}
    assert pairs == set(itertools.product(Apply.family, [None, *Wrapper.family]))
    assert all(sum(c.algorithm == name for c in sampled) >= 2 for name in Spec.family)


def values(optimizer, params):
    return [*(p.detach() for p in params), *(v for p in params for v in optimizer.state[p].values())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_foreach_equals_loop(composed, dtype):
    """Bit for bit where no stage multiplies matrices, whose products may be summed in another order in a stack."""
    results = []
    for backend in ("loop", "foreach"):
        params = composed.params(dtype)
        optimizer = composed.build(params, backend=backend)
        run(optimizer, params, range(4))
        results.append(values(optimizer, params))

    if optimizer.spec(optimizer.param_groups[0]).rule.is_elementwise:
        assert_bitwise(*results)
        return
    for ours, theirs in zip(*results, strict=True):
        tolerance = {torch.float32: 2e-4, torch.float64: 1e-10, torch.bfloat16: 2e-2}[dtype]
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.skipif(NO_FUSED is not None, reason=str(NO_FUSED))
def test_fused_only_rounds_otherwise_than_loop(composed):
    """An update moves a weight by about 1e-2 of its size: four of them, rounded otherwise, stay within 1e-5.

    A matrix stage amplifies the rounding of what it gets, and a sign may turn where an average is a rounding error.
    """
    results = []
    for backend in ("loop", "fused"):
        params = composed.params()
        optimizer = composed.build(params, backend=backend)
        run(optimizer, params, range(4))
        results.append(torch.cat([param.detach().flatten() for param in params]))

    is_elementwise = optimizer.spec(optimizer.param_groups[0]).rule.is_elementwise
    tolerance = 1e-5 if is_elementwise else 2e-4
    num_apart = ((results[0] - results[1]).abs() > tolerance * results[0].abs().clamp(min=1)).sum()
    assert num_apart <= (3 if composed.case.jumps else 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_resume_is_bitwise_through_a_checkpoint_and_a_copy(composed, backend):
    params = composed.params(torch.bfloat16 if backend == "loop" else torch.float32)
    optimizer = composed.build(params, backend=backend)
    run(optimizer, params, range(3))
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    again = [nn.Parameter(p.detach().clone()) for p in params]
    resumed = composed.case.build(again, backend=backend)  # the checkpoint brings the options
    twins = {
        "copied": copy.deepcopy(optimizer),
        "pickled": pickle.loads(pickle.dumps(optimizer)),
        "resumed": resumed,
    }
    resumed.load_state_dict(torch.load(buffer, weights_only=True))

    run(optimizer, params, range(3, 6))

    for twin in twins.values():
        own = twin.param_groups[0]["params"]
        run(twin, own, range(3, 6))
        assert_bitwise(values(twin, own), values(optimizer, params))


def test_a_late_parameter_gets_the_updates_that_it_would_get_alone(composed):
    early, late = make_params(((3, 3), (3, 3)))
    absent, twin = nn.Parameter(early.detach().clone()), nn.Parameter(late.detach().clone())
    optimizer, reference = composed.build([early, late]), composed.build([absent, twin])  # draws depend on the position
    for step in range(1, 7):
        set_grads([early, late], step)
        if step < 4:
            late.grad = None
        else:
            twin.grad = late.grad.clone()
            reference.step()
        optimizer.step()

    if not composed.case.is_joint:  # a number that all tensors share has moved on without the late one
        assert_bitwise(values(optimizer, [late]), values(reference, [twin]))
    assert optimizer.state[late]["step"].item() == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_maximize_is_minimizing_the_negative(composed, backend):
    up, down = composed.params(), composed.params()
    one, other = composed.build(up, backend=backend, maximize=True), composed.build(down, backend=backend)
    run(one, up, range(3))
    run(other, down, range(3), scale=-1.0)

    assert_bitwise(values(one, up), values(other, down))


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_not_written_and_every_element_stays_finite(composed, backend):
    params = composed.params()
    optimizer = composed.build(params, backend=backend)
    for step in range(3):
        set_grads(params, step)
        before = [p.grad.clone() for p in params]
        optimizer.step()
        assert_bitwise([p.grad for p in params], before)

    assert all(p.isfinite().all() for p in params)


@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_gradients_without_decay_move_nothing(composed, backend):
    """With decay, LAMB's ratio moves by lr, whatever the decay is: only options without it are still."""
    params = composed.params(torch.float64)
    before = [p.detach().clone() for p in params]
    run(composed.build(params, lr=0.5, weight_decay=0.0, backend=backend), params, range(3), scale=0.0)

    for param, first in zip(params, before, strict=True):
        torch.testing.assert_close(param.detach(), first, rtol=1e-14, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_learning_rate_of_zero_moves_nothing(composed, backend):
    params = composed.params(torch.float64)
    before = [p.detach().clone() for p in params]
    optimizer = composed.build(params, backend=backend)
    optimizer.param_groups[0]["lr"] = 0.0
    run(optimizer, params, range(3))

    for param, first in zip(params, before, strict=True):
        torch.testing.assert_close(param.detach(), first, rtol=1e-14, atol=1e-16)
    assert optimizer.state[params[0]]["step"].item() == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_strides_and_slices_do_not_change_a_bit(composed, backend):
    plain = make_params(((6, 4),))
    whole = torch.zeros(6, 9)
    laid_out = [
        nn.Parameter(plain[0].detach().T.contiguous().T),
        nn.Parameter(whole[:, 1:9:2]),
    ]
    whole[:, 1:9:2] = plain[0].detach()
    reference = composed.build(plain, backend=backend)
    optimizers = [composed.build([param], backend=backend) for param in laid_out]
    for step in range(3):
        set_grads(plain, step)
        reference.step()
        for param, optimizer in zip(laid_out, optimizers, strict=True):
            param.grad = plain[0].grad.clone()
            optimizer.step()

    is_elementwise = reference.spec(reference.param_groups[0]).rule.is_elementwise
    for param in laid_out:
        # sums over a tensor and products of matrices run in the order of the memory
        torch.testing.assert_close(
            param.detach(), plain[0].detach(), rtol=1e-3 if not is_elementwise else 1e-6, atol=1e-6
        )
    assert not whole[:, ::2].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_weights_to_evaluate_come_and_go(composed, backend):
    params = composed.params()
    optimizer = composed.build(params, backend=backend)
    run(optimizer, params, range(3))
    trained = [p.detach().clone() for p in params]

    with optimizer.evaluated():
        changed = not all(torch.equal(p.detach(), old) for p, old in zip(params, trained, strict=True))
        assert all(p.isfinite().all() for p in params)

    assert changed == (composed.wrapper in ("schedule_free", "ema_nesterov"))
    assert_bitwise([p.detach() for p in params], trained)
