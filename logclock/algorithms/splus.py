"""SPlus: the sign of a momentum in the eigenbasis of a matrix gradient's two Gram matrices."""

from typing import Any

from logclock.rules.families import GramSpec, gram_states
from logclock.rules.linalg import averaged_gram, eigenvectors, rotate
from logclock.rules.slots import Count, Ema, NonNegativeSlot, PeakLr
from logclock.rules.spec import DecayOrder, algorithm
from logclock.rules.stage import matrix
from logclock.rules.state import State


@matrix
def splus(grad, exp_avg, row_gram, col_gram, row_basis, col_basis, *, ema1, gram_ema, is_first, refreshes_basis):
    """Equation in SplusSpec, with shape legend: grad (n, rows, cols), grams and bases (n, side, side) or (n, 0, 0)."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    if is_first:
        update = exp_avg.sign()
    else:
        update = rotate(rotate(exp_avg, row_basis, col_basis).sign(), row_basis.mT, col_basis.mT)
    row_gram = averaged_gram(row_gram, grad, gram_ema)
    col_gram = averaged_gram(col_gram, grad.mT, gram_ema)
    if is_first or refreshes_basis:
        row_basis, col_basis = eigenvectors(row_gram), eigenvectors(col_gram)
    rows, cols = grad.shape[-2:]
    return update * (2 / (rows + cols)), exp_avg, row_gram, col_gram, row_basis, col_basis


@algorithm("splus", class_name="SPlus", paper="arXiv:2506.07254")
class SplusSpec(GramSpec):
    """SPlus, for the hidden matrices of a model: Shampoo with a sign in place of eigenvalues, for rare refreshes.

    For an m x n matrix G of gradients, with t = 1, 2, ... and Q_L, Q_R starting as the identity:
        M <- M + ema1 (G - M)
        W <- W - lr(t) 2 / (m + n) Q_L sign(Q_L^T M Q_R) Q_R^T - decay W
        L <- L + gram_ema (G G^T - L),  R <- R + gram_ema (G^T G - R)
    Q_L and Q_R are the eigenvectors of L and R after the first update and every `refresh_interval`-th. State: exp_avg
    (M) shaped like the parameter; row_gram (L) and row_basis (Q_L) of rows x rows, col_gram and col_basis of cols x
    cols; 0 x 0 for a side that is longer than `max_basis_size`. Takes matrices only, see
    `logclock.matrix_param_groups`; it is a matrix stage because it rotates them.

    Examples:
        >>> [t for t in range(1, 301) if SplusSpec().scalars(t)["refreshes_basis"]]
        [100, 200, 300]

    Deviations: evaluation is at the weights that are trained, not at an average of them; decay is not multiplied by
        2 / (m + n).
    References: Frans et al. 2025, arXiv:2506.07254.
    """

    direction = (splus,)
    states = {"exp_avg": State(weight="ema1"), **gram_states("basis")}

    lr: PeakLr = 0.1

    ema1: Ema = 0.1
    """1 - beta1, the weight of the new gradient in M."""

    gram_ema: Ema = 0.001
    """1 - beta2, the weight of the new Gram matrices."""

    refresh_interval: Count = 100
    """Updates from one decomposition to the next."""

    weight_decay: NonNegativeSlot = 0.01

    decay_order: DecayOrder = "after"

    def due(self, t: float, turn: int) -> dict[str, Any]:
        """Return whether a matrix is decomposed after update t; the first update decomposes all."""
        return {"refreshes_basis": (t + turn) % self.refresh_interval == 0}
