"""Configuration as plain data: registries of named dataclasses and a strict dataclass <-> dict codec."""

from logclock.config.codec import from_dict, override, to_dict
from logclock.config.registry import Registry, closest

__all__ = ["Registry", "closest", "from_dict", "override", "to_dict"]
