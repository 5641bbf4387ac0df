import pytest
import torch

from logclock import backends
from logclock.backends import compiled, foreach, loop

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.mark.parametrize(
    ("name", "device", "run"),
    [
        ("loop", CPU, loop.run),
        ("foreach", CPU, foreach.run),
        ("compiled", CPU, compiled.run),
        ("auto", CPU, loop.run),
        ("auto", META, foreach.run),
        ("loop", META, loop.run),
    ],
)
def test_a_backend_is_found_by_name(name, device, run):
    assert backends.get(name, device) is run


def test_all_backends_are_listed():
    assert sorted(backends.BACKENDS) == ["compiled", "foreach", "loop"]


def test_an_unknown_backend_is_answered_with_the_closest():
    message = r"^unknown backend 'compile'\. Did you mean 'compiled'\? Known: auto, loop, foreach, compiled\.$"
    with pytest.raises(ValueError, match=message):
        backends.get("compile", CPU)
