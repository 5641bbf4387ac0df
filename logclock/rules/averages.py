"""What corrects an average that starts at zero? The bias of constant averages, for every rule that has them."""

import math
from typing import Any

from logclock.schedules import Schedule, check

__all__ = ["bias_corrections", "check_bias_correction", "check_look_ahead", "check_momentum", "total_weight"]


def total_weight(ema: float, t: float) -> float:
    """Return 1 - beta^t, the sum of the weights of t samples in a constant average: by which its bias is corrected."""
    return 1.0 if ema == 1 else -math.expm1(t * math.log1p(-ema))


def bias_corrections(ema1: Any, ema2: Any, t: float) -> tuple[float, float]:
    """Return c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t) for m and sqrt(v)."""
    return 1 / total_weight(ema1, t), total_weight(ema2, t) ** -0.5


def check_bias_correction(spec: Any) -> None:
    """Raise a ValueError for scheduled ema1 or ema2 with `bias_correction=True`."""
    constant = not isinstance(spec.ema1, Schedule) and not isinstance(spec.ema2, Schedule)
    advice = "beta^t is the bias of a constant average only; set bias_correction=False for scheduled averages."
    check(
        constant or not spec.bias_correction,
        "ema1 and ema2",
        "be numbers with bias_correction=True",
        (spec.ema1, spec.ema2),
        advice=advice,
    )


def check_look_ahead(spec: Any) -> None:
    """Raise a ValueError for `nesterov=True` with an average that keeps nothing but the gradient."""
    advice = "Without momentum there is no look-ahead."
    check(not spec.nesterov or spec.ema1 != 1, "ema1", "be < 1 with nesterov=True", spec.ema1, advice=advice)


def check_momentum(spec: Any) -> None:
    """Raise a ValueError for a look-ahead without momentum."""
    is_zero = not isinstance(spec.momentum, Schedule) and spec.momentum == 0
    check(not (spec.nesterov and is_zero), "momentum", "be > 0 with nesterov=True", spec.momentum)
