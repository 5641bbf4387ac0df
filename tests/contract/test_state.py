"""Does every optimizer survive saving, loading, copying and sharding hosts?"""

import copy
import io
import pickle

import pytest
import torch
import torch.distributed.checkpoint as dcp
from contract.cases import WEIGHT_DECAY
from contract.runs import assert_bitwise, make_params, run, set_grads
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from logclock.optim import ADANA, AdamW
from logclock.schedules import HalfLifeRamp, LinearRamp


def build(case, params, **settings):
    return case.build(params, lr=1e-2, weight_decay=WEIGHT_DECAY, **case.settings, **settings)


def tensors_of(optimizer, param):
    """The states of a parameter that are as large as it or a side of it; numbers have a format of their own."""
    states = optimizer.spec(optimizer.param_groups[0]).rule.states
    return {name: optimizer.state[param][name] for name, state in states.items() if not state.is_number}


def saved_and_loaded(state_dict):
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resume_is_bitwise(case, dtype):
    whole = case.params(dtype=dtype)
    run(build(case, whole), whole, range(12))

    first = case.params(dtype=dtype)
    optimizer = build(case, first)
    run(optimizer, first, range(6))
    second = [nn.Parameter(p.detach().clone()) for p in first]
    resumed = build(case, second)
    resumed.load_state_dict(saved_and_loaded(optimizer.state_dict()))
    run(resumed, second, range(6, 12))

    assert_bitwise(second, whole)


def test_state_of_low_precision_parameters_is_float32(case):
    params = case.params(dtype=torch.bfloat16)
    optimizer = build(case, params)
    run(optimizer, params, range(2))
    resumed = build(case, params)
    resumed.load_state_dict(optimizer.state_dict())

    for owner in (optimizer, resumed):
        for param in params:
            assert {v.dtype for v in tensors_of(owner, param).values()} <= {torch.float32}
            assert owner.state[param]["step"].dtype == torch.float32


def test_the_format_of_the_state_can_be_chosen_and_survives_loading(case):
    params = case.params()
    usual = build(case, params)
    states = usual.spec(usual.param_groups[0]).rule.states
    chosen = {k: "bfloat16_stochastic" for k, s in states.items() if not s.is_number and s.keeps == "any"}
    optimizer = build(case, params, state_dtype=chosen)
    run(optimizer, params, range(2))
    resumed = build(case, params, state_dtype=chosen)
    resumed.load_state_dict(saved_and_loaded(optimizer.state_dict()))

    assert list(resumed.state[params[0]]) == ["step", *states]
    assert all(resumed.state[params[0]][k].dtype == torch.bfloat16 for k in chosen)


def test_state_holds_the_step_and_the_states_of_the_rule_only(case):
    params = case.params()
    optimizer = build(case, params)
    run(optimizer, params, range(3))

    rule = optimizer.spec(optimizer.param_groups[0]).rule
    for param in params:
        state = optimizer.state[param]
        assert list(state) == ["step", *rule.state_names]
        assert state["step"].shape == ()
        assert state["step"].dtype == torch.float32
        shapes = {
            name: optimizer.spec(optimizer.param_groups[0]).state_shape(name, param.shape) for name in rule.state_names
        }
        assert {name: state[name].shape for name in rule.state_names} == shapes


def test_state_takes_the_stated_bytes(case):
    params = case.params(((100, 10), (24,)))
    optimizer = build(case, params)
    run(optimizer, params, range(1))

    assert optimizer.state_bytes() == sum(case.bytes_of(param.shape) for param in params)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_step_like_the_original(case, copier):
    params = case.params()
    optimizer = build(case, params)
    run(optimizer, params, range(3))

    twin = copier(optimizer)
    twins = twin.param_groups[0]["params"]
    run(twin, twins, range(3, 6))
    run(optimizer, params, range(3, 6))

    assert_bitwise(twins, params)


def test_hyperparameters_of_the_checkpoint_win(case):
    params = case.params()
    saved = build(case, params).state_dict()

    optimizer = case.build(case.params(), lr=0.5)
    optimizer.load_state_dict(saved)

    assert optimizer.param_groups[0]["peak_lr"] == 1e-2
    assert optimizer.param_groups[0]["weight_decay"] == WEIGHT_DECAY.to_dict()


def test_a_checkpoint_without_later_settings_still_loads():
    params = make_params()
    state = ADANA(params).state_dict()
    for key in ("backend", "maximize", "state_dtype"):
        del state["param_groups"][0][key]

    optimizer = ADANA(params)
    optimizer.load_state_dict(state)
    run(optimizer, params, range(1))

    assert optimizer.param_groups[0]["backend"] == "auto"


def test_loading_respects_load_hooks():
    """A pre-hook that rewrites the checkpoint is obeyed in the dtype restoration too."""
    params = make_params(dtype=torch.bfloat16)
    optimizer = ADANA(params)
    run(optimizer, params, range(2))
    saved = optimizer.state_dict()

    def halve(_, state_dict):
        state = {i: s | {"exp_avg": s["exp_avg"] / 2} for i, s in state_dict["state"].items()}
        return state_dict | {"state": state}

    other = ADANA(params)
    other.register_load_state_dict_pre_hook(halve)
    other.load_state_dict(saved)

    assert torch.equal(other.state[params[0]]["exp_avg"], optimizer.state[params[0]]["exp_avg"] / 2)


def test_state_dict_does_not_change_anything(case):
    params = case.params()
    optimizer = build(case, params)
    run(optimizer, params, range(2))

    assert pickle.dumps(optimizer.state_dict()) == pickle.dumps(optimizer.state_dict())


class Net(nn.Module):
    def __init__(self, case):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=not case.matrices_only)

    def train_step(self, optimizer, step):
        tokens = torch.randint(7, (6,), generator=torch.Generator().manual_seed(step))
        nn.functional.cross_entropy(self.head(self.embedding(tokens)), tokens).backward()
        optimizer.step()
        optimizer.zero_grad()


def grouped(case, net):
    groups = [{"params": net.head.parameters()}, {"params": net.embedding.parameters(), "weight_decay": 0.0}]
    return build(case, groups)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("flatten", [True, False])
def test_a_distributed_checkpoint_resumes_bitwise(case, flatten, tmp_path):
    options = StateDictOptions(flatten_optimizer_state_dict=flatten)
    torch.manual_seed(0)
    net = Net(case)
    optimizer = grouped(case, net)
    for step in range(4):
        net.train_step(optimizer, step)
    twin = copy.deepcopy(net)
    resumed = grouped(case, twin)

    state = get_optimizer_state_dict(net, optimizer, options=options)
    dcp.save(state, checkpoint_id=tmp_path, no_dist=True)
    loaded = get_optimizer_state_dict(twin, resumed, options=options)
    dcp.load(loaded, checkpoint_id=tmp_path, no_dist=True)
    set_optimizer_state_dict(twin, resumed, loaded, options=options)
    for step in range(4, 8):
        net.train_step(optimizer, step)
        twin.train_step(resumed, step)

    assert_bitwise(list(twin.parameters()), list(net.parameters()))
    assert [g["weight_decay"] for g in resumed.param_groups] == [WEIGHT_DECAY.to_dict(), 0.0]


@pytest.mark.parametrize("tensor_lr", [False, True])
def test_asking_for_the_state_before_the_first_step_shifts_nothing(case, tensor_lr):
    nets, results = [], []
    for peek in (False, True):
        torch.manual_seed(0)
        net = Net(case)
        lr = torch.tensor(1e-2) if tensor_lr else 1e-2
        optimizer = case.build(net.parameters(), lr=lr, weight_decay=WEIGHT_DECAY, **case.settings)
        if peek:
            before = [p.detach().clone() for p in net.parameters()]
            state = get_optimizer_state_dict(net, optimizer)
            assert set(state["state"]) == {name for name, _ in net.named_parameters()}
            assert_bitwise([p.detach() for p in net.parameters()], before)
        for step in range(5):
            net.train_step(optimizer, step)
        nets.append(net)
        results.append([p.detach() for p in net.parameters()])

    assert_bitwise(*results)


def test_a_warm_up_from_zero_still_counts_its_first_step(case):
    """The step that hosts make to create state has lr 0 and zero gradients; a real one at lr 0 does not."""
    params = case.params()
    optimizer = build(case, params)
    optimizer.param_groups[0]["lr"] = 0.0
    run(optimizer, params, range(1))

    assert optimizer.state[params[0]]["step"].item() == 1


def test_state_can_be_created_without_a_step(case):
    params, twins = case.params(), case.params()
    optimizer, reference = build(case, params), build(case, twins)
    optimizer.materialize_state()

    assert all(optimizer.state[p]["step"].item() == 0 for p in params)
    run(optimizer, params, range(3))
    run(reference, twins, range(3))
    assert_bitwise(params, twins)


def test_any_slot_takes_a_schedule_and_keeps_it_through_a_checkpoint():
    params, twins = make_params(), make_params()
    settings = {
        "ema1": HalfLifeRamp(start=0.5, end=0.01, steps=10),
        "gain": LinearRamp(start=0.0, end=2.0, steps=10),
        "lr_schedule": LinearRamp(start=0.0, end=1.0, steps=5),
    }
    optimizer = ADANA(params, **settings)
    run(optimizer, params, range(4))

    resumed = ADANA(twins)
    resumed.load_state_dict(saved_and_loaded(optimizer.state_dict()))
    with torch.no_grad():
        for twin, param in zip(twins, params, strict=True):
            twin.copy_(param)
    run(optimizer, params, range(4, 8))
    run(resumed, twins, range(4, 8))

    assert_bitwise(twins, params)
    assert resumed.current_scalars()[0]["gain"] == pytest.approx(2.0 * 8 / 10)


def test_old_adamw_state_of_torch_can_be_loaded():
    """Same state names as torch: a run can switch to ours with its moments."""
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    optimizer = torch.optim.AdamW(theirs, lr=1e-2)
    run(optimizer, theirs, range(5))
    mine = AdamW(ours, lr=1e-2)
    with torch.no_grad():
        for a, b in zip(ours, theirs, strict=True):
            a.copy_(b)
    for a, b in zip(ours, theirs, strict=True):
        mine.state[a] = {name: value.clone() for name, value in optimizer.state[b].items()}
    for step in range(5, 10):
        set_grads(ours, step)
        set_grads(theirs, step)
        mine.step()
        optimizer.step()

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
