"""What is a probe: a question to any optimizer, why it is asked, and the three kinds of answers."""

import dataclasses
from collections.abc import Callable
from typing import Any

__all__ = ["Broken", "NotApplicable", "Probe", "probe"]


class Broken(Exception):
    """The optimizer fails; the message says what was seen.

    Args:
        seen: One sentence.
        amount: How far off it is, as a fraction of the movement of the weights.
    """

    def __init__(self, seen: str, amount: float | None = None) -> None:
        super().__init__(seen)
        self.amount = amount


class NotApplicable(Exception):
    """The question has no meaning for this optimizer; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """One question to an optimizer.

    Args:
        name: What it is called in tables and on command lines.
        purpose: One sentence: what a conforming optimizer does.
        why: One sentence: what goes wrong for a user otherwise.
        threads: Addresses where users met it.
        ask: From a `Subject` to a sentence that says what was seen; raises `Broken` or `NotApplicable`. For a probe on
            several ranks, a function of the rank and the subject that runs on each of them.
        needs_ranks: Whether it runs on several ranks.
    """

    name: str
    purpose: str
    why: str
    threads: tuple[str, ...]
    ask: Callable[..., str]
    needs_ranks: bool = False


def probe(
    name: str, *, purpose: str, why: str, threads: tuple[str, ...] = (), needs_ranks: bool = False
) -> Callable[[Callable[..., str]], Probe]:
    """Return a decorator that makes a function a probe; `threads` are written `owner/repository#number`."""

    def made(ask: Callable[..., Any]) -> Probe:
        addresses = tuple(_address(thread) for thread in threads)
        return Probe(name=name, purpose=purpose, why=why, threads=addresses, ask=ask, needs_ranks=needs_ranks)

    return made


def _address(thread: str) -> str:
    repository, _, number = thread.partition("#")
    return f"https://github.com/{repository}/issues/{number}"
