"""Do our own optimizers pass every probe: each algorithm, and each wrapper and apply stage around one?

By default each is asked a sixth of the probes, so chosen that together they are asked all; the rest is `slow`.
"""

import ast
import functools
from pathlib import Path

import pytest
from contract.cases import CASES

import logclock.testing
from logclock.rules import Apply, Spec, Wrapper
from logclock.testing import PROBES, check_optimizer

NAMES = [probe.name for probe in PROBES if not probe.needs_ranks]
AROUND = [("apply", name) for name in Apply.family] + [("wrapper", name) for name in Wrapper.family]
SUBJECTS = [*Spec.family, *(f"{kind}:{name}" for kind, name in AROUND)]

# The compiler alone costs a second; every sixteenth optimizer is asked in the sample.
SPARSE = {"recompiles": 16}


def sample(position):
    """The probes of the default run for the optimizer at a position."""
    return [name for i, name in enumerate(NAMES) if (position + i) % SPARSE.get(name, 6) == 0]


@functools.cache
def subject(name):
    """The class and the settings of an optimizer, or of a wrapper or apply stage around ADANA or Muon."""
    kind, _, option = name.partition(":")
    if not option:
        case = CASES[name]
        return case.build, case.settings
    member = (Apply if kind == "apply" else Wrapper).family.get(option)
    case = CASES["muon" if member.matrices_only else "adana"]
    around = {"apply": option} if kind == "apply" else {"wrappers": [option]}
    rests = {} if kind == "wrapper" or member.decays else {"weight_decay": 0.0}
    return case.build, {**case.settings, **around, **rests}


def failures(name, probes, **options):
    build, settings = subject(name)
    found = check_optimizer(build, settings, probes=probes, **options)
    return {result.probe: result.seen for result in found.failures}


@pytest.mark.parametrize("name", SUBJECTS)
def test_ours_fails_no_probe_of_the_sample(name):
    assert failures(name, sample(SUBJECTS.index(name))) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_ours_fails_no_probe(name):
    assert failures(name, NAMES) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "adana", "muon", "soap", "wrapper:schedule_free"])
def test_ours_fails_no_probe_on_two_ranks(name):
    assert failures(name, ["sharded-step", "sharded-resume"], ranks=2, timeout=240) == {}


def test_the_sample_asks_every_probe_of_some_of_ours():
    asked = {name for position in range(len(SUBJECTS)) for name in sample(position)}

    assert asked == set(NAMES)


def test_the_probes_know_nothing_of_this_package():
    """Only torch's interface: nothing of ours but names of errors' suggestions, and the contract apart."""
    room = Path(logclock.testing.__file__).parent
    allowed = ("logclock.testing", "logclock.config.registry")
    found = []
    for path in sorted(room.rglob("*.py")):
        if path.name == "contract.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [(path.name, n) for n in names if n.startswith("logclock") and not n.startswith(allowed)]

    assert found == []
