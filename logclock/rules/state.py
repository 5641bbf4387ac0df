"""What does a rule remember, and in which precision may it be kept?"""

import dataclasses
from typing import Literal

__all__ = ["State"]

Side = Literal["rows", "cols", "long", "short", "rank"]
"""Of a matrix: its rows and columns, the longer and the shorter of the two (the rows are the longer side of a square),
and the spec's field `rank`, where the shorter side is not shorter yet."""


@dataclasses.dataclass(frozen=True)
class State:
    """A tensor that an update carries from one step to the next, for each parameter.

    Args:
        shape: "param" for the parameter's own shape; "number" for one number per parameter; else sides of a matrix,
            e.g. ("rows", "rows") or ("long", "rank").
        init: "zeros", "param" for a copy of the parameter, "identity" for ones on the diagonal, or a number.
        weight: Name of the scalar that is the weight of the newest sample, if the state is an average. A format that
            rounds such small changes away is refused.
        keeps: "float32" for a state that no other format can hold; "any" otherwise.
        place: "shard" if every rank keeps its part, as the parameter is cut; "owner" if the state is whole on a rank.
        empty_above: Name of a field of the spec: the state is 0 x 0 if a side of it would be longer than that.
    """

    shape: Literal["param", "number"] | tuple[Side, ...] = "param"
    init: Literal["zeros", "param", "identity"] | float = "zeros"
    weight: str | None = None
    keeps: Literal["any", "float32"] = "any"
    place: Literal["shard", "owner"] = "shard"
    empty_above: str | None = None

    @property
    def is_number(self) -> bool:
        """Whether the state is one number per parameter."""
        return self.shape == "number"

    @property
    def has_rank(self) -> bool:
        """Whether a side is the spec's rank."""
        return not isinstance(self.shape, str) and "rank" in self.shape

    def shape_for(self, shape: tuple[int, ...], rank: int | None = None) -> tuple[int, ...]:
        """Return the shape of this state of a parameter of `shape`, of which named sides are a matrix's.

        Args:
            shape: Of the parameter.
            rank: The spec's, for a state with such a side.
        """
        if self.shape == "param":
            return tuple(shape)
        if self.shape == "number":
            return ()
        sides = {"rows": shape[0], "cols": shape[1], "long": max(shape), "short": min(shape)}
        if self.has_rank:
            if rank is None:
                raise ValueError(f"a state of shape {self.shape} needs a rank. Give its spec a field `rank`.")
            sides["rank"] = min(rank, sides["short"])
        return tuple(sides[side] for side in self.shape)
