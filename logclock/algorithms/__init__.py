"""Optimizers, one file each: a direction, its hyperparameters and its paper. Whatever lies here is registered.

Other packages register theirs with `logclock.register` in a module that their metadata name under the entry-point group
`logclock.optimizers`; such a module is imported when a name is asked for that is not here, or all names are.
"""

import importlib
import importlib.metadata
import pkgutil
import warnings
from typing import Any

from logclock.rules import Spec

__all__ = ["ENTRY_POINTS"]

ENTRY_POINTS = "logclock.optimizers"
"""Group of entry points whose modules register optimizers."""

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def _load_installed() -> None:
    """Import the modules of other packages that register optimizers."""
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:  # of code that is not ours, and no reason to stop
            warnings.warn(
                f"the optimizers of {entry.value} (entry point {entry.name!r}) could not be registered: {error!r}.",
                stacklevel=2,
            )


Spec.family.discover = _load_installed


def __getattr__(name: str) -> Any:
    """Return a spec by its class name: `AdanaSpec`, say."""
    for spec in Spec.family.members.values():
        if spec.__name__ == name:
            return spec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
