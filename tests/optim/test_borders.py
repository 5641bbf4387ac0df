"""What may stand at the borders of an optimizer: groups that others write to, numbers of any library, their states."""

import copy
import io
import math
import pickle
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise, make_params, run, set_grads
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

import logclock
from logclock import ADANA, SOAP, AdamW, AdEMAMix, Lion, Muon, ScheduledOptimizer, Signum
from logclock.schedules import HalfLifeRamp, InverseTime, log_time_decay

SETTINGS = {"weight_decay": 0.1}


def reloaded(optimizer):
    """Return the state dict after a file that is read with weights_only=True."""
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def is_plain(value):
    if isinstance(value, dict):
        return all(isinstance(k, str) and is_plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str, torch.Tensor)


# ----- schedulers


SCHEDULERS = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 3]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 2),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 4),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 6, 2.0),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 6),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 1e-2, total_steps=8, cycle_momentum=False),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 1e-3, 1e-2, step_size_up=2, cycle_momentum=False),
    "SWALR": lambda o: SWALR(o, 1e-3, anneal_epochs=3),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.1, 2), lr_scheduler.ExponentialLR(o, 0.9)], [2]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.1, 2), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
}


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_of_torch_drives_the_learning_rate_as_it_does_torchs_adamw(name):
    ours, theirs = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    mine = AdamW(ours, lr=1e-2, **SETTINGS)
    reference = torch.optim.AdamW(theirs, lr=1e-2, **SETTINGS)
    schedulers = [SCHEDULERS[name](mine), SCHEDULERS[name](reference)]

    for step in range(7):
        for optimizer, params, scheduler in zip((mine, reference), (ours, theirs), schedulers, strict=True):
            run(optimizer, params, [step])
            scheduler.step()
        assert mine.param_groups[0]["lr"] == pytest.approx(reference.param_groups[0]["lr"], rel=1e-15)

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
    AdamW(make_params(dtype=torch.float64)).load_state_dict(reloaded(mine))


def test_reduce_on_plateau_too():
    params = make_params()
    optimizer = ADANA(params, lr=1e-2)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    for loss in (1.0, 1.0, 1.0):
        run(optimizer, params, range(1))
        scheduler.step(loss)

    assert optimizer.param_groups[0]["lr"] == pytest.approx(2.5e-3)


@pytest.mark.parametrize("name", ["OneCycleLR", "CyclicLR"])
def test_a_scheduler_that_would_cycle_the_momentum_says_that_there_is_none(name):
    """Torch looks for betas or momentum in the optimizer's defaults; its message names the way out."""
    optimizer = ADANA(make_params())
    build = {
        "OneCycleLR": lambda: lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=8),
        "CyclicLR": lambda: lr_scheduler.CyclicLR(optimizer, 1e-3, 1e-2),
    }[name]

    with pytest.raises(ValueError, match="cycle_momentum"):
        build()


# ----- keys of hosts


@pytest.mark.parametrize(
    "keys",
    [
        {"name": "decayed"},
        {"lr_scale": 0.5, "layer_id": 3},
        {"my_trainer_key": [1, 2, {"a": "b"}]},
        {"use_muon": True},
        {"is_expert": np.bool_(True)},
    ],
)
def test_a_hosts_keys_stay_in_a_group_and_change_nothing(keys):
    ours, twins = make_params(), make_params()
    optimizer = ADANA([{"params": ours, **keys}], lr=1e-2)
    run(optimizer, ours, range(2))
    optimizer.param_groups[0]["written_later"] = 7
    run(optimizer, ours, range(2, 4))
    run(ADANA(twins, lr=1e-2), twins, range(4))

    assert_bitwise(ours, twins)
    again = ADANA(make_params())
    again.load_state_dict(reloaded(optimizer))
    assert {key: again.param_groups[0][key] for key in keys} == keys
    assert again.param_groups[0]["written_later"] == 7


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("weight_deca", "Did you mean 'weight_decay'"),
        ("kapa", "Did you mean 'kappa'"),
        ("lr_schedul", "Did you mean 'lr_schedule'"),
        ("fused", "backend='loop'"),
        ("amsgrad", "There is no AMSGrad"),
        ("momentum", "an average's memory is ema1"),
        ("wrapers", "Did you mean 'wrappers'"),
    ],
)
def test_a_misspelled_hyperparameter_in_a_group_is_no_key_of_a_host(key, message):
    with pytest.raises(TypeError, match=message):
        ADANA([{"params": make_params(), key: 0.5}])
    with pytest.raises(TypeError, match=message):
        ADANA(make_params()).param_groups[0][key] = 0.5


# ----- numbers of other libraries


NUMBERS = [
    np.float64(0.125),
    np.float32(0.125),
    np.float16(0.125),
    np.array(0.125),
    np.array([0.125]),
    np.array(0.125, dtype=np.float32),
    torch.tensor(0.125),
    torch.tensor([0.125], dtype=torch.float64),
    Fraction(1, 8),
]


@pytest.mark.parametrize(
    "value", NUMBERS, ids=lambda v: f"{type(v).__name__}{getattr(v, 'shape', '')}{getattr(v, 'dtype', '')}"
)
@pytest.mark.parametrize("key", ["weight_decay", "eps", "kappa", "delta", "gain", "ema1", "lr_schedule", "peak_lr"])
def test_a_number_of_any_library_becomes_a_python_number_wherever_it_is_written(key, value):
    build = AdamW if key == "weight_decay" else ADANA  # where 0.125 is multiplied by lr, and so no mistake
    constructed = build(make_params(), **{key: value})
    grouped = build([{"params": make_params(), key: value}])
    live = build(make_params())
    live.param_groups[0][key] = value

    for optimizer in (constructed, grouped, live):
        group = optimizer.param_groups[0]
        assert type(group[key]) is float
        assert group[key] == 0.125
        run(optimizer, group["params"], range(1))
        build(make_params()).load_state_dict(reloaded(optimizer))


@pytest.mark.parametrize(
    "value", NUMBERS, ids=lambda v: f"{type(v).__name__}{getattr(v, 'shape', '')}{getattr(v, 'dtype', '')}"
)
def test_a_learning_rate_of_any_library_is_a_python_number_or_a_tensor(value):
    constructed, live = ADANA(make_params(), lr=value), ADANA(make_params())
    live.param_groups[0]["lr"] = value

    for optimizer in (constructed, live):
        lr = optimizer.param_groups[0]["lr"]
        assert type(lr) in (float, torch.Tensor)
        assert float(lr) == 0.125
        run(optimizer, optimizer.param_groups[0]["params"], range(1))
        ADANA(make_params()).load_state_dict(reloaded(optimizer))
    assert type(constructed.param_groups[0]["peak_lr"]) is float


@pytest.mark.parametrize("value", [np.int64(3), np.int32(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_whole_numbers_and_truth_values_of_other_libraries(value):
    optimizer = Muon(make_params(((4, 4),)), num_iterations=value, nesterov=np.bool_(False))

    group = optimizer.param_groups[0]
    assert (type(group["num_iterations"]), group["num_iterations"]) == (int, 3)
    assert group["nesterov"] is False
    run(optimizer, group["params"], range(1))
    assert is_plain(reloaded(optimizer)["param_groups"])


@pytest.mark.parametrize("key", ["lr", "peak_lr", "weight_decay", "eps", "kappa", "ema1", "gain"])
@pytest.mark.parametrize(
    "value", ["1e-3", "fast", True, np.bool_(True), math.inf, -math.inf, math.nan, np.inf, 1j, [0.1], b"1"]
)
def test_what_is_no_number_is_refused_by_name_wherever_it_is_written(key, value):
    with pytest.raises((TypeError, ValueError), match=key):
        ADANA(make_params(), **{key: value})
    with pytest.raises((TypeError, ValueError), match=key):
        ADANA([{"params": make_params(), key: value}])
    optimizer = ADANA(make_params())
    before = dict(optimizer.param_groups[0])
    with pytest.raises((TypeError, ValueError), match=key):
        optimizer.param_groups[0][key] = value
    assert dict(optimizer.param_groups[0]) == before


@pytest.mark.parametrize("value", [None, "yes", 1, np.int64(1)])
def test_maximize_is_a_truth_value(value):
    with pytest.raises(TypeError, match="maximize must be True or False"):
        ADANA(make_params(), maximize=value)
    assert ADANA(make_params(), maximize=np.bool_(True)).param_groups[0]["maximize"] is True


def test_a_decimal_is_refused_or_taken_but_never_kept():
    optimizer = ADANA(make_params())
    try:
        optimizer.param_groups[0]["weight_decay"] = Decimal("0.125")
    except (TypeError, ValueError):
        return
    assert type(optimizer.param_groups[0]["weight_decay"]) is float


# ----- live groups


WRITES = {
    "item": lambda group, key, value: group.__setitem__(key, value),
    "update": lambda group, key, value: group.update({key: value}),
    "keyword update": lambda group, key, value: group.update(**{key: value}),
    "pairs": lambda group, key, value: group.update([(key, value)]),
    "or": lambda group, key, value: group.__ior__({key: value}),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("weight_decay", log_time_decay(4.0, offset=10.0), {"kind": "inverse_time", "scale": 4.0, "offset": 10.0}),
        ("weight_decay", {"kind": "inverse_time", "scale": 4.0, "offset": 2.0}, None),
        ("ema1", InverseTime(scale=8.0, offset=8.0), None),
        ("kappa", 0.5, 0.5),
        ("apply", "cautious", {"name": "cautious_decay"}),
        ("wrappers", ["grams"], [{"name": "grams"}]),
    ],
)
def test_a_value_written_to_a_live_group_acts_and_stays_plain_data(write, key, value, kept):
    params, twins = make_params(), make_params()
    optimizer = ADANA(params, lr=1e-2)
    WRITES[write](optimizer.param_groups[0], key, value)
    run(optimizer, params, range(3))
    run(ADANA(twins, lr=1e-2, **{key: value}), twins, range(3))

    assert_bitwise(params, twins)
    assert kept is None or optimizer.param_groups[0][key] == kept
    assert is_plain({k: v for k, v in optimizer.param_groups[0].items() if k != "params"})
    assert is_plain(reloaded(optimizer)["param_groups"])


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("weight_decay", {"kind": "inverse_tim"}, "Did you mean 'inverse_time'"),
        ("weight_decay", -1.0, "weight_decay must be >= 0"),
        ("kappa", 2.0, "kappa must lie in"),
        ("kappa", InverseTime(scale=1.0, offset=1.0), "kappa"),
        ("apply", "cautios", "Did you mean 'cautious_decay'"),
        ("backend", "triton", "unknown backend 'triton'"),
        ("state_dtype", "int8", "state_dtype must be None or one of"),
        ("algorithm", "adamw", "cannot be changed from 'adana' to 'adamw'"),
        ("betas", (0.9,), "betas must be 2 numbers"),
        ("betas", (0.9, 1.0), r"betas must lie in \[0, 1\)"),
    ],
)
def test_a_bad_value_raises_when_it_is_written_and_changes_nothing(write, key, value, error):
    optimizer = ADANA(make_params())
    before = copy.deepcopy({k: v for k, v in optimizer.param_groups[0].items() if k != "params"})

    with pytest.raises((TypeError, ValueError), match=error):
        WRITES[write](optimizer.param_groups[0], key, value)

    assert {k: v for k, v in optimizer.param_groups[0].items() if k != "params"} == before


def test_setdefault_keeps_what_is_there_and_writes_plain_data_otherwise():
    group = ADANA(make_params()).param_groups[0]

    assert group.setdefault("kappa", 0.1) == 0.85
    assert group.setdefault("initial_lr", np.float64(0.5)) == 0.5
    assert group["kappa"] == 0.85


def test_a_schedule_that_is_edited_in_place_acts():
    params, twins = make_params(), make_params()
    optimizer = ADANA(params, lr=1e-2, weight_decay={"kind": "inverse_time", "scale": 1.0, "offset": 1.0})
    run(optimizer, params, range(1))
    optimizer.param_groups[0]["weight_decay"]["scale"] = 0.0
    run(optimizer, params, range(1, 3))
    reference = ADANA(twins, lr=1e-2, weight_decay={"kind": "inverse_time", "scale": 1.0, "offset": 1.0})
    run(reference, twins, range(1))
    reference.param_groups[0]["weight_decay"] = 0.0
    run(reference, twins, range(1, 3))

    assert_bitwise(params, twins)


@pytest.mark.parametrize("copier", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_a_live_group_is_one(copier):
    group = ADANA(make_params(), weight_decay=1e-3).param_groups[0]
    twin = copier(group)

    assert type(twin) is type(group)
    assert {k: v for k, v in twin.items() if k != "params"} == {k: v for k, v in group.items() if k != "params"}
    with pytest.raises(ValueError, match="weight_decay must be >= 0"):
        twin["weight_decay"] = -1.0


# ----- betas


@pytest.mark.parametrize(
    ("build", "betas", "emas"),
    [
        (AdamW, (0.75, 0.875), {"ema1": 0.25, "ema2": 0.125}),
        (AdamW, [0.75, np.float32(0.875)], {"ema1": 0.25, "ema2": 0.125}),
        (AdamW, torch.tensor([0.75, 0.875]), {"ema1": 0.25, "ema2": 0.125}),
        (AdamW, np.array([0.75, 0.875]), {"ema1": 0.25, "ema2": 0.125}),
        (AdamW, (0, 0.875), {"ema1": 1.0, "ema2": 0.125}),
        (Lion, (0.75, 0.875), {"ema1": 0.25, "ema2": 0.125}),
        (ADANA, (0.75, 0.875), {"ema1": 0.25, "ema2": 0.125}),
        (AdEMAMix, (0.75, 0.875, 0.9375), {"ema1": 0.25, "ema2": 0.125, "ema_slow": 0.0625}),
        (AdEMAMix, (0.75, 0.875), {"ema1": 0.25, "ema2": 0.125, "ema_slow": 0.0001}),
    ],
)
def test_betas_are_taken_by_constructor_group_and_live_group(build, betas, emas):
    live = build(make_params())
    live.param_groups[0]["betas"] = betas
    default = build([{"params": make_params(), "betas": betas}], betas=(0.5, 0.5))

    for optimizer in (
        build(make_params(), betas=betas),
        build([{"params": make_params(), "betas": betas}]),
        live,
        default,
    ):
        group = optimizer.param_groups[0]
        assert {key: group[key] for key in emas} == emas
        assert "betas" not in group
        run(optimizer, group["params"], range(1))


@pytest.mark.parametrize(
    ("build", "settings", "error", "message"),
    [
        (AdamW, {"betas": (0.9,)}, ValueError, r"betas must be 2 numbers in \[0, 1\), got \(0\.9,\)"),
        (AdamW, {"betas": (0.9, 0.99, 0.999)}, ValueError, r"betas must be 2 numbers"),
        (AdamW, {"betas": 0.9}, ValueError, r"betas must be 2 numbers in \[0, 1\), got 0\.9"),
        (AdamW, {"betas": "0.9"}, ValueError, r"betas must be 2 numbers"),
        (AdamW, {"betas": (0.9, "0.99")}, TypeError, "betas must hold numbers"),
        (AdamW, {"betas": (0.9, True)}, TypeError, "betas must hold numbers"),
        (AdamW, {"betas": (0.9, math.nan)}, ValueError, r"betas must lie in \[0, 1\)"),
        (AdamW, {"betas": (0.9, 1.0)}, ValueError, r"betas must lie in \[0, 1\)"),
        (AdamW, {"betas": (-0.1, 0.9)}, ValueError, r"betas must lie in \[0, 1\)"),
        (AdamW, {"betas": (0.9, InverseTime(scale=1.0, offset=1.0))}, TypeError, "A schedule goes into ema1 and ema2"),
        (AdEMAMix, {"betas": (0.9,)}, ValueError, "betas must be two or three numbers"),
        (AdEMAMix, {"beta3": 1.5}, ValueError, r"beta3 must lie in \[0, 1\)"),
        (AdamW, {"betas": (0.9, 0.99), "ema2": 0.1}, TypeError, "give betas or ema1 and ema2.*not both"),
        (AdEMAMix, {"beta3": 0.999, "ema_slow": 0.1}, TypeError, "give beta3 or ema_slow"),
        (Signum, {"betas": (0.9, 0.99)}, TypeError, "'betas'"),
        (AdamW, {"beta3": 0.999}, TypeError, "'beta3'.*ema_slow"),
        (AdamW, {"beta1": 0.9}, TypeError, r"Write betas=\(beta1, beta2\), or ema1"),
    ],
)
def test_betas_of_the_wrong_kind_are_refused(build, settings, error, message):
    with pytest.raises(error, match=message):
        build(make_params(), **settings)
    with pytest.raises(error, match=message):
        build([{"params": make_params(), **settings}])


# ----- checkpoints of others


@pytest.mark.parametrize(
    ("saved", "loading"), [("adamw", "adana"), ("adana", "adamw"), ("lion", "signum"), ("muon", "soap")]
)
def test_a_checkpoint_of_another_algorithm_is_refused_and_changes_nothing(saved, loading):
    shapes = ((3, 3),)
    params = make_params(shapes)
    other = ScheduledOptimizer(make_params(shapes), saved)
    run(other, other.param_groups[0]["params"], range(2))
    optimizer = ScheduledOptimizer(params, loading)
    run(optimizer, params, range(2))
    before = snapshot(optimizer, params)

    with pytest.raises(ValueError, match=rf"the checkpoint is of '{saved}', this optimizer runs '{loading}'"):
        optimizer.load_state_dict(reloaded(other))

    unchanged(optimizer, params, before)


def test_groups_of_several_algorithms_are_compared_one_by_one():
    def build(first, second):
        return ScheduledOptimizer(
            [{"params": make_params(((3, 3),)), "algorithm": first}, {"params": make_params(), "algorithm": second}],
            "adana",
        )

    with pytest.raises(ValueError, match="is of 'adamw', this optimizer runs 'adana'"):
        build("muon", "adana").load_state_dict(build("muon", "adamw").state_dict())
    build("muon", "adana").load_state_dict(build("muon", "adana").state_dict())


@pytest.mark.parametrize("amended", [{}, {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-6, "maximize": True}])
def test_torchs_adamw_goes_on_here_and_back_there(amended):
    """Clocks and moments are taken over bit by bit; the trajectories are those of one optimizer."""
    straight, params = make_params(dtype=torch.float64), make_params(dtype=torch.float64)
    reference = torch.optim.AdamW(straight, lr=1e-2, **amended)
    first = torch.optim.AdamW(params, lr=1e-2, **amended)
    run(first, params, range(4))
    run(reference, straight, range(12))

    ours = AdamW(params)
    ours.load_state_dict(reloaded(first))
    for param in params:
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(ours.state[param][name], first.state[param][name])
    run(ours, params, range(4, 8))
    last = torch.optim.AdamW(params)
    last.load_state_dict(ours.to_torch_state_dict())
    for param in params:
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(last.state[param][name], ours.state[param][name])
    assert last.param_groups[0]["betas"] == pytest.approx(reference.param_groups[0]["betas"], rel=1e-15)
    run(last, params, range(8, 12))

    for a, b in zip(params, straight, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_schedulers_peak_is_taken_over_from_torch():
    params = make_params()
    theirs = torch.optim.AdamW(params, lr=1e-2)
    scheduler = lr_scheduler.LambdaLR(theirs, lambda step: 0.25)
    run(theirs, params, range(2))
    scheduler.step()
    ours = AdamW(params)
    ours.load_state_dict(theirs.state_dict())

    assert ours.param_groups[0]["peak_lr"] == 1e-2
    assert ours.param_groups[0]["lr"] == 2.5e-3


@pytest.mark.parametrize(
    ("build", "theirs", "message"),
    [
        (
            ADANA,
            lambda p: torch.optim.AdamW(p),
            r"is torch\.optim\.AdamW's.*runs 'adana'\. Load it into logclock\.AdamW",
        ),
        (AdamW, lambda p: torch.optim.AdamW(p, amsgrad=True), "amsgrad=True"),
        (AdamW, lambda p: torch.optim.Adam(p, weight_decay=0.1), "weight decay in the gradient"),
        (AdamW, lambda p: torch.optim.SGD(p, lr=0.1), "neither this package's nor"),
        (AdamW, lambda p: torch.optim.RMSprop(p), "neither this package's nor"),
    ],
)
def test_a_state_dict_that_cannot_go_on_is_refused_with_the_way_out(build, theirs, message):
    params = make_params()
    other = theirs(params)
    run(other, params, range(2))

    with pytest.raises(ValueError, match=message):
        build(params).load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("build", "settings", "message"),
    [
        (ADANA, {}, "a group runs 'adana'"),
        (
            AdamW,
            {"decay_coupling": "independent", "weight_decay": 1e-3},
            "decay_coupling is 'independent' and must be 'coupled'",
        ),
        (AdamW, {"decay_order": "after"}, "decay_order is 'after' and must be 'before'"),
        (AdamW, {"bias_correction": False}, "bias_correction is False and must be True"),
        (AdamW, {"apply": "cautious_decay"}, "apply is 'cautious_decay' and must be 'decay'"),
        (AdamW, {"wrappers": ["grams"]}, r"wrappers is .* and must be \(\)"),
        (AdamW, {"weight_decay": log_time_decay(1.0, offset=1.0)}, "weight_decay must be numbers"),
        (AdamW, {"state_dtype": {"exp_avg": "bfloat16"}}, None),
    ],
)
def test_what_torchs_adamw_does_not_have_is_named(build, settings, message):
    optimizer = build(make_params(), **settings)
    if message is None:
        optimizer.to_torch_state_dict()
        return
    with pytest.raises(ValueError, match=message):
        optimizer.to_torch_state_dict()


# ----- steps that must not be half made


def snapshot(optimizer, params):
    return [p.detach().clone() for p in params], copy.deepcopy(optimizer.state_dict())


def unchanged(optimizer, params, before):
    assert_bitwise([p.detach() for p in params], before[0])
    now = optimizer.state_dict()
    assert now["param_groups"] == before[1]["param_groups"]
    assert now["state"].keys() == before[1]["state"].keys()
    for index, state in before[1]["state"].items():
        assert_bitwise(now["state"][index].values(), state.values())


def spoil_sparse(params):
    params[-1].grad = torch.sparse_coo_tensor([[0]], [1.0], params[-1].shape, check_invariants=True)


@pytest.mark.parametrize("num_steps", [0, 2])
def test_a_step_that_raises_leaves_everything_as_it_was(num_steps):
    params = make_params(((3,), (4, 2), (5,)))
    optimizer = ADANA([{"params": params[:2]}, {"params": params[2:]}], lr=1e-2)
    run(optimizer, params, range(num_steps))
    before = snapshot(optimizer, params)
    set_grads(params, 7)
    spoil_sparse(params)

    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()
    unchanged(optimizer, params, before)

    run(optimizer, params, range(num_steps, num_steps + 1))


def test_a_clock_at_its_end_in_a_later_group_leaves_everything_as_it_was():
    params = make_params(((3,), (4,)))
    optimizer = ADANA([{"params": params[:1]}, {"params": params[1:]}])
    run(optimizer, params, range(2))
    optimizer.state[params[1]]["step"].fill_(2.0**24 - 1)
    before = snapshot(optimizer, params)
    set_grads(params, 3)

    with pytest.raises(RuntimeError, match="16777216"):
        optimizer.step()
    unchanged(optimizer, params, before)


@pytest.mark.parametrize(
    "broken",
    [
        {"apply": {"name": "hyperball"}, "weight_decay": 0.1},
        {"ema1": {"kind": "inverse_time", "scale": 1.0, "offset": 1.0}, "bias_correction": True},
    ],
)
def test_settings_of_a_later_group_that_do_not_go_together_are_seen_before_anything_moves(broken):
    params = make_params(((3,), (4,)))
    optimizer = AdamW([{"params": params[:1]}, {"params": params[1:]}])
    run(optimizer, params, range(2))
    for key, value in broken.items():
        optimizer.param_groups[1][key] = value
    before = [p.detach().clone() for p in params]

    with pytest.raises(ValueError, match="must be"):
        run(optimizer, params, range(2, 3))
    assert_bitwise([p.detach() for p in params], before)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_steps_with_gradients_that_are_not_finite_may_be_skipped_and_are_counted(value):
    params, twins = make_params(), make_params()
    optimizer = Lion([{"params": params[:2]}, {"params": params[2:]}], skip_nonfinite="skip")
    reference = Lion([{"params": twins[:2]}, {"params": twins[2:]}])
    for step in range(6):
        set_grads(params, step)
        set_grads(twins, step)
        if step in (0, 3):
            params[2].grad[0, 0, 0] = value
        else:
            reference.step()
        optimizer.step()

    assert_bitwise(params, twins)
    assert [group["skipped_steps"] for group in optimizer.param_groups] == [2, 2]
    again = Lion([{"params": params[:2]}, {"params": params[2:]}])
    again.load_state_dict(reloaded(optimizer))
    assert again.param_groups[0]["skipped_steps"] == 2


def test_gradients_that_are_not_finite_may_raise_by_name_and_change_nothing():
    net = nn.Linear(3, 2)
    optimizer = AdamW(net.named_parameters(), skip_nonfinite="raise")
    set_grads(list(net.parameters()), 0)
    optimizer.step()
    before = snapshot(optimizer, list(net.parameters()))
    net.bias.grad[0] = math.nan

    with pytest.raises(ValueError, match=r"1 of 2 gradients hold NaN or infinity \(bias\).*skip_nonfinite='skip'"):
        optimizer.step()
    unchanged(optimizer, list(net.parameters()), before)


def test_by_default_a_nan_propagates_as_in_torch():
    params = make_params()
    optimizer = AdamW(params)
    set_grads(params, 0)
    params[0].grad[0, 0] = math.nan
    optimizer.step()

    assert params[0].isnan().sum() == 1
    assert all(p.isfinite().all() for p in params[1:])
    with pytest.raises(ValueError, match="skip_nonfinite must be one of 'propagate', 'skip', 'raise', got 'ignore'"):
        AdamW(params, skip_nonfinite="ignore")


@pytest.mark.parametrize("backend", ["loop", "foreach"])
def test_a_nan_in_soaps_first_gradient_is_a_diverged_run_and_no_error_of_linear_algebra(backend):
    params = make_params(((4, 4), (4, 4), (3, 5)))
    optimizer = SOAP(params, backend=backend, refresh_interval=2)
    for step in range(5):
        set_grads(params, step)
        if step == 0:
            params[0].grad[0, 0] = math.nan
        optimizer.step()

    assert params[0].isnan().all()
    assert params[1].isfinite().all()
    assert params[2].isfinite().all()


@pytest.mark.parametrize("build", [AdamW, Muon, SOAP])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_step_inside_autocast_computes_as_one_outside(build, dtype):
    params, twins = make_params(((4, 4), (6, 3))), make_params(((4, 4), (6, 3)))
    inside, outside = build(params, lr=1e-2), build(twins, lr=1e-2)
    for step in range(4):
        set_grads(params, step)
        set_grads(twins, step)
        with torch.autocast("cpu", dtype=dtype):
            inside.step()
        outside.step()

    assert_bitwise(params, twins)


# ----- warnings and subclasses


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_16_bits_are_warned_about_once(dtype):
    params = make_params(dtype=dtype)
    optimizer = ADANA(params)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(optimizer, params, range(3))

    assert [w.category for w in caught] == [logclock.LowPrecisionWarning]
    assert "below half a unit in the last place of a weight is lost" in str(caught[0].message)
    assert "float32" in str(caught[0].message)


def test_the_warning_points_at_the_line_that_steps():
    params = make_params(dtype=torch.bfloat16)
    optimizer = ADANA(params)
    set_grads(params, 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer.step()

    assert caught[0].filename == __file__


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_full_precision_is_not_warned_about(dtype):
    params = make_params(dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(ADANA(params), params, range(2))


class My(ADANA):
    pass


class Mine(ADANA):
    def __init__(self, params, **settings):
        super().__init__(params, lr=5e-3, kappa=0.75, **settings)


def test_a_class_may_be_derived_from_an_optimizer():
    params, twins = make_params(), make_params()
    one, other = My(params, 1e-2, kappa=0.75), ADANA(twins, lr=1e-2, kappa=0.75)
    run(one, params, range(2))
    run(other, twins, range(2))
    assert_bitwise(params, twins)

    twin = pickle.loads(pickle.dumps(one))
    assert type(twin) is My
    assert type(copy.deepcopy(Mine(params))) is Mine
    assert Mine(params, weight_decay=1e-3).param_groups[0]["kappa"] == 0.75
    with pytest.raises(TypeError, match=r"My \(adana\) got an unknown argument 'kapa'"):
        My(params, kapa=0.5)


# ----- what is written is read


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": np.float64(1e-3), "weight_decay": log_time_decay(4.0, offset=np.float64(10.0))},
        {"ema1": HalfLifeRamp(start=0.5, end=0.1, steps=np.int64(10)), "delta": np.float32(8.0)},
        {"lr": torch.tensor(1e-3), "apply": {"name": "huber_decay", "bound": np.float64(0.5)}},
        {"wrappers": [{"name": "ema_nesterov", "lookahead": InverseTime(scale=np.float64(0.5), offset=1.0)}]},
        {"state_dtype": {"exp_avg": "bfloat16_stochastic"}, "rounding_seed": np.int64(3)},
    ],
)
def test_a_checkpoint_that_was_written_always_loads_with_weights_only(settings):
    params, twins = make_params(), make_params()
    optimizer = ADANA(params, **settings)
    optimizer.param_groups[0]["host_number"] = np.float32(0.5)
    run(optimizer, params, range(2))
    again = ADANA(twins)
    again.load_state_dict(reloaded(optimizer))
    with torch.no_grad():
        for twin, param in zip(twins, params, strict=True):
            twin.copy_(param)
    run(optimizer, params, range(2, 4))
    run(again, twins, range(2, 4))

    assert_bitwise(twins, params)
    assert is_plain({k: v for k, v in again.param_groups[0].items() if k != "params"})


@pytest.mark.parametrize(
    "later",
    [
        {"wrappers": ["schedule_free"]},
        {"wrappers": ["ema_nesterov", "cautious"]},
        {"apply": "magnitude_direction", "weight_decay": 0.0},
    ],
)
def test_an_option_that_a_group_gets_during_a_run_starts_then(later):
    params = make_params(((4, 3), (2, 2)))
    optimizer = AdamW(params, lr=1e-2)
    run(optimizer, params, range(3))
    for key in sorted(later, reverse=True):
        optimizer.param_groups[0][key] = later[key]
    before = [p.detach().clone() for p in params]

    run(optimizer, params, range(3, 6))

    assert all(p.isfinite().all() for p in params)
    assert not any(torch.equal(p.detach(), old) for p, old in zip(params, before, strict=True))
    again = AdamW(make_params(((4, 3), (2, 2))))
    again.load_state_dict(reloaded(optimizer))
    assert [list(s) for s in again.state.values()] == [list(s) for s in optimizer.state.values()]
