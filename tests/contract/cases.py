"""Which optimizers does the contract suite test? Every case that a file of tests/reference holds under `CASES`.

A registered optimizer without a case fails `test_every_optimizer_has_a_case`.
"""

import importlib
from pathlib import Path

from logclock.schedules import log_time_decay

_REFERENCES = sorted(path.stem for path in (Path(__file__).parents[1] / "reference").glob("*.py"))

CASES = {
    case.name: case
    for name in _REFERENCES
    for case in getattr(importlib.import_module(f"reference.{name}"), "CASES", ())
}

WEIGHT_DECAY = log_time_decay(0.5, offset=4.0)
"""A running schedule for the suites that want one."""
