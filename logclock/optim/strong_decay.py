"""Which constant weight decay was meant for AdamW, and would erase the weights where decay is independent of lr?"""

import math
from collections.abc import Iterator
from typing import Any

from logclock.rules import Spec
from logclock.schedules import Schedule, value_at

__all__ = ["STRONG", "is_strong", "refuse_strong_decay"]

STRONG = 0.005
"""Share of a weight per update from which on a bare number is taken for AdamW's; it halves the weights in 139 updates.

The paper's constant omega / T = 4 / T lies below it in every run of more than 800 updates, and what torch's AdamW is
given, 0.01 to 0.1, above it. A shorter run writes a schedule: `constant_decay(4.0, total_steps=T)`.
"""

HOSTS = (
    " Hugging Face's Trainer writes TrainingArguments.weight_decay into its groups: leave that at 0, and give "
    "logclock.OptimizerFactory the decay."
)


def is_strong(weight_decay: Any, coupling: Any, peak_lr: float) -> bool:
    """Return whether a decay is a bare number that would erase the weights.

    A schedule is never taken for AdamW's number, `Constant` included. At a peak of 1 independent and coupled decay are
    the same, so that AdamW's number means there what it means in torch.
    """
    is_number = isinstance(weight_decay, int | float)
    return coupling == "independent" and is_number and weight_decay >= STRONG and peak_lr < 1


def refuse_strong_decay(spec: Spec, *, is_group: bool = False) -> None:
    """Raise for a decay that would erase the weights, with what to write instead.

    Args:
        spec: Of the optimizer or group; its `lr` is the peak.
        is_group: Whether the decay stands in a group, where a host may have written it.
    """
    decay = spec.weight_decay
    if not is_strong(decay, spec.decay_coupling, spec.lr):
        return
    assert isinstance(decay, int | float)
    horizon = max(_horizons(spec.lr_schedule), default=None)
    share = 1000.0 if horizon is None else _sum(spec.lr_schedule, horizon)
    run = "1,000 updates at the peak" if horizon is None else f"the {horizon:,.0f} updates of lr_schedule"
    halving = f", half of it in {math.log(2) / -math.log1p(-decay):.0f} updates" if decay < 1 else ""
    raise ValueError(
        f"weight_decay={decay:g} would erase the weights. The decay of {spec.class_name} is independent of lr here: "
        f"this constant removes {decay:.3g} of every weight per update{halving}, {_written(share * decay)} nepers in "
        f"{run}, where torch's AdamW removes lr * weight_decay = {spec.lr * decay:.3g} per update, "
        f"{_written(share * spec.lr * decay)} nepers. Write weight_decay=log_time_decay(4.0, total_steps=T), which "
        "falls in time, as in the ADANA paper; or keep the number and AdamW's meaning of it with "
        f"decay_coupling='coupled'. logclock.translate_adamw(lr=..., weight_decay={decay:g}, total_steps=T) translates "
        f"the other numbers too.{HOSTS if is_group else ''} A constant that is meant is a schedule: "
        f"Constant(value={decay:g}), or constant_decay(4.0, total_steps=T)."
    )


def _written(nepers: float) -> str:
    return f"{nepers:,.0f}" if nepers >= 100 else f"{nepers:.3g}"


def _horizons(schedule: Any) -> Iterator[float]:
    """Yield the planned updates that a learning-rate schedule and its parts know of."""
    if isinstance(schedule, Schedule):
        if hasattr(schedule, "total_steps"):
            yield schedule.total_steps
        for part in (*getattr(schedule, "factors", ()), *getattr(schedule, "schedules", ())):
            yield from _horizons(part)


def _sum(schedule: Any, total_steps: float, points: int = 1000) -> float:
    """Return the sum of s(t) over the run, from at most `points` of its updates."""
    width = max(total_steps / points, 1.0)
    num_points = round(total_steps / width)
    return width * math.fsum(value_at(schedule, (i + 0.5) * width + 0.5) for i in range(num_points))
