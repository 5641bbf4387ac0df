"""Does an optimizer do what its users count on? Two suites, for two kinds of optimizers.

`check_optimizer` probes any `torch.optim.Optimizer`, whoever wrote it, for what trainers, schedulers and checkpoints
take for granted. `CHECKS` are the stricter contract of algorithms in this package's grammar.

Each check takes an optimizer class and the hyperparameters to test it with, and raises an AssertionError that says what
was expected:

    @pytest.mark.parametrize("check", logclock.testing.CHECKS)
    def test_my_optimizer_keeps_the_contract(check):
        check(MyOptimizer, {"ema1": 0.05})

`assert_equals_reference` compares with the equations, transcribed independently in numpy; no other check can tell that
the update is the one that its paper defines.

Names are loaded on first use, so that the pytest plugin costs a session without optimizers nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logclock.testing.conformance import check_optimizer
    from logclock.testing.contract import (
        CHECKS,
        assert_copes_with_empty_and_scalar_tensors,
        assert_equals_reference,
        assert_foreach_equals_loop,
        assert_keeps_the_declared_state,
        assert_late_parameters_start_at_their_own_first_update,
        assert_leaves_gradients_alone,
        assert_maximize_descends_the_negative,
        assert_rests_at_learning_rate_zero,
        assert_rests_without_gradients,
        assert_resumes_bitwise,
    )
    from logclock.testing.probe import Probe
    from logclock.testing.probes import PROBES
    from logclock.testing.results import Conformance, ProbeResult

__all__ = [
    "CHECKS",
    "PROBES",
    "Conformance",
    "Probe",
    "ProbeResult",
    "assert_copes_with_empty_and_scalar_tensors",
    "assert_equals_reference",
    "assert_foreach_equals_loop",
    "assert_keeps_the_declared_state",
    "assert_late_parameters_start_at_their_own_first_update",
    "assert_leaves_gradients_alone",
    "assert_maximize_descends_the_negative",
    "assert_rests_at_learning_rate_zero",
    "assert_rests_without_gradients",
    "assert_resumes_bitwise",
    "check_optimizer",
]

_HOMES = {
    "PROBES": "probes",
    "Conformance": "results",
    "Probe": "probe",
    "ProbeResult": "results",
    "check_optimizer": "conformance",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'logclock.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"logclock.testing.{_HOMES.get(name, 'contract')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
