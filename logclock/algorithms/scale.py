"""SCALE: every row of a gradient at the same size, and momentum for the output head alone."""

from typing import Any, Literal

from logclock.rules.slots import Ema, PeakLr, Positive
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import Stage, elementwise, matrix
from logclock.rules.state import State
from logclock.schedules import check


@elementwise
def averaged(grad, exp_avg, *, ema1):
    """Equation of M in ScaleSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    return exp_avg, exp_avg


@matrix
def normalized(update: Any, *, floor: Any, axis: str) -> Any:
    """Return C(update) of ScaleSpec, with shape legend: update (n, [experts,] rows, cols)."""
    return _at_unit_rms(update, floor, axis)


@matrix
def normalized_grad(grad: Any, *, floor: Any, axis: str) -> Any:
    """Return C(grad) of ScaleSpec, where there is no momentum."""
    return _at_unit_rms(grad, floor, axis)


def _at_unit_rms(matrices: Any, floor: Any, axis: str) -> Any:
    squares = (matrices * matrices).mean(-1 if axis == "rows" else -2, keepdim=True)
    return matrices / squares.sqrt().clamp_min(floor)


@algorithm("scale", class_name="SCALE", paper="arXiv:2506.16659")
class ScaleSpec(Spec):
    """SCALE, for the matrices of a model: normalized gradient descent, with momentum on the last layer.

    With C dividing every row (axis "rows") or every column ("cols") by its root mean square, and M starting at 0:
        W <- W - lr(t) C(G) - decay W                                  (ema1 = 1)
        M <- M + ema1 (G - M);  W <- W - lr(t) C(M) - decay W          (otherwise, for the output head)
    State: none, or exp_avg (M), shaped like the parameter. Takes matrices and stacks of them: hidden ones and heads
    with "rows", embeddings with "cols"; vectors go to another algorithm, see `logclock.matrix_param_groups`. It is a
    matrix stage because the vocabulary has no sums over rows.

    Examples:
        >>> ScaleSpec().rule.state_names, ScaleSpec(ema1=0.1).rule.state_names
        ((), ('exp_avg',))

    Deviations: the paper writes the Euclidean norm of a column of the transposed weight; this is the authors' code,
        whose root mean square is that norm divided by the root of its length. The learning rates in the paper's tables
        belong to the latter.
    References: Glentis et al. 2025, arXiv:2506.16659.
    """

    direction = (averaged, normalized)
    states = {"exp_avg": State(weight="ema1")}
    matrices_only = True
    takes_stacks = True

    lr: PeakLr = 1e-3

    ema1: Ema = 1.0
    """Weight of the new gradient in M: 1 for no momentum, 0.1 for the output head."""

    axis: Literal["rows", "cols"] = "rows"
    """What has a size of its own: rows, the outputs of a Linear weight; "cols" for embeddings."""

    floor: Positive = 1e-8
    """Smallest root mean square that is divided by."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Without momentum there is no state."""
        return (normalized_grad,) if self.ema1 == 1 else self.direction

    def validate(self) -> None:
        """Raise a ValueError for an unknown axis."""
        check(self.axis in ("rows", "cols"), "axis", "be one of rows, cols", self.axis)
