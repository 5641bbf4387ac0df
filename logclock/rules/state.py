"""What does a rule remember, and in which precision may it be kept?"""

import dataclasses
from typing import Any, Literal

__all__ = ["SIDES", "State"]

SIDES = ("rows", "cols", "short", "long")
"""Sides of a matrix that a state may have (the rows are the longer side of a square); any other name is a field of the
spec, such as a rank."""


@dataclasses.dataclass(frozen=True)
class State:
    """A tensor that an update carries from one step to the next, for each parameter.

    Args:
        shape: "param" for the parameter's own shape; "number" for one number per parameter; else sides of a matrix,
            e.g. ("rows", "rows"), of `SIDES` or named by a field of the spec that is a whole number, e.g. ("long",
            "rank"), which stands for at most the shorter side; or ("blocks",), a number for each block of
            `Spec.num_blocks`.
        init: "zeros", "param" for a copy of the parameter, "identity" for ones on the diagonal, or a number.
        weight: Name of the scalar that is the weight of the newest sample, if the state is an average. A format that
            rounds such small changes away is refused.
        keeps: "float32" for a state that no other format can hold; "any" otherwise.
        place: "shard" if every rank keeps its part, as the parameter is cut; "owner" if the state is whole on a rank.
        empty_above: Name of a field of the spec: the state is 0 x 0 if a side of it would be longer than that.
        only: "matrices" for a state that is empty for every other parameter; "others" for the reverse.
        total: For a number: under which name later stages read its sum over all tensors that an optimizer updates
            together, as a scalar.
        is_shared: For a number: whether it is one for all tensors that an optimizer updates with the algorithm. Each
            keeps a copy; a tensor that comes later takes that of the others.
    """

    shape: Literal["param", "number"] | tuple[str, ...] = "param"
    init: Literal["zeros", "param", "identity"] | float = "zeros"
    weight: str | None = None
    keeps: Literal["any", "float32"] = "any"
    place: Literal["shard", "owner"] = "shard"
    empty_above: str | None = None
    only: Literal["matrices", "others"] | None = None
    total: str | None = None
    is_shared: bool = False

    @property
    def is_number(self) -> bool:
        """Whether the state is one number per parameter."""
        return self.shape == "number"

    @property
    def has_rank(self) -> bool:
        """Whether a side is a field of the spec, at most the shorter side of a matrix."""
        return not isinstance(self.shape, str) and not set(self.shape) <= {*SIDES, "blocks"}

    def shape_for(self, shape: tuple[int, ...], spec: Any = None) -> tuple[int, ...]:
        """Return the shape of this state of a parameter of `shape`, of which named sides are a matrix's or a spec's.

        A stack of matrices, `(experts, rows, cols)`, has one for each of them.
        """
        if self.shape == "number":
            return ()
        if self.only is not None and (self.only == "matrices") != (len(shape) == 2):
            return (0,) if self.shape == "param" else (0,) * len(self.shape)
        if self.shape == "param":
            return tuple(shape)
        if self.shape == ("blocks",):
            return (spec.num_blocks(shape),)
        rows, cols = shape[-2:]
        sides = dict(zip(SIDES, (rows, cols, min(rows, cols), max(rows, cols)), strict=True))
        fields = [side for side in self.shape if side not in sides]
        if missing := [field for field in fields if not hasattr(spec, field)]:
            raise ValueError(
                f"a state of shape {self.shape} needs a {missing[0]}. Give its spec a field `{missing[0]}`."
            )
        sides |= {field: min(getattr(spec, field), sides["short"]) for field in fields}
        return (*shape[:-2], *(sides[side] for side in self.shape))
