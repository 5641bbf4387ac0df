"""SOAP: Adam in the eigenbasis of a matrix gradient's two Gram matrices."""

from logclock.rules.families import RotatedAdamSpec
from logclock.rules.linalg import adam_in_basis, averaged_gram, renewed_basis, reordered
from logclock.rules.slots import PeakLr
from logclock.rules.spec import DecayOrder, algorithm
from logclock.rules.stage import matrix


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
        weights = {"ema1": ema1, "ema2": ema2, "correction": correction, "eps": eps}
        update, exp_avg, exp_avg_sq = adam_in_basis(grad, exp_avg, exp_avg_sq, row_basis, col_basis, **weights)
    row_gram = averaged_gram(row_gram, grad, gram_ema)
    col_gram = averaged_gram(col_gram, grad.mT, gram_ema)
    if is_first or refreshes_basis:
        row_basis, order = renewed_basis(row_gram, row_basis, is_first=is_first)
        exp_avg_sq = reordered(exp_avg_sq, order, dim=-2)
        col_basis, order = renewed_basis(col_gram, col_basis, is_first=is_first)
        exp_avg_sq = reordered(exp_avg_sq, order, dim=-1)
    return update, exp_avg, exp_avg_sq, row_gram, col_gram, row_basis, col_basis


@algorithm("soap", class_name="SOAP", paper="arXiv:2409.11321")
class SoapSpec(RotatedAdamSpec):
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
        >>> turns = SoapSpec(lr=3e-3, spread_refreshes=True)
        >>> [t for t in range(1, 32) if turns.scalars(t, turn=2)["refreshes_basis"]]
        [9, 19, 29]

    References: Vyas et al. 2024, arXiv:2409.11321.
    """

    direction = (soap,)

    lr: PeakLr = 3e-3

    decay_order: DecayOrder = "after"
