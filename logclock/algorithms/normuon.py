"""NorMuon: Muon whose rows all move by about as much, by an average of their squares."""

from typing import Any, Literal

from logclock.rules.linalg import by_blocks, frobenius, orthogonalized
from logclock.rules.orthogonal import MuonFamilySpec, momentum
from logclock.rules.slots import Ema, NonNegative, PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import matrix
from logclock.rules.state import State
from logclock.schedules import check


@matrix
def normalized(
    update: Any,
    axis_avg_sq: Any,
    *,
    ema2: Any,
    eps: Any,
    triples: tuple[Any, ...],
    num_iterations: int,
    row_blocks: int | tuple[int, ...],
    scale_rule: str,
    iteration_dtype: str,
    iteration_form: str,
    axis: str,
) -> Any:
    """Equation in NormuonSpec, with shape legend: update (n, [experts,] rows, cols), axis_avg_sq (n, [experts,] k)."""
    settings: Any = {
        "triples": triples,
        "num_iterations": num_iterations,
        "iteration_dtype": iteration_dtype,
        "iteration_form": iteration_form,
    }
    whole = by_blocks(lambda blocks: orthogonalized(blocks, **settings), row_blocks, update)
    if axis == "short_axis" and is_wide(update.shape, row_blocks):  # each block has a mean square for each column
        cut = whole.unflatten(-2, (row_blocks, -1))
        squares = (cut * cut).mean(-2)
        axis_avg_sq = axis_avg_sq + ema2 * (squares.flatten(-2) - axis_avg_sq)
        roots = axis_avg_sq.sqrt().unflatten(-1, squares.shape[-2:])[..., None, :]
        scaled = (cut / (roots + eps)).flatten(-3, -2)
    else:
        axis_avg_sq = axis_avg_sq + ema2 * ((whole * whole).mean(-1) - axis_avg_sq)
        scaled = whole / (axis_avg_sq.sqrt()[..., None] + eps)

    def rescaled(before: Any, after: Any) -> Any:
        rows, cols = after.shape[-2:]
        if scale_rule == "match_rms_adamw":
            return after * (0.2 * (rows * cols) ** 0.5 / frobenius(after))
        return after * (frobenius(before) / frobenius(after) * max(1.0, rows / cols) ** 0.5)

    return by_blocks(rescaled, row_blocks, whole, scaled), axis_avg_sq


def is_wide(shape: Any, row_blocks: int | tuple[int, ...]) -> bool:
    """Return whether equal blocks of a matrix have fewer rows than columns."""
    return isinstance(row_blocks, int) and shape[-2] // row_blocks < shape[-1]


@algorithm("normuon", class_name="NorMuon", paper="arXiv:2510.05491")
class NormuonSpec(MuonFamilySpec):
    """NorMuon, for the hidden matrices of a model: Muon with a second moment for every row of its update.

    For a matrix of r rows and c columns, with M as in MuonSpec and v starting at 0:
        O = NewtonSchulz(M)
        v <- v + ema2 (rowmean(O^2) - v)
        P = O / (sqrt(v) + eps)
        W <- W - lr(t) sqrt(max(1, r / c)) P norm(O) / norm(P) - decay W    (scale_rule "original")
        W <- W - lr(t) 0.2 sqrt(r c) P / norm(P) - decay W                  (scale_rule "match_rms_adamw")
    v needs no bias correction: the norms take out what all rows have in common. State: momentum_buffer, shaped like the
    parameter; axis_avg_sq (v), one number for each row. Takes matrices and stacks of them, see
    `logclock.matrix_param_groups`; it is a matrix stage because it multiplies matrices and sums over rows.

    Examples:
        >>> NormuonSpec().state_shape("axis_avg_sq", (8, 32))
        (8,)

    Deviations: axis "short_axis" (two public speed runs) averages over the longer side, so that a wide matrix has a
        number for each column.
    References: Li et al. 2025, arXiv:2510.05491 ("original" is the authors' code, "match_rms_adamw" Algorithm 1).
    """

    direction = (momentum, normalized)
    states = {
        "momentum_buffer": State(weight="ema1"),
        "axis_avg_sq": State(shape=("rows",), weight="ema2", place="owner"),
    }

    lr: PeakLr = 0.02

    ema2: Ema = 0.05
    """1 - beta2, the weight of the new mean squares in v."""

    eps: NonNegative = 1e-10
    """Added to the root."""

    scale_rule: Literal["original", "match_rms_adamw"] = "original"
    """The size of an update: the orthogonalized matrix's times Muon's factor, or a root mean square of 0.2."""

    axis: Literal["rows", "short_axis"] = "rows"
    """What has a number in v: every row, or every line along the longer side, a column of a wide matrix."""

    def validate(self) -> None:
        """Raise a ValueError for unknown names, for columns of unequal blocks, and as the family does."""
        super().validate()
        rules, axes = ("original", "match_rms_adamw"), ("rows", "short_axis")
        check(self.scale_rule in rules, "scale_rule", f"be one of {', '.join(rules)}", self.scale_rule)
        check(self.axis in axes, "axis", f"be one of {', '.join(axes)}", self.axis)
        has_sizes = self.axis == "short_axis" and not isinstance(self.row_blocks, int)
        check(
            not has_sizes,
            "row_blocks",
            "be a count with axis='short_axis'",
            self.row_blocks,
            advice="Blocks of unequal sizes may be wide and tall at once; use axis='rows'.",
        )

    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a state, of which v may lie along the columns of every block."""
        if name == "axis_avg_sq" and self.axis == "short_axis" and is_wide(shape, self.row_blocks):
            assert isinstance(self.row_blocks, int)
            return (*shape[:-2], self.row_blocks * shape[-1])
        return super().state_shape(name, shape)
