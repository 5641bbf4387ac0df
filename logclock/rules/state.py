"""What does a rule remember, and in which precision may it be kept?"""

import dataclasses
from typing import Literal

__all__ = ["State"]

Side = Literal["rows", "cols"]


@dataclasses.dataclass(frozen=True)
class State:
    """A tensor that an update carries from one step to the next, for each parameter.

    Args:
        shape: "param" for the parameter's own shape; "number" for one number per parameter; else sides of a matrix,
            e.g. ("rows", "rows").
        init: "zeros", "param" for a copy of the parameter, or a number.
        weight: Name of the scalar that is the weight of the newest sample, if the state is an average. A format that
            rounds such small changes away is refused.
        keeps: "float32" for a state that no other format can hold; "any" otherwise.
        place: "shard" if every rank keeps its part, as the parameter is cut; "owner" if the state is whole on a rank.
        empty_above: Name of a field of the spec: the state is 0 x 0 if a side of it would be longer than that.
    """

    shape: Literal["param", "number"] | tuple[Side, ...] = "param"
    init: Literal["zeros", "param"] | float = "zeros"
    weight: str | None = None
    keeps: Literal["any", "float32"] = "any"
    place: Literal["shard", "owner"] = "shard"
    empty_above: str | None = None

    @property
    def is_number(self) -> bool:
        """Whether the state is one number per parameter."""
        return self.shape == "number"

    def shape_for(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of this state of a parameter of `shape`, of which named sides are a matrix's.

        A stack of matrices, `(experts, rows, cols)`, has one for each of them.
        """
        if self.shape == "param":
            return tuple(shape)
        if self.shape == "number":
            return ()
        sides = {"rows": shape[-2], "cols": shape[-1]}
        return (*shape[:-2], *(sides[side] for side in self.shape))
