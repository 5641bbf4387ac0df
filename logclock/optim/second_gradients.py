"""How does an optimizer get another gradient than that of an update: of a loss on sampled labels, say?"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from logclock.config.registry import suggestion
from logclock.rules import Spec

if TYPE_CHECKING:
    from logclock.optim.optimizer import ScheduledOptimizer

__all__ = ["is_due", "second_gradient"]


@contextlib.contextmanager
def second_gradient(optimizer: "ScheduledOptimizer", name: str, given: dict[str, float]) -> Iterator[None]:
    """Set the gradients that are there aside, and give those of the body to the optimizer under a name.

    Nothing of the body's gradients is left afterwards, and the ones from before are back, after an error too; then the
    optimizer has taken none.

    Args:
        optimizer: The optimizer.
        name: Of the spec's `second_gradients`.
        given: Numbers that the stage asks for beside the spec's, all above 0.

    Raises:
        TypeError: No group runs an algorithm that takes such gradients.
        ValueError: A number is not above 0.
        RuntimeError: The body has computed no gradient for a parameter that takes it.
    """
    if not any(name in optimizer.spec(group).second_gradients for group in optimizer.param_groups):
        known = [other for other, cls in Spec.family.members.items() if name in cls.second_gradients]
        raise TypeError(
            f"{type(optimizer).__name__} takes no {name!r}: no group runs an algorithm that reads one, and this had no "
            f"effect. Leave it out, or use one of {', '.join(known)}."
        )
    for number, value in given.items():
        if not value > 0:
            raise ValueError(f"{number} must be > 0, got {value!r}.")
    before = {param: param.grad for group in optimizer.param_groups for param in group["params"]}
    for param in before:
        param.grad = None
    try:
        yield
        optimizer._take_second(name, given)
    finally:
        for param, grad in before.items():
            param.grad = grad


def is_due(optimizer: "ScheduledOptimizer", name: str) -> bool:
    """Return whether a group wants the gradients of that name before its next update.

    Raises:
        ValueError: No algorithm takes such gradients.
    """
    takers = [group for group in optimizer.param_groups if name in optimizer.spec(group).second_gradients]
    known = sorted({other for cls in Spec.family.members.values() for other in cls.second_gradients})
    if not takers and name not in known:
        raise ValueError(f"unknown second gradient {name!r}.{suggestion(name, known)} Known: {', '.join(known)}.")
    for group in takers:
        states = [optimizer.state.get(param, {}) for param in group["params"]]
        clocks = [state["step"].item() for state in states if "step" in state]
        if optimizer.spec(group).is_due(name, max(clocks, default=0) + 1):
            return True
    return False


def no_gradient(name: str) -> RuntimeError:
    """Return the error for a body that computed nothing."""
    return RuntimeError(
        f"no gradient was computed within optimizer.{name}(...), so there is nothing to take. Call backward() on the "
        "loss inside of the with statement; gradients from before it are set aside."
    )
