import dataclasses
import hashlib
import sys
from pathlib import Path

import pytest
import torch

from logclock.algorithms import AdamwSpec, AdanaSpec, MuonSpec
from logclock.rules import Cautious, EmaNesterov, Hyperball, MagnitudeDirection, ScheduleFree, Spec
from logclock.rules.rule import SHARED_SCALARS


def test_the_stages_stand_in_the_order_of_the_grammar():
    """On the gradient, direction, wrappers of the update, apply, wrappers of the move."""
    rule = MuonSpec(
        weight_decay=0.0,
        apply=MagnitudeDirection(),
        wrappers=(ScheduleFree(), Cautious()),
    ).rule

    assert [(step.stage.name, step.output, step.owner) for step in rule.steps] == [
        ("seen_through_gains", "grad", "magnitude_direction"),
        ("momentum", "update", ""),
        ("orthogonalized", "update", ""),
        ("cautious", "update", "cautious"),
        ("magnitude_direction", "moved", "magnitude_direction"),
        ("schedule_free", "moved", "schedule_free"),
    ]


def test_names_of_options_stand_before_their_states_and_scalars():
    rule = AdanaSpec(wrappers=(EmaNesterov(),)).rule

    assert rule.state_names == ("exp_avg", "exp_avg_sq", "ema_nesterov_displacement")
    assert set(rule.scalar_names) - {"ema1", "ema2", "gain", "eps"} - set(SHARED_SCALARS) == {
        "ema_nesterov.memory_weight",
        "ema_nesterov.lookahead_before",
        "ema_nesterov.lookahead",
    }


def test_the_name_of_a_rule_says_what_stands_around_the_algorithm():
    assert AdamwSpec().rule.name == "adamw"
    spec = AdamwSpec(weight_decay=0.0, apply=Hyperball(), wrappers=(Cautious(),))
    assert spec.rule.name == "adamw+cautious+hyperball"


def test_two_specs_with_the_same_stages_share_a_rule_whatever_their_numbers():
    assert AdamwSpec(lr=1e-3).rule is AdamwSpec(lr=2e-3, eps=1e-6).rule
    assert MuonSpec(num_iterations=5).rule is not MuonSpec(num_iterations=6).rule


def test_a_rule_cannot_be_changed_and_can_be_a_key():
    rule = AdanaSpec().rule

    assert {rule: 1}[rule] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.steps = ()


def test_the_source_hash_covers_every_file_with_a_stage():
    digest = hashlib.sha256()
    for module in ("logclock.algorithms.adana", "logclock.rules.wrappers", "logclock.rules.apply"):
        digest.update(Path(sys.modules[module].__file__).read_bytes())

    assert AdanaSpec(wrappers=(Cautious(),)).rule.source_hash == digest.hexdigest()[:16]


@pytest.mark.parametrize("name", list(Spec.family))
def test_every_rule_returns_the_parameter_and_its_states_and_writes_to_none(name):
    spec = Spec.family.get(name)()
    rule = spec.rule
    shape = (3, 3)
    tensors = [torch.full(shape, 0.5, dtype=torch.float64) + torch.eye(3) for _ in range(2)]
    tensors += [torch.full(spec.state_shape(state, shape), 0.25, dtype=torch.float64) for state in rule.state_names]
    before = [tensor.clone() for tensor in tensors]

    results = rule(*tensors, **spec.scalars(2))

    assert [result.shape for result in results] == [tensors[0].shape, *(tensor.shape for tensor in tensors[2:])]
    assert all(result.dtype == torch.float64 for result in results)
    assert all(torch.equal(tensor, old) for tensor, old in zip(tensors, before, strict=True))


@pytest.mark.parametrize("name", list(Spec.family))
def test_every_spec_gives_exactly_the_scalars_of_its_rule(name):
    spec = Spec.family.get(name)()

    assert tuple(spec.scalars(1)) == spec.rule.scalar_names
