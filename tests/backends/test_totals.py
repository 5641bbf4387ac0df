"""Do all engines give a stage the sum over all tensors, where it cuts a program and behind a matrix stage?"""

import pytest
import torch

from logclock.backends import BACKENDS, finish_together, fused, get_start
from logclock.backends.program import MatrixPart, Program, plan_of, trace
from logclock.rules import Spec, State, elementwise, matrix
from logclock.rules.ops import total
from logclock.rules.rule import Rule, Step

NO_FUSED = fused.unavailable_reason(torch.device("cpu"))
NAMES = [name for name in BACKENDS if name != "fused" or NO_FUSED is None]


@elementwise
def counted(grad, mass):
    return 2 * grad, total(grad)


@matrix
def turned(update):
    return update * 1.0


@elementwise
def spent(param, update, last_mass, *, mass_total, t):
    return param - update / mass_total, mass_total


MASS = State(shape="number", total="mass_total")


def rule(*, with_matrix=False):
    middle = (Step(turned, "update"),) if with_matrix else ()
    first = Step(counted, "update", states=(MASS,))
    return Rule("counting", (first, *middle, Step(spent, "moved", states=(State(shape="number"),))))


def tensors():
    params = [torch.full((2, 3), 1.0), torch.full((4,), 2.0), torch.full((), 3.0)]
    grads = [torch.full((2, 3), 0.5), torch.full((4,), 1.0), torch.full((), 3.0)]  # masses 3, 4 and 3
    states = [[torch.zeros((), dtype=torch.float64) for _ in params] for _ in range(2)]
    return params, grads, states


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("with_matrix", [False, True])
def test_a_stage_gets_the_sum_over_all_tensors(name, with_matrix):
    params, grads, states = tensors()
    BACKENDS[name](rule(with_matrix=with_matrix), params, grads, states, {"t": 1.0})

    # 1 - 2 * 0.5 / 10, 2 - 2 * 1 / 10, 3 - 2 * 3 / 10
    assert [param.flatten()[0].item() for param in params] == pytest.approx([0.9, 1.8, 2.4], rel=1e-6)
    assert [mass.item() for mass in states[0]] == [3.0, 4.0, 3.0]
    assert [mass.item() for mass in states[1]] == [10.0] * 3


@pytest.mark.parametrize("name", NAMES)
def test_updates_that_run_apart_are_summed_together(name):
    params, grads, states = tensors()
    starts = get_start(name, torch.device("cpu"), rule())
    finish_together(
        [starts(rule(), [params[i]], [grads[i]], [[column[i]] for column in states], {"t": 1.0}) for i in range(3)]
    )

    assert [param.flatten()[0].item() for param in params] == pytest.approx([0.9, 1.8, 2.4], rel=1e-6)


def test_a_program_is_cut_where_a_sum_is_needed_and_only_there():
    parts = plan_of(rule()).parts

    assert [type(part) for part in parts] == [Program, Program]
    assert plan_of(rule()).totals == ((), (("mass_total", "mass"),))
    assert [type(part) for part in plan_of(rule(with_matrix=True)).parts] == [Program, MatrixPart, Program]
    assert len(plan_of(Spec.family.get("adamw")().rule).parts) == 1


def test_a_tensor_that_is_alone_has_its_own_sum():
    """Called as a function, and as one program, which is what the theory runs."""
    param, grad, number = torch.full((4,), 2.0), torch.ones(4), torch.zeros(())
    moved, mass, last = rule()(param, grad, number, number, t=1.0)

    assert moved.tolist() == [1.5] * 4
    assert (mass.item(), last.item()) == (4.0, 4.0)
    assert len(trace(rule()).segments) == 2


def test_the_scalars_of_a_rule_do_not_hold_the_sums():
    assert rule().scalar_names == ("t",)
    assert rule().totals == {"mass_total": "mass"}


@pytest.mark.parametrize("name", NAMES)
def test_no_tensors_are_no_work(name):
    BACKENDS[name](rule(), [], [], [[], []], {"t": 1.0})
