"""SOAP: Adam in the eigenbasis of a matrix gradient's two Gram matrices."""

from typing import Any

from logclock.rules.averages import total_weight
from logclock.rules.linalg import eigenvectors, refreshed_basis, rotate
from logclock.rules.slots import Count, Ema, Fraction, NonNegative, NonNegativeSlot, PeakLr
from logclock.rules.spec import DecayOrder, Spec, algorithm
from logclock.rules.stage import matrix
from logclock.rules.state import State
from logclock.schedules import value_at


@matrix
def soap(
    grad,
    exp_avg,
    exp_avg_sq,
    row_gram,
    col_gram,
    row_basis,
    col_basis,
    *,
    ema1,
    ema2,
    gram_ema,
    correction,
    is_first,
    refreshes_basis,
    eps,
):
    """Equation in SoapSpec, with shape legend: grad (n, rows, cols), grams and bases (n, side, side) or (n, 0, 0)."""
    update = grad.new_zeros(()).expand_as(grad)
    if not is_first:
        exp_avg = exp_avg + ema1 * (grad - exp_avg)
        rotated = rotate(grad, row_basis, col_basis)
        exp_avg_sq = exp_avg_sq + ema2 * (rotated * rotated - exp_avg_sq)
        direction = rotate(exp_avg, row_basis, col_basis) / (exp_avg_sq.sqrt() + eps)
        update = correction * rotate(direction, row_basis.mT, col_basis.mT)
    row_gram = _averaged(row_gram, grad, gram_ema)
    col_gram = _averaged(col_gram, grad.mT, gram_ema)
    if is_first:
        row_basis, col_basis = eigenvectors(row_gram), eigenvectors(col_gram)
    elif refreshes_basis:
        if row_gram.numel():
            row_basis, order = refreshed_basis(row_gram, row_basis)
            exp_avg_sq = exp_avg_sq.gather(-2, order[..., :, None].expand_as(exp_avg_sq))
        if col_gram.numel():
            col_basis, order = refreshed_basis(col_gram, col_basis)
            exp_avg_sq = exp_avg_sq.gather(-1, order[..., None, :].expand_as(exp_avg_sq))
    return update, exp_avg, exp_avg_sq, row_gram, col_gram, row_basis, col_basis


def _averaged(gram, matrices, ema):
    """Return the average of M M^T after the new one."""
    return gram + ema * (matrices @ matrices.mT - gram) if gram.numel() else gram


@algorithm("soap", class_name="SOAP", paper="arXiv:2409.11321")
class SoapSpec(Spec):
    """SOAP, for the hidden matrices of a model: Adam that runs in Shampoo's slowly moving eigenbasis.

    For a matrix G of gradients, with k = t - 1 the updates made (the first call of a parameter makes none):
        M <- M + ema1 (G - M)
        V <- V + ema2 (Gr^2 - V),  Gr = Q_L^T G Q_R
        W <- W - lr(t) c Q_L [Q_L^T M Q_R / (sqrt(V) + eps)] Q_R^T - decay W
        L <- L + gram_ema (G G^T - L),  R <- R + gram_ema (G^T G - R)
    with Adam's correction c = sqrt(1 - beta2^k) / (1 - beta1^k). Q_L and Q_R are the eigenvectors of L and R after the
    first call; after every `refresh_interval`-th update their columns are sorted by diag(Q^T L Q), V's with them, and
    Q <- QR(L Q). State: exp_avg (M) and exp_avg_sq (V) shaped like the parameter; row_gram (L) and row_basis (Q_L)
    of rows x rows, col_gram and col_basis of cols x cols; 0 x 0 for a side that is longer than `max_basis_size`.
    Takes matrices only, see `logclock.matrix_param_groups`; it is a matrix stage because it rotates them.

    Examples:
        >>> SoapSpec(lr=3e-3).scalars(11)["refreshes_basis"]
        True

    References: Vyas et al. 2024, arXiv:2409.11321.
    """

    direction = (soap,)
    states = {
        "exp_avg": State(weight="ema1"),
        "exp_avg_sq": State(weight="ema2"),
        "row_gram": State(shape=("rows", "rows"), weight="gram_ema", place="owner", empty_above="max_basis_size"),
        "col_gram": State(shape=("cols", "cols"), weight="gram_ema", place="owner", empty_above="max_basis_size"),
        "row_basis": State(shape=("rows", "rows"), place="owner", empty_above="max_basis_size"),
        "col_basis": State(shape=("cols", "cols"), place="owner", empty_above="max_basis_size"),
    }
    matrices_only = True

    lr: PeakLr = 3e-3

    ema1: Fraction = 0.05
    """1 - beta1."""

    ema2: Fraction = 0.05
    """1 - beta2."""

    gram_ema: Ema | None = None
    """Weight of the new Gram matrices; ema2 if None."""

    eps: NonNegative = 1e-8
    """Added to the root."""

    refresh_interval: Count = 10
    """Updates from one basis to the next."""

    max_basis_size: Count = 10000
    """Longest side that is rotated."""

    weight_decay: NonNegativeSlot = 0.01

    decay_order: DecayOrder = "after"

    def makes_update(self, t: float) -> bool:
        """Return whether there is a basis: the first call makes it."""
        return t > 1

    def derived(self, t: float) -> dict[str, Any]:
        """Return what depends on the number of updates made, and the weight of the Gram matrices."""
        num_updates = t - 1
        is_first = num_updates == 0
        weights = 0.0 if is_first else total_weight(self.ema2, num_updates) ** 0.5
        return {
            "gram_ema": value_at(self.ema2 if self.gram_ema is None else self.gram_ema, t),
            "correction": 0.0 if is_first else weights / total_weight(self.ema1, num_updates),
            "is_first": is_first,
            "refreshes_basis": not is_first and num_updates % self.refresh_interval == 0,
        }
