"""Is a number kept from AdamW refused where decay is independent of the learning rate, and accepted elsewhere?"""

import copy
import pickle
import re

import pytest
import torch
from contract.runs import assert_bitwise, make_params, run

import logclock
from logclock import ADANA, AdamW, Constant, Cosine, DanaStarMK4, Lion, Muon, Prodigy, constant_decay, log_time_decay
from logclock.rules import Spec

INDEPENDENT = [spec.class_name for spec in map(Spec.family.get, Spec.family) if spec().decay_coupling == "independent"]
HABITS = [0.1, 0.01, 1, 2.5, torch.tensor(0.01), 0.05]


def all_data(optimizer):
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def test_the_family_of_adana_decays_independently():
    assert {"ADANA", "DanaMK4", "DanaStar", "DanaStarMK4"} <= set(INDEPENDENT)


@pytest.mark.parametrize("name", INDEPENDENT)
@pytest.mark.parametrize("decay", HABITS, ids=str)
def test_a_number_kept_from_adamw_is_refused_by_the_family_of_adana(name, decay):
    build = getattr(logclock, name)

    with pytest.raises(ValueError, match=rf"would erase the weights\. The decay of {name} is independent of lr"):
        build(make_params(), lr=1e-3, weight_decay=decay)
    with pytest.raises(ValueError, match="would erase the weights"):
        build([{"params": make_params(), "weight_decay": decay}], lr=1e-3)


@pytest.mark.parametrize("build", [AdamW, Lion, logclock.SGD, logclock.NAdamW, logclock.AdEMAMix])
def test_what_decays_as_torch_does_takes_torchs_number(build):
    params = make_params()
    run(build(params, lr=1e-3, weight_decay=0.1), params, range(2))

    with pytest.raises(ValueError, match="would erase the weights"):
        build(make_params(), lr=1e-3, weight_decay=0.1, decay_coupling="independent")


def test_adana_takes_torchs_number_with_torchs_meaning():
    param = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    param.grad = torch.zeros_like(param)
    ADANA([param], lr=1e-3, weight_decay=0.1, decay_coupling="coupled").step()

    assert param[0].item() == pytest.approx(1 - 1e-3 * 0.1, abs=1e-15)


@pytest.mark.parametrize(
    "decay",
    [
        0.0,
        4 / 1000,  # the paper's omega / T in a short run
        4 / 100_000,
        Constant(value=0.1),
        {"kind": "constant", "value": 0.1},
        constant_decay(4.0, total_steps=20),
        log_time_decay(4.0, total_steps=100),
    ],
)
def test_small_constants_and_schedules_are_taken(decay):
    params = make_params()
    optimizer = ADANA(params, lr=1e-3, weight_decay=decay)
    run(optimizer, params, range(2))

    optimizer.param_groups[0]["weight_decay"] = decay
    run(optimizer, params, range(2, 3))


def test_at_a_peak_of_one_both_couplings_are_the_same():
    params, twins = make_params(), make_params()
    run(Prodigy(params, weight_decay=0.1, decay_coupling="independent"), params, range(3))
    run(Prodigy(twins, weight_decay=0.1), twins, range(3))

    assert_bitwise(params, twins)


def test_the_error_says_what_it_removes_and_what_to_write():
    with pytest.raises(ValueError) as raised:  # noqa: PT011  the whole text is compared below
        ADANA(make_params(), lr=6e-4, weight_decay=0.1)

    text = str(raised.value)
    # (1 - 0.1)^7 = 0.478; 1,000 times 0.1 and 1,000 times 6e-4 * 0.1
    assert "removes 0.1 of every weight per update, half of it in 7 updates, 100 nepers in 1,000 updates" in text
    assert "lr * weight_decay = 6e-05 per update, 0.06 nepers" in text
    for advice in ("log_time_decay(4.0, total_steps=T)", "decay_coupling='coupled'", "translate_adamw", "Constant("):
        assert advice in text
    assert "Hugging Face" not in text


def test_the_error_counts_over_the_run_where_its_length_is_known():
    """A linear decay from 1 to 0 over T updates sums to T / 2."""
    schedule = logclock.Linear(total_steps=100_000, final=0.0)
    with pytest.raises(ValueError, match=r"5,000 nepers in the 100,000 updates of lr_schedule, .* 5 nepers"):
        ADANA(make_params(), lr=1e-3, weight_decay=0.1, lr_schedule=schedule)
    with pytest.raises(ValueError, match=r"the 200 updates of lr_schedule"):
        ADANA(make_params(), lr=1e-3, weight_decay=0.1, lr_schedule=Constant(value=1.0) * Cosine(total_steps=200))


WRITES = {
    "item": lambda group: group.__setitem__("weight_decay", 0.1),
    "update": lambda group: group.update({"eps": 1e-4, "weight_decay": 0.1}),
    "or": lambda group: group.__ior__({"weight_decay": 0.1}),
    "text of numpy": lambda group: group.update(weight_decay=torch.tensor([0.1])),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_host_that_writes_the_number_into_a_group_is_stopped_and_nothing_is_changed(write):
    params = make_params()
    optimizer = ADANA(params, lr=1e-3, weight_decay=log_time_decay(4.0, offset=100))
    run(optimizer, params, range(2))
    before = copy.deepcopy(all_data(optimizer))

    with pytest.raises(ValueError, match=r"would erase the weights.*TrainingArguments\.weight_decay"):
        WRITES[write](optimizer.param_groups[0])

    assert all_data(optimizer) == before


def test_a_late_group_is_checked_and_nothing_is_changed():
    params = make_params()
    optimizer = ADANA(params, lr=1e-3)

    with pytest.raises(ValueError, match="would erase the weights"):
        optimizer.add_param_group({"params": make_params(seed=1), "weight_decay": 0.1})
    with pytest.raises(ValueError, match="The decay of DanaStarMK4"):
        AdamW(make_params()).add_param_group(
            {"params": make_params(seed=1), "algorithm": "dana-star-mk4", "weight_decay": 0.1}
        )

    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": make_params(seed=1), "algorithm": "adamw", "weight_decay": 0.1})


def test_the_coupling_may_be_written_before_or_with_the_decay_but_no_step_is_made_between():
    params = make_params()
    optimizer = AdamW(params, lr=1e-3, weight_decay=0.1)
    run(optimizer, params, range(1))
    group = optimizer.param_groups[0]
    group["decay_coupling"] = "independent"
    weights, data = [p.detach().clone() for p in params], copy.deepcopy(all_data(optimizer))

    with pytest.raises(ValueError, match="The decay of AdamW is independent of lr"):
        run(optimizer, params, range(1, 2))

    assert_bitwise([p.detach() for p in params], weights)
    assert all_data(optimizer) == data
    assert optimizer.state[params[0]]["step"].item() == 1
    group["weight_decay"] = log_time_decay(4.0, offset=100)
    run(optimizer, params, range(1, 2))
    group.update({"weight_decay": 0.1, "decay_coupling": "coupled"})  # whichever stands first
    run(optimizer, params, range(2, 3))


def test_a_run_that_began_with_such_a_number_goes_on_as_it_was():
    """Its checkpoint was written before the number was refused; here it is made from one with the schedule."""
    params, twins = make_params(), make_params()
    optimizer = ADANA(params, lr=1e-3, weight_decay=Constant(value=0.02))
    saved = optimizer.state_dict()
    saved["param_groups"][0]["weight_decay"] = 0.02
    again = ADANA(twins, lr=1e-3)
    again.load_state_dict(saved)

    run(optimizer, params, range(3))
    run(again, twins, range(3))

    assert_bitwise(params, twins)
    assert again.param_groups[0]["weight_decay"] == {"kind": "constant", "value": 0.02}
    pickle.loads(pickle.dumps(again)).step()


def test_muon_for_matrices_keeps_its_number_beside_adana():
    matrices, rest = make_params(((4, 3),)), make_params(((3,),), seed=1)
    groups = [{"params": matrices, "algorithm": "muon", "weight_decay": 0.1}, {"params": rest}]
    run(ADANA(groups, lr=1e-3, weight_decay=log_time_decay(4.0, offset=100)), [*matrices, *rest], range(2))
    run(Muon(matrices, lr=1e-3), matrices, range(2))

    with pytest.raises(ValueError, match="The decay of ADANA"):
        ADANA(groups, lr=1e-3, weight_decay=0.1)
    with pytest.raises(ValueError, match="The decay of DanaStarMK4"):
        DanaStarMK4(groups, weight_decay=0.1)


# ----- schedules that would be lost


def host_groups(decay):
    """Groups as Hugging Face's Trainer makes them, from `args.weight_decay`."""
    return [
        {"params": make_params(((3, 2),)), "weight_decay": decay},
        {"params": make_params(((2,),)), "weight_decay": 0.0},
    ]


@pytest.mark.parametrize("decay", [0.0, 0.1, 0])
@pytest.mark.parametrize("wrap", [list, tuple, iter])
@pytest.mark.parametrize(
    "schedule", [log_time_decay(4.0, offset=100), log_time_decay(4.0, offset=100).to_dict(), Constant(value=0.1)]
)
def test_a_schedule_that_no_parameter_would_follow_is_refused(decay, wrap, schedule):
    with pytest.raises(ValueError, match=r"weight_decay was given to ADANA as a schedule.*logclock\.OptimizerFactory"):
        ADANA(wrap(host_groups(decay)), lr=1e-3, weight_decay=schedule)


def test_the_numbers_of_the_groups_are_named():
    with pytest.raises(ValueError, match=re.escape("every group has a number of its own, 0.1, 0. Put the schedule")):
        AdamW(host_groups(0.1), weight_decay=log_time_decay(4.0, offset=100))
    with pytest.raises(ValueError, match=r"lr_schedule was given to AdamW as a schedule"):
        AdamW([{"params": make_params(), "lr_schedule": 1.0}], lr_schedule=Cosine(total_steps=10))


def test_a_schedule_that_one_group_follows_is_taken():
    schedule = log_time_decay(4.0, offset=100)
    one, other = host_groups(0.0)
    del one["weight_decay"]

    optimizer = ADANA([one, other], weight_decay=schedule)

    assert [group["weight_decay"] for group in optimizer.param_groups] == [schedule.to_dict(), 0.0]
    ADANA([{**one, "weight_decay": schedule}], weight_decay=schedule)
    ADANA(iter(make_params()), weight_decay=schedule)


def test_a_model_without_anything_to_decay_may_be_given_a_schedule():
    """With a tied head and Muon for the hidden matrices, what is left of a model is often not decayed at all."""
    schedule = log_time_decay(4.0, offset=100)
    embedding = torch.nn.Embedding(5, 3)
    muon = {"params": [("hidden", torch.nn.Parameter(torch.ones(3, 3)))], "algorithm": "muon", "weight_decay": 0.1}

    for groups in (logclock.param_groups(embedding), [muon, *logclock.param_groups(embedding)], [muon]):
        ADANA(groups, weight_decay=schedule)

    named = [{"params": list(embedding.named_parameters()), "weight_decay": 0.1}]
    with pytest.raises(ValueError, match="which no parameter would follow"):
        ADANA([*named, muon], weight_decay=schedule)
