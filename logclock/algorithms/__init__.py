"""Optimizers, one file each: a direction, its hyperparameters and its paper. Whatever lies here is registered."""

import importlib
import pkgutil

from logclock.rules import Spec

__all__ = []

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

for _spec in Spec.family.members.values():
    globals()[_spec.__name__] = _spec
    __all__ += [_spec.__name__]
