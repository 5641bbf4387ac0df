"""KL-SOAP: SOAP in the basis of Kronecker factors that each see gradients whitened by the other."""

from logclock.rules.families import EIGENVALUES, RotatedAdamSpec
from logclock.rules.linalg import Factor, adam_in_basis, kl_averaged, renewed, reordered, started
from logclock.rules.slots import Fraction, PeakLr, Positive
from logclock.rules.spec import algorithm
from logclock.rules.stage import matrix


@matrix
def kl_soap(
    grad,
    exp_avg,
    exp_avg_sq,
    row_gram,
    col_gram,
    row_basis,
    col_basis,
    row_eigenvalues,
    col_eigenvalues,
    *,
    ema1,
    ema2,
    gram_ema,
    correction,
    is_first,
    refreshes_basis,
    eps,
):
    """Equation in KlSoapSpec, with the shapes of SOAP's states, and eigenvalues (n, side) or (n, 0)."""
    rows = started(Factor(row_gram, row_basis, row_eigenvalues), grad)
    cols = started(Factor(col_gram, col_basis, col_eigenvalues), grad)
    update = grad.new_zeros(()).expand_as(grad)
    if not is_first:
        weights = {"ema1": ema1, "ema2": ema2, "correction": correction, "eps": eps}
        update, exp_avg, exp_avg_sq = adam_in_basis(grad, exp_avg, exp_avg_sq, rows.basis, cols.basis, **weights)
    rows, cols = kl_averaged(rows, cols, grad, ema=gram_ema, eps=eps, is_first=is_first)
    if is_first or refreshes_basis:
        rows, order = renewed(rows, is_first=is_first)
        exp_avg_sq = reordered(exp_avg_sq, order, dim=-2)
        cols, order = renewed(cols, is_first=is_first)
        exp_avg_sq = reordered(exp_avg_sq, order, dim=-1)
    return update, exp_avg, exp_avg_sq, *(x for pair in zip(rows, cols, strict=True) for x in pair)


@algorithm("kl-soap", class_name="KLSOAP", paper="arXiv:2509.03378")
class KlSoapSpec(RotatedAdamSpec):
    """KL-SOAP, for the hidden matrices of a model: SOAP whose basis fits gradients in the sense of Kullback-Leibler.

    For an m x n matrix G of gradients, with k = t - 1 the updates made (the first call of a parameter makes none):
        M <- M + ema1 (G - M)
        V <- V + ema2 (Gr^2 - V),  Gr = Q_L^T G Q_R
        W <- W - lr(t) c Q_L [Q_L^T M Q_R / (sqrt(V) + eps)] Q_R^T - decay W
        L <- L + gram_ema (G Q_R diag(lambda_R)^-1 Q_R^T G^T / n - L)
        R <- R + gram_ema (G^T Q_L diag(lambda_L)^-1 Q_L^T G / m - R)
    with Adam's correction c = sqrt(1 - beta2^k) / (1 - beta1^k), and eigenvalues below eps taken for eps. L and R start
    at rms(G) times the identity with the first G that is not zero. Q_L and Q_R are the eigenvectors of L and R after
    the first call; after every `refresh_interval`-th update their columns are sorted by diag(Q^T L Q), V's with them,
    Q <- QR(L Q), and lambda = diag(Q^T L Q) of the new ones. State: that of SOAP, and row_eigenvalues (lambda_L) and
    col_eigenvalues of one side each. Takes matrices only, see `logclock.matrix_param_groups`; it is a matrix stage
    because it rotates them.

    Examples:
        >>> KlSoapSpec(lr=3e-3).scalars(11)["refreshes_basis"]
        True

    Deviations: the factors start at the size of the gradients, not at zero with all eigenvalues eps.
    References: Lin et al. 2025, arXiv:2509.03378.
    """

    direction = (kl_soap,)
    states = {**RotatedAdamSpec.states, **EIGENVALUES}

    lr: PeakLr = 3e-3

    ema1: Fraction = 0.1

    eps: Positive = 1e-8
    """Added to the root, and the smallest eigenvalue by which gradients are whitened."""
