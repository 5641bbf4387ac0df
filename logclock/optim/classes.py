"""Which class does a user name? One for each registered algorithm, made from its spec."""

from collections.abc import Iterable
from typing import Any

import torch

import logclock.algorithms  # registers them
from logclock.optim.optimizer import ScheduledOptimizer
from logclock.optim.signatures import documentation_of, signature_of
from logclock.rules import Spec

__all__ = sorted(spec.class_name for spec in Spec.family.members.values())

assert logclock.algorithms


class AlgorithmOptimizer(ScheduledOptimizer):
    """Base of the classes that stand for one algorithm; their documentation and signature are those of the spec."""

    def __init__(self, params: Iterable[Any], lr: float | torch.Tensor | None = None, **hyperparameters: Any) -> None:
        super().__init__(params, lr=lr, **hyperparameters)


def _class_of(name: str, spec: type[Spec]) -> type[AlgorithmOptimizer]:
    attributes = {
        "algorithm": name,
        "__doc__": documentation_of(spec),
        "__module__": __name__,
        "__signature__": signature_of(spec),
    }
    return type(spec.class_name, (AlgorithmOptimizer,), attributes)


def __getattr__(name: str) -> Any:
    """Make the class of an algorithm when it is asked for the first time, whenever that was registered."""
    if not name.startswith("__"):
        for algorithm in (*Spec.family.members, *Spec.family):  # those of other packages are looked for last
            spec = Spec.family.get(algorithm)
            if spec.class_name == name:
                return globals().setdefault(name, _class_of(algorithm, spec))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
