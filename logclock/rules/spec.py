"""What does an optimizer declare, and how do the papers' conventions become the numbers of one update?"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from logclock.config import Registry
from logclock.rules.rule import Rule
from logclock.schedules import Schedule, Slot, check, value_at

__all__ = [
    "Coupling",
    "DecayOrder",
    "Spec",
    "bias_corrections",
    "check_bias_correction",
    "check_look_ahead",
    "check_matrix",
    "check_momentum",
    "check_slots",
    "lr_and_decay",
    "register",
    "total_weight",
]

Coupling = Literal["independent", "coupled"]
"""Whether decay is multiplied by s(t) = lr / peak_lr (independent) or by lr itself (coupled, as torch does)."""

DecayOrder = Literal["before", "after"]
"""Whether decay acts on the parameter before the update (torch; equal to acting at once with it) or after it."""


class Spec(ABC):
    """An optimizer as data: a rule, hyperparameters with defaults, and the scalars of update t.

    A spec is a frozen keyword-only dataclass. Its field `lr` is the peak learning rate; every slot takes a number or a
    schedule. `matrices_only` says that embeddings, head and vectors need another optimizer.
    """

    family: ClassVar[Registry[Any]] = Registry("optimizer", tag="name")
    rule: ClassVar[Rule]
    matrices_only: ClassVar[bool] = False
    lr: float

    @abstractmethod
    def scalars(self, t: float, lr: Any = None) -> dict[str, Any]:
        """Return the rule's scalars for update t (1 at the first).

        Args:
            t: Update count.
            lr: The current learning rate if something outside schedules it (a number or a 0-d tensor); None: the peak.
        """

    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the state `name` of a parameter of this shape.

        Raises:
            ValueError: The rule does not take such a parameter.
        """
        return shape


register = Spec.family.register


def lr_and_decay(spec: Any, t: float, lr: Any = None) -> tuple[Any, Any]:
    """Return the two numbers by which an update and the weight decay enter: `param - lr * update - decay * param`.

    With lr(t) the learning rate and lambda(t) the spec's `weight_decay`, the fraction removed is s(t) lambda(t) for
    independent decay, s = lr / peak_lr, and lr(t) lambda(t) for coupled decay. Decay after the update,
    (param - lr * update) (1 - decay), is the same expression with lr (1 - decay) for lr.

    Args:
        spec: A spec with `lr`, `lr_schedule`, `weight_decay`, `decay_coupling` and `decay_order`.
        t: Update count.
        lr: As in `Spec.scalars`.
    """
    lr = (spec.lr if lr is None else lr) * value_at(spec.lr_schedule, t)
    factor = lr if spec.decay_coupling == "coupled" else lr / spec.lr
    decay = factor * value_at(spec.weight_decay, t)
    return (lr * (1 - decay) if spec.decay_order == "after" else lr), decay


def total_weight(ema: float, t: float) -> float:
    """Return 1 - beta^t, the sum of the weights of t samples in a constant average: by which its bias is corrected."""
    return 1.0 if ema == 1 else -math.expm1(t * math.log1p(-ema))


def check_matrix(shape: tuple[int, ...], *, name: str) -> None:
    """Raise a ValueError unless a parameter is a matrix."""
    check(
        len(shape) == 2,
        f"a parameter of {name}",
        "be a matrix (2-D)",
        shape,
        advice="logclock.matrix_param_groups gives hidden matrices to it and everything else to another algorithm.",
    )


def check_momentum(momentum: Slot, *, nesterov: bool) -> None:
    """Raise a ValueError for a momentum mu that is out of range, or of no effect."""
    if isinstance(momentum, Schedule):
        return
    check(0 <= momentum < 1, "momentum", "lie in [0, 1)", momentum)
    check(not nesterov or momentum > 0, "momentum", "be > 0 with nesterov=True", momentum)


def bias_corrections(spec: Any, t: float) -> tuple[float, float]:
    """Return c1 = 1 / (1 - beta1^t) and c2 = 1 / sqrt(1 - beta2^t) for m and sqrt(v), or 1 and 1 without correction."""
    if not spec.bias_correction:
        return 1.0, 1.0
    return 1 / total_weight(spec.ema1, t), total_weight(spec.ema2, t) ** -0.5


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


def check_slots(spec: Any) -> None:
    """Raise a ValueError for a shared hyperparameter that is out of range."""
    advice = "It is the peak; freeze parameters with requires_grad_(False) instead of lr = 0."
    check(spec.lr > 0, "lr", "be > 0", spec.lr, advice=advice)
    if hasattr(spec, "eps"):
        check(spec.eps >= 0, "eps", "be >= 0", spec.eps)
    if not isinstance(spec.weight_decay, Schedule):
        check(spec.weight_decay >= 0, "weight_decay", "be >= 0", spec.weight_decay)
    for name in ("ema1", "ema2", "ema_slow"):
        slot = getattr(spec, name, None)
        if isinstance(slot, int | float):
            check(0 < slot <= 1, name, "lie in (0, 1]", slot, advice="It is 1 - beta, the weight of the new sample.")
    check(
        spec.decay_coupling in ("independent", "coupled"),
        "decay_coupling",
        "be 'independent' or 'coupled'",
        spec.decay_coupling,
    )
    check(spec.decay_order in ("before", "after"), "decay_order", "be 'before' or 'after'", spec.decay_order)
