"""Which values may a field take? Bounds that stand in its annotation, checked, documented and searched from there."""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["In", "bounds_of", "check_bounds"]


@dataclasses.dataclass(frozen=True)
class In:
    """An interval of numbers, as metadata of `Annotated[float, In(...)]`.

    Args:
        low: Smallest value, or the bound below it.
        high: Largest value, or the bound above it.
        includes_low: Whether `low` itself is allowed.
        includes_high: Whether `high` itself is allowed.
        advice: A sentence for whoever gave another value.
    """

    low: float = -math.inf
    high: float = math.inf
    includes_low: bool = True
    includes_high: bool = True
    advice: str = ""

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.includes_low else value > self.low
        return above and (value <= self.high if self.includes_high else value < self.high)

    def __str__(self) -> str:
        """Return what a value must do: `be > 0`, `be <= 1` or `lie in (0, 1]`."""
        if math.isinf(self.low):
            return f"be {'<=' if self.includes_high else '<'} {self.high:g}"
        if math.isinf(self.high):
            return f"be {'>=' if self.includes_low else '>'} {self.low:g}"
        return (
            f"lie in {'[' if self.includes_low else '('}{self.low:g}, {self.high:g}{']' if self.includes_high else ')'}"
        )


@functools.cache
def bounds_of(cls: type) -> Mapping[str, In]:
    """Return the bounds of a dataclass's fields by name; fields without bounds are left out."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {f.name: list(_bounds_in(hints[f.name])) for f in dataclasses.fields(cls)}
    return types.MappingProxyType({name: bounds[0] for name, bounds in found.items() if bounds})


def check_bounds(value: Any) -> None:
    """Raise a ValueError for the first field of a dataclass whose number lies outside its bounds.

    None, text and whole objects (a schedule, say) are not numbers and pass.
    """
    cls: type = type(value)
    for name, bounds in bounds_of(cls).items():
        given = getattr(value, name)
        if isinstance(given, int | float) and given not in bounds:
            raise ValueError(f"{name} must {bounds}, got {given!r}.{' ' + bounds.advice if bounds.advice else ''}")


def _bounds_in(annotation: Any) -> Iterator[In]:
    """Yield the bounds in an annotation, which may be one of several alternatives (`Ema | None`)."""
    if typing.get_origin(annotation) is typing.Annotated:
        yield from (item for item in annotation.__metadata__ if isinstance(item, In))
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for option in typing.get_args(annotation):
            yield from _bounds_in(option)
