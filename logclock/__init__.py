"""logclock: optimizers, schedules and evidence for logarithmic-time training of language models.

    from logclock import ADANA, log_time_decay, param_groups

    optimizer = ADANA(param_groups(model, weight_decay=log_time_decay(4.0, offset=total_steps / 10)), lr=1e-3)

Names are loaded on first use, so that `logclock.analysis` and `logclock.report` work without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from logclock.version import __version__

if TYPE_CHECKING:
    from logclock.optim import (
        ADANA,
        SGD,
        SOAP,
        AdamW,
        AdaptiveWarmup,
        AdEMAMix,
        Dana,
        DanaMK4,
        DanaStar,
        DanaStarMK4,
        LaProp,
        Lion,
        Muon,
        NAdamW,
        NormSGD,
        ScheduledOptimizer,
        Signum,
        from_spec,
        matrix_param_groups,
        param_groups,
    )
    from logclock.records import Ledger, RunRecord
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
    from logclock.theory import gauss_newton_product, gradient_covariance_product, spectral_dimension

_HOMES = {
    "logclock.optim": "ADANA SGD SOAP AdEMAMix AdamW AdaptiveWarmup Dana DanaMK4 DanaStar DanaStarMK4 LaProp Lion Muon "
    "NAdamW NormSGD ScheduledOptimizer Signum from_spec matrix_param_groups param_groups",
    "logclock.records": "Ledger RunRecord",
    "logclock.schedules": "Constant Cosine InverseTime Join Linear PowerGrowth Schedule Warmup WarmupStableDecay "
    "constant_decay log_time_decay log_time_ema",
    "logclock.theory": "gauss_newton_product gradient_covariance_product spectral_dimension",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "ADANA",
    "SGD",
    "SOAP",
    "AdEMAMix",
    "AdamW",
    "AdaptiveWarmup",
    "Constant",
    "Cosine",
    "Dana",
    "DanaMK4",
    "DanaStar",
    "DanaStarMK4",
    "InverseTime",
    "Join",
    "LaProp",
    "Ledger",
    "Linear",
    "Lion",
    "Muon",
    "NAdamW",
    "NormSGD",
    "PowerGrowth",
    "RunRecord",
    "Schedule",
    "ScheduledOptimizer",
    "Signum",
    "Warmup",
    "WarmupStableDecay",
    "__version__",
    "constant_decay",
    "from_spec",
    "gauss_newton_product",
    "gradient_covariance_product",
    "log_time_decay",
    "log_time_ema",
    "matrix_param_groups",
    "param_groups",
    "spectral_dimension",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'logclock' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
