import pytest
import torch

from logclock import backends
from logclock.algorithms import AdamwSpec, AdanaSpec, MuonSpec, NormsgdSpec
from logclock.backends import foreach, fused, loop
from logclock.rules import Cautious, MagnitudeDirection

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.mark.parametrize(
    ("name", "device", "spec", "run"),
    [
        ("loop", CPU, AdanaSpec(), loop.run),
        ("foreach", CPU, AdanaSpec(), foreach.run),
        ("loop", META, AdanaSpec(), loop.run),
        ("foreach", META, MuonSpec(), foreach.run),
        ("loop", CPU, MuonSpec(), loop.run),
    ],
)
def test_a_backend_is_found_by_name(name, device, spec, run):
    assert backends.get(name, device, spec.rule) is run


def test_auto_is_foreach_off_the_cpu():
    assert backends.get("auto", META, AdanaSpec().rule) is foreach.run


@pytest.mark.parametrize(
    "spec",
    [
        AdanaSpec(),
        NormsgdSpec(),
        AdanaSpec(wrappers=(Cautious(),)),
        MuonSpec(),
        AdamwSpec(weight_decay=0.0, apply=MagnitudeDirection()),
    ],
)
def test_auto_on_a_cpu_is_the_compiled_one(spec):
    """Rules with per-tensor numbers included: they are elementwise now."""
    reason = fused.unavailable_reason(CPU)
    if reason is not None:
        pytest.skip(reason)

    assert backends.get("auto", CPU, spec.rule) is fused.run


def test_auto_without_a_compiler_is_loop_and_says_so_once(monkeypatch):
    reason = "backend 'fused' cannot run here: no compiler (test)."
    monkeypatch.setattr(fused, "unavailable_reason", lambda device: reason)

    with pytest.warns(backends.SlowBackendWarning, match=r"run on backend 'loop', several times slower: .*no compiler"):
        found = backends.get("auto", CPU, AdanaSpec().rule)
    again = backends.get("auto", CPU, AdanaSpec().rule)  # a warning would be an error here

    assert found is again is loop.run


def test_an_unknown_backend_is_answered_with_the_closest():
    message = r"^unknown backend 'forech'\. Did you mean 'foreach'\?.* Known: auto, loop, foreach"
    with pytest.raises(ValueError, match=message):
        backends.get("forech", CPU, AdanaSpec().rule)


def test_the_backend_that_was_replaced_runs_its_successor_and_says_so():
    with pytest.warns(FutureWarning, match="'compiled' was replaced by 'fused'"):
        assert backends.current_name("compiled") == "fused"
