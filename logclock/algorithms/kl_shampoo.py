"""KL-Shampoo: momentum whitened by Kronecker factors that each see gradients whitened by the other."""

from typing import Any

from logclock.rules.averages import total_weight
from logclock.rules.families import EIGENVALUES, EigenbasisSpec, gram_states
from logclock.rules.linalg import Factor, divided_by_roots, kl_averaged, renewed, started
from logclock.rules.slots import Ema, Fraction, PeakLr, Positive
from logclock.rules.spec import algorithm
from logclock.rules.stage import matrix
from logclock.rules.state import State


@matrix
def kl_shampoo(
    grad,
    exp_avg,
    row_gram,
    col_gram,
    row_basis,
    col_basis,
    row_eigenvalues,
    col_eigenvalues,
    *,
    ema1,
    gram_ema,
    correction,
    is_first,
    refreshes_basis,
    eps,
):
    """Equation in KlShampooSpec, with shape legend: grad (n, rows, cols), eigenvalues (n, side) or (n, 0)."""
    rows = started(Factor(row_gram, row_basis, row_eigenvalues), grad)
    cols = started(Factor(col_gram, col_basis, col_eigenvalues), grad)
    update = grad.new_zeros(()).expand_as(grad)
    if not is_first:
        exp_avg = exp_avg + ema1 * (grad - exp_avg)
        update = correction * divided_by_roots(exp_avg, rows, cols, eps)
    rows, cols = kl_averaged(rows, cols, grad, ema=gram_ema, eps=eps, is_first=is_first)
    if is_first or refreshes_basis:
        rows, _ = renewed(rows, is_first=is_first)
        cols, _ = renewed(cols, is_first=is_first)
    return update, exp_avg, *(x for pair in zip(rows, cols, strict=True) for x in pair)


@algorithm("kl-shampoo", class_name="KLShampoo", paper="arXiv:2509.03378")
class KlShampooSpec(EigenbasisSpec):
    """KL-Shampoo, for the hidden matrices of a model: Shampoo that needs no grafting.

    For an m x n matrix G of gradients, with k = t - 1 the updates made (the first call of a parameter makes none):
        M <- M + ema1 (G - M)
        W <- W - lr(t) L^-1/2 M R^-1/2 / (1 - beta1^k) - decay W,  L^-1/2 = Q_L diag(lambda_L)^-1/2 Q_L^T
        L <- L + gram_ema (G Q_R diag(lambda_R)^-1 Q_R^T G^T / n - L)
        R <- R + gram_ema (G^T Q_L diag(lambda_L)^-1 Q_L^T G / m - R)
    with eigenvalues below eps taken for eps. L, R, their bases Q and eigenvalues lambda start and are refreshed as in
    KL-SOAP, of which this is the form whose second moment is lambda_L lambda_R^T. State: exp_avg (M) shaped like the
    parameter; row_gram (L) and row_basis (Q_L) of rows x rows, row_eigenvalues (lambda_L) of rows, the same of columns;
    empty for a side that is longer than `max_basis_size`, whose factor is then the identity. Takes matrices only, see
    `logclock.matrix_param_groups`; it is a matrix stage because it rotates them.

    Examples:
        >>> KlShampooSpec(lr=3e-3).scalars(11)["refreshes_basis"]
        True

    Deviations: the factors start at the size of the gradients, not at zero with all eigenvalues eps.
    References: Lin et al. 2025, arXiv:2509.03378.
    """

    direction = (kl_shampoo,)
    states = {"exp_avg": State(weight="ema1"), **gram_states("basis"), **EIGENVALUES}

    lr: PeakLr = 3e-3

    ema1: Fraction = 0.1
    """1 - beta1."""

    gram_ema: Ema = 0.05
    """Weight of the new Gram matrices."""

    eps: Positive = 1e-8
    """Smallest eigenvalue by which a matrix is divided."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the correction of the average for the updates made."""
        correction = 0.0 if t == 1 else 1 / total_weight(self.ema1, t - 1)
        return super().derived(t) | {"correction": correction}
