"""Adam-mini: AdamW with one second moment for a block of weights: a row, a head, or a whole vector."""

from logclock.rules.families import BiasCorrectedSpec
from logclock.rules.slots import Count, Ema, NonNegativeSlot, PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import matrix
from logclock.rules.state import State
from logclock.schedules import check


@matrix
def adam_mini(grad, exp_avg, exp_avg_sq, *, ema1, ema2, correction1, correction2, eps):
    """Equation in AdamMiniSpec, with shape legend: grad (n, *shape), exp_avg_sq (n, blocks)."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    blocks = exp_avg_sq.shape
    squares = grad.reshape(*blocks, -1).square().mean(-1)
    exp_avg_sq = exp_avg_sq + ema2 * (squares - exp_avg_sq)
    roots = exp_avg_sq.sqrt() * correction2 + eps
    update = correction1 * (exp_avg.reshape(*blocks, -1) / roots[..., None])
    return update.reshape(grad.shape), exp_avg, exp_avg_sq


@algorithm("adam-mini", class_name="AdamMini", paper="arXiv:2406.16793")
class AdamMiniSpec(BiasCorrectedSpec):
    """Adam-mini: the memory of momentum SGD, and Adam's step for each block.

    With t = 1, 2, ..., and v one number for each block b of consecutive rows:
        m <- m + ema1 (g - m)
        v_b <- v_b + ema2 (mean of g^2 over b - v_b)
        theta <- theta - lr(t) c1 m / (sqrt(v_b) c2 + eps) - decay theta
    with AdamW's corrections c1 and c2 of the bias. Blocks are the rows of whatever has two dimensions or more, and a
    vector is one block; `row_blocks` cuts into that many equal ones instead. State: exp_avg (m), shaped like the
    parameter, and exp_avg_sq (v), a number for each block. It is a matrix stage because it sums over blocks.

    Examples:
        >>> AdamMiniSpec(row_blocks=4).num_blocks((64, 16)), AdamMiniSpec().num_blocks((64, 16))
        (4, 64)

    References: Zhang et al. 2024, arXiv:2406.16793.
    """

    direction = (adam_mini,)
    states = {
        "exp_avg": State(weight="ema1"),
        "exp_avg_sq": State(shape=("blocks",), weight="ema2", place="owner"),
    }
    cuts_heads = True

    lr: PeakLr = 1e-3

    ema2: Ema = 0.05
    """1 - beta2, the weight of the new mean of squares in v."""

    row_blocks: Count | None = None
    """Equal blocks of rows with one second moment each: the heads of a query or key projection, or 1 for the whole
    tensor; None for every row of a matrix."""

    weight_decay: NonNegativeSlot = 0.1

    def num_blocks(self, shape: tuple[int, ...]) -> int:
        """Return the number of second moments of a parameter."""
        if self.row_blocks is not None:
            return self.row_blocks
        return shape[0] if len(shape) > 1 else 1

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise a ValueError unless the rows can be cut into `row_blocks`."""
        super().check_shape(shape)
        rows = shape[0] if shape else 1
        blocks = 1 if self.row_blocks is None else self.row_blocks
        advice = "It is the number of heads, say; None gives every row of a matrix a second moment."
        check(rows % blocks == 0, "row_blocks", f"divide the {rows} rows", self.row_blocks, advice=advice)
