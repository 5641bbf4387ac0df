"""logclock: optimizers, schedules and evidence for logarithmic-time training of language models.

    from logclock import ADANA, log_time_decay, param_groups

    optimizer = ADANA(param_groups(model, weight_decay=log_time_decay(4.0, offset=total_steps / 10)), lr=1e-3)

Names are loaded on first use, so that `logclock.analysis` and `logclock.report` work without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from logclock.version import __version__

if TYPE_CHECKING:
    from logclock.curves import compare_curves
    from logclock.optim import (
        AdaptiveWarmup,
        LowPrecisionWarning,
        OptimizerFactory,
        ScheduledOptimizer,
        from_spec,
        matrix_param_groups,
        param_groups,
    )
    from logclock.optim.classes import *  # noqa: F403
    from logclock.records import Ledger, RunRecord
    from logclock.rules.spec import algorithm as register
    from logclock.schedules import (
        Constant,
        Cosine,
        InverseTime,
        Join,
        Linear,
        PowerGrowth,
        Schedule,
        Warmup,
        WarmupStableDecay,
        constant_decay,
        log_time_decay,
        log_time_ema,
    )
    from logclock.suggestions import Translation, translate_adamw
    from logclock.theory import gauss_newton_product, gradient_covariance_product, spectral_dimension

_HOMES = {
    "logclock.curves": "compare_curves",
    "logclock.optim": "AdaptiveWarmup LowPrecisionWarning OptimizerFactory ScheduledOptimizer from_spec "
    "matrix_param_groups param_groups",
    "logclock.records": "Ledger RunRecord",
    "logclock.schedules": "Constant Cosine InverseTime Join Linear PowerGrowth Schedule Warmup WarmupStableDecay "
    "constant_decay log_time_decay log_time_ema",
    "logclock.suggestions": "Translation translate_adamw",
    "logclock.theory": "gauss_newton_product gradient_covariance_product spectral_dimension",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    if name == "register":
        return importlib.import_module("logclock.rules.spec").algorithm
    if name == "__all__":
        return _public_names()
    if name.startswith("__"):
        raise AttributeError(f"module 'logclock' has no attribute {name!r}")
    try:  # an optimizer, of this package or of one that registers its own
        return getattr(importlib.import_module("logclock.optim.classes"), name)
    except AttributeError:
        raise AttributeError(f"module 'logclock' has no attribute {name!r}") from None


def _public_names() -> list[str]:
    """Return what is promised: the names above and one class for each optimizer of this package."""
    classes = importlib.import_module("logclock.optim.classes").__all__
    return sorted([*_HOME_OF, *classes, "register", "__version__"])


def __dir__() -> list[str]:
    return _public_names()
