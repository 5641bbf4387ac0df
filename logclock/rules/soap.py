"""SOAP: Adam in the eigenbasis of a matrix gradient's two Gram matrices."""

import dataclasses
from typing import Any

import torch

from logclock.rules.rule import whole_tensor
from logclock.rules.spec import (
    Coupling,
    DecayOrder,
    Spec,
    check_matrix,
    check_slots,
    lr_and_decay,
    register,
    total_weight,
)
from logclock.schedules import Slot, check, value_at


@whole_tensor
def soap(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    row_gram,
    col_gram,
    row_basis,
    col_basis,
    *,
    lr,
    ema1,
    ema2,
    gram_ema,
    correction,
    is_first,
    refreshes_basis,
    eps,
    decay,
):
    """One update; equation in SoapSpec."""
    if not is_first:
        exp_avg = exp_avg + ema1 * (grad - exp_avg)
        rotated = _rotate(grad, row_basis, col_basis)
        exp_avg_sq = exp_avg_sq + ema2 * (rotated * rotated - exp_avg_sq)
        direction = _rotate(exp_avg, row_basis, col_basis) / (exp_avg_sq.sqrt() + eps)
        update = correction * _rotate(direction, row_basis.mT, col_basis.mT)
        param = param - lr * update - decay * param
    row_gram = _averaged(row_gram, grad, gram_ema)
    col_gram = _averaged(col_gram, grad.mT, gram_ema)
    if is_first:
        row_basis, col_basis = _eigenvectors(row_gram), _eigenvectors(col_gram)
    elif refreshes_basis:
        row_basis, row_order = _refreshed(row_gram, row_basis)
        col_basis, col_order = _refreshed(col_gram, col_basis)
        if row_gram.numel():
            exp_avg_sq = exp_avg_sq.gather(-2, row_order[..., :, None].expand_as(exp_avg_sq))
        if col_gram.numel():
            exp_avg_sq = exp_avg_sq.gather(-1, col_order[..., None, :].expand_as(exp_avg_sq))
    return param, exp_avg, exp_avg_sq, row_gram, col_gram, row_basis, col_basis


def _rotate(matrices, row_basis, col_basis):
    """Return Q_rows^T M Q_cols; a side without a basis stays as it is."""
    if row_basis.numel():
        matrices = row_basis.mT @ matrices
    return matrices @ col_basis if col_basis.numel() else matrices


def _averaged(gram, matrices, ema):
    """Return the average of M M^T after the new one."""
    return gram + ema * (matrices @ matrices.mT - gram) if gram.numel() else gram


def _eigenvectors(gram):
    """Return the eigenvectors in columns, those of the largest eigenvalues first."""
    return torch.linalg.eigh(gram).eigenvectors.flip(-1) if gram.numel() else gram


def _refreshed(gram, basis):
    """Return the basis after one power iteration, and how its columns were sorted before it."""
    if not gram.numel():
        return basis, None
    estimates = torch.einsum("...ij,...ij->...j", basis, gram @ basis)  # the diagonal of Q^T A Q
    order = estimates.argsort(dim=-1, descending=True)
    basis = basis.gather(-1, order[..., None, :].expand_as(basis))
    return torch.linalg.qr(gram @ basis).Q, order


@register("soap")
@dataclasses.dataclass(frozen=True, kw_only=True)
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
    Takes matrices only, see `logclock.matrix_param_groups`.

    Args:
        lr: Peak learning rate, per update.
        ema1: 1 - beta1.
        ema2: 1 - beta2.
        gram_ema: Weight of the new Gram matrices; ema2 if None.
        eps: Added to the root.
        refresh_interval: Updates from one basis to the next.
        max_basis_size: Longest side that is rotated.
        weight_decay: lambda(t).
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> SoapSpec(lr=3e-3).scalars(11)["refreshes_basis"]
        True

    References: Vyas et al. 2024, arXiv:2409.11321.
    """

    rule = soap
    matrices_only = True

    lr: float = 3e-3
    ema1: float = 0.05
    ema2: float = 0.05
    gram_ema: Slot | None = None
    eps: float = 1e-8
    refresh_interval: int = 10
    max_basis_size: int = 10000
    weight_decay: Slot = 0.01
    decay_coupling: Coupling = "coupled"
    decay_order: DecayOrder = "after"
    lr_schedule: Slot = 1.0

    def __post_init__(self) -> None:
        check_slots(self)
        check(self.refresh_interval >= 1, "refresh_interval", "be >= 1 update", self.refresh_interval)
        check(self.max_basis_size >= 1, "max_basis_size", "be >= 1", self.max_basis_size)

    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a matrix, or rows x rows and cols x cols for its Gram matrices and their bases."""
        check_matrix(shape, name="soap")
        if name in ("exp_avg", "exp_avg_sq"):
            return shape
        side = shape[0] if name.startswith("row") else shape[1]
        return (side, side) if side <= self.max_basis_size else (0, 0)

    def scalars(self, t: float, lr: Any = None) -> dict[str, Any]:
        """Return the scalars of update t."""
        lr, decay = lr_and_decay(self, t, lr)
        num_updates = t - 1
        is_first = num_updates == 0
        return {
            "lr": lr,
            "ema1": self.ema1,
            "ema2": self.ema2,
            "gram_ema": value_at(self.ema2 if self.gram_ema is None else self.gram_ema, t),
            "correction": 0.0 if is_first else _correction(self, num_updates),
            "is_first": is_first,
            "refreshes_basis": not is_first and num_updates % self.refresh_interval == 0,
            "eps": self.eps,
            "decay": decay,
        }


def _correction(spec: SoapSpec, num_updates: float) -> float:
    correction: float = total_weight(spec.ema2, num_updates) ** 0.5 / total_weight(spec.ema1, num_updates)
    return correction
