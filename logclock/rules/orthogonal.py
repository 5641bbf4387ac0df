"""What do the optimizers share that bring the singular values of matrices near one? Iteration, blocks, momentum."""

import dataclasses
import math
from typing import Any, ClassVar, Literal

from logclock.rules.averages import check_look_ahead
from logclock.rules.linalg import COEFFICIENTS
from logclock.rules.slots import Count, Ema
from logclock.rules.spec import Spec
from logclock.rules.stage import elementwise
from logclock.schedules import check, value_at

__all__ = ["CoefficientSet", "MuonFamilySpec", "OrthogonalSpec", "RowBlocks", "momentum"]

CoefficientSet = (
    Literal["jordan", "quintic", "polar-express", "polar-express-8", "cans"] | tuple[tuple[float, float, float], ...]
)
"""A name in `COEFFICIENTS`, or triples (a, b, c) of one's own."""

RowBlocks = Count | tuple[int, ...]
"""Into how many equal parts rows are cut, or the sizes of the parts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrthogonalSpec(Spec):
    """Abstract: takes matrices, and stacks of matrices, whole or cut into blocks of rows, and orthogonalizes them.

    Its matrix stages may read the static options `triples` (the coefficients, whatever names them), `num_iterations`,
    `iteration_dtype`, `iteration_form` and `row_blocks`.
    """

    matrices_only: ClassVar[bool] = True
    takes_stacks: ClassVar[bool] = True

    coefficients: CoefficientSet = dataclasses.field(default="jordan", metadata={"omit_default": True})
    """Of the Newton-Schulz steps: a name, or a list of triples (a, b, c) of which step k takes the k-th. Steps beyond
    the list repeat its last triple; fewer steps take the first ones."""

    num_iterations: Count = 5
    """Newton-Schulz steps."""

    iteration_dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of those steps. "auto" is bfloat16 where the processor has units for it, by a timing once in a process, else
    float32. "auto" and "float32" stay in float64 for float64 parameters. Name the dtype for a run that must not depend
    on the machine, as the recipes do."""

    iteration_form: Literal["direct", "gram", "auto"] = dataclasses.field(
        default="auto", metadata={"omit_default": True}
    )
    """How the steps are computed: on the matrix, or on the Gram matrix of its short side; "auto" is what is faster for
    its shape, in bfloat16 always the first. They differ by rounding, a few millionths of an update in float32."""

    row_blocks: RowBlocks = 1
    """Blocks of rows that are matrices of their own: how many equal ones, 3 for a fused QKV projection or one for each
    head, or a list of their sizes."""

    def __post_init__(self) -> None:
        """Take lists as the tuples that they stand for, which can be compared and hashed."""
        if isinstance(self.row_blocks, list):
            object.__setattr__(self, "row_blocks", tuple(self.row_blocks))
        if isinstance(self.coefficients, list | tuple):
            triples = tuple(tuple(triple) if isinstance(triple, list) else triple for triple in self.coefficients)
            object.__setattr__(self, "coefficients", triples)
        super().__post_init__()

    @property
    def triples(self) -> tuple[tuple[float, float, float], ...]:
        """The coefficients as triples."""
        return COEFFICIENTS[self.coefficients] if isinstance(self.coefficients, str) else self.coefficients

    def validate(self) -> None:
        """Raise a ValueError for unknown names, and for coefficients or blocks that are none."""
        dtypes = ("auto", "bfloat16", "float32")
        check(self.iteration_dtype in dtypes, "iteration_dtype", f"be one of {', '.join(dtypes)}", self.iteration_dtype)
        forms = ("direct", "gram", "auto")
        check(self.iteration_form in forms, "iteration_form", f"be one of {', '.join(forms)}", self.iteration_form)
        given = self.coefficients
        is_known = given in COEFFICIENTS if isinstance(given, str) else bool(given) and all(map(_is_triple, given))
        expected = f"be one of {', '.join(COEFFICIENTS)}, or a list of triples (a, b, c) of numbers"
        check(is_known, "coefficients", expected, given)
        is_cut = isinstance(self.row_blocks, int) or (
            bool(self.row_blocks) and all(isinstance(size, int) and size > 0 for size in self.row_blocks)
        )
        check(is_cut, "row_blocks", "be a count, or a list of sizes >= 1", self.row_blocks)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise a ValueError unless the parameter is made of matrices whose rows can be cut into `row_blocks`."""
        super().check_shape(shape)
        rows = shape[-2] if len(shape) > 1 else 1
        if isinstance(self.row_blocks, int):
            check(rows % self.row_blocks == 0, "row_blocks", f"divide the {rows} rows", self.row_blocks)
        else:
            check(sum(self.row_blocks) == rows, "row_blocks", f"sum to the {rows} rows", list(self.row_blocks))


def _is_triple(given: Any) -> bool:
    numbers = tuple(given) if isinstance(given, tuple | list) else ()
    return len(numbers) == 3 and all(isinstance(x, int | float) and math.isfinite(x) for x in numbers)


@elementwise
def momentum(grad, momentum_buffer, *, ema1, look_ahead):
    """Return what moves the matrix and the average: the equations of B and M in MuonSpec."""
    momentum_buffer = momentum_buffer + ema1 * (grad - momentum_buffer)
    return momentum_buffer + look_ahead * (grad - momentum_buffer), momentum_buffer


@dataclasses.dataclass(frozen=True, kw_only=True)
class MuonFamilySpec(OrthogonalSpec):
    """Abstract: orthogonalizes the average of `momentum`, which starts at zero and may look ahead."""

    ema1: Ema = 0.05
    """1 - mu, the weight of the new gradient in B; B starts at zero."""

    nesterov: bool = True
    """Whether the gradient looks ahead."""

    def validate(self) -> None:
        """Raise a ValueError for a look-ahead without momentum, and as every such spec does."""
        check_look_ahead(self)
        super().validate()

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weight with which the gradient looks ahead."""
        return {"look_ahead": value_at(self.ema1, t) if self.nesterov else 0.0}
