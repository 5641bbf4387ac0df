import pytest
import torch

from logclock import backends
from logclock.backends import compiled, foreach, loop, stacked
from logclock.rules import Spec

CPU, META = torch.device("cpu"), torch.device("meta")
ADANA, MUON = (Spec.family.get(name).rule for name in ("adana", "muon"))


@pytest.mark.parametrize(
    ("name", "device", "rule", "run"),
    [
        ("loop", CPU, ADANA, loop.run),
        ("foreach", CPU, ADANA, foreach.run),
        ("compiled", CPU, ADANA, compiled.run),
        ("auto", CPU, ADANA, loop.run),
        ("auto", META, ADANA, foreach.run),
        ("loop", META, ADANA, loop.run),
        ("auto", CPU, MUON, stacked.run_stacked),
        ("foreach", META, MUON, stacked.run_stacked),
        ("loop", CPU, MUON, stacked.run_one_by_one),
    ],
)
def test_a_backend_is_found_by_name(name, device, rule, run):
    assert backends.get(name, device, rule) is run


def test_all_backends_are_listed():
    assert sorted(backends.BACKENDS) == ["compiled", "foreach", "loop"]
    assert sorted(backends.WHOLE_TENSOR_BACKENDS) == ["foreach", "loop"]


def test_an_unknown_backend_is_answered_with_the_closest():
    message = r"^unknown backend 'compile'\. Did you mean 'compiled'\? Known: auto, loop, foreach, compiled\.$"
    with pytest.raises(ValueError, match=message):
        backends.get("compile", CPU, ADANA)


def test_a_backend_that_cannot_run_a_rule_says_which_can():
    message = r"^backend 'compiled' runs elementwise rules only; 'muon' works on whole tensors\. Use backend='foreach'"
    with pytest.raises(ValueError, match=message):
        backends.get("compiled", CPU, MUON)
