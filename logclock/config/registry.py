"""How does a name in a config file or a checkpoint become a class?"""

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

__all__ = ["Registry", "closest", "suggestion"]

T = TypeVar("T")


def closest(name: str, known: Iterable[str], *, cutoff: float = 0.5) -> list[str]:
    """Return up to three known names that look like `name`, best first; `cutoff` in [0, 1] is how much they must."""
    return difflib.get_close_matches(name, list(known), n=3, cutoff=cutoff)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the sentence that names the closest matches, or an empty string if there are none."""
    matches = closest(name, known)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


class Registry(Generic[T]):
    """A family of classes that are told apart by one key in their dict form.

    A family is declared by a base class that carries its registry as the class attribute `family`; members join with
    `@family.register(name)`. The codec writes the name under `tag` and reads it back, so `{"kind": "constant",
    "value": 0.1}` is enough to rebuild a schedule.

    Args:
        noun: What a member is called in error messages, e.g. `"schedule"`.
        tag: The key under which the name stands in a dict, e.g. `"kind"`.
        accepts_name: Whether plain data may give the name alone, for a member with its default values.
        home: Name of a module that registers members; imported when a name is missing, or all are listed.
    """

    def __init__(self, noun: str, *, tag: str, accepts_name: bool = False, home: str | None = None) -> None:
        self.noun = noun
        self.tag = tag
        self.accepts_name = accepts_name
        self.home = home
        self.members: dict[str, type[T]] = {}
        self.aliases: dict[str, str] = {}
        self.discover: Callable[[], None] | None = None
        """Registers members that are installed elsewhere; called once, when a name is missing or all are listed."""

    def register(self, name: str, *aliases: str) -> Callable[[type[T]], type[T]]:
        """Return a class decorator that adds the class under `name`; a name can be taken once.

        Args:
            name: The name that is written.
            *aliases: Further names that are understood.
        """

        def add(member: type[T]) -> type[T]:
            for taken in (name, *aliases):
                if taken in self.members or taken in self.aliases:
                    owner = self.members[self.aliases.get(taken, taken)].__qualname__
                    raise ValueError(f"{self.noun} {taken!r} is registered already, as {owner}.")
            self.members[name] = member
            self.aliases |= dict.fromkeys(aliases, name)
            return member

        return add

    def get(self, name: str) -> type[T]:
        """Return the class registered under `name`.

        Raises:
            ValueError: The name is unknown; the message lists the closest matches and all names.
        """
        if isinstance(name, str) and name in self:
            return self.members[self.aliases.get(name, name)]
        hint = suggestion(name, self.members) if isinstance(name, str) else ""
        raise ValueError(f"unknown {self.noun} {name!r}.{hint} Known: {', '.join(sorted(self.members))}.")

    def name_of(self, member: type[T]) -> str:
        """Return the name under which a class is registered."""
        for name, candidate in self.members.items():
            if candidate is member:
                return name
        raise ValueError(f"{member.__qualname__} is not a registered {self.noun}.")

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self.members))

    def __contains__(self, name: object) -> bool:
        if name not in self.members and name not in self.aliases:
            self._discover()
        return name in self.members or name in self.aliases

    def _discover(self) -> None:
        if self.home is not None:
            home, self.home = self.home, None
            importlib.import_module(home)
        if self.discover is not None:
            discover, self.discover = self.discover, None
            discover()
