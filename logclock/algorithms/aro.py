"""ARO: a matrix that is normalised in a basis which the normalisation itself chooses."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import torch

from logclock.rules.slots import Count, Ema, PeakLr, Positive
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise, matrix
from logclock.rules.state import State
from logclock.schedules import check


@elementwise
def momentum(grad, exp_avg, *, ema1):
    """Equation of M in AroSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    return exp_avg, exp_avg


@matrix
def rotated(
    update: Any, row_basis: Any, *, is_first: Any, update_rms: Any, base: str, num_rounds: int
) -> tuple[Any, Any]:
    """Return U and R of AroSpec, with shape legend: update (n, rows, cols), basis (n, short, short)."""
    normed = functools.partial(NORMED[base], num_rounds=num_rounds)
    is_tall = update.shape[-2] > update.shape[-1]
    laid = (update.mT if is_tall else update).contiguous()  # sums run in the order of the memory
    basis = next_basis(laid, None if is_first else row_basis, normed)
    step = basis @ normed(basis.mT @ laid)
    step = step * (update_rms / _nonzero(_rms(step, (-2, -1))))
    return step.mT if is_tall else step, basis


def next_basis(
    matrices: torch.Tensor, basis: torch.Tensor | None, normed: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Return R <- QR(M f(R^T M)^T).Q; without a basis R is the identity."""
    seen = matrices if basis is None else basis.mT @ matrices
    turned: torch.Tensor = torch.linalg.qr(matrices @ normed(seen).mT).Q
    return turned


def sinkhorn(matrices: torch.Tensor, *, num_rounds: int) -> torch.Tensor:
    """Return matrices whose rows and columns have a root mean square near 1.

    A round divides every element by the roots of those of its row and of its column, both as they were before it.
    """
    for _ in range(num_rounds):
        sizes = _nonzero(_rms(matrices, -1)) * _nonzero(_rms(matrices, -2))
        matrices = matrices / sizes.sqrt()
    return matrices


def _row_norm(matrices: torch.Tensor, *, num_rounds: int) -> torch.Tensor:
    return matrices / _nonzero(_rms(matrices, -1))


def _sign(matrices: torch.Tensor, *, num_rounds: int) -> torch.Tensor:
    return matrices.sign()


NORMED: dict[str, Callable[..., torch.Tensor]] = {"sinkhorn": sinkhorn, "row_norm": _row_norm, "sign": _sign}
"""What may be done to a matrix in its basis, by name."""


def _rms(matrices: torch.Tensor, dim: int | tuple[int, int]) -> torch.Tensor:
    return matrices.square().mean(dim=dim, keepdim=True).sqrt()


def _nonzero(sizes: torch.Tensor) -> torch.Tensor:
    """Return sizes to divide by: what is 0 stays 0."""
    return torch.where(sizes == 0, 1.0, sizes)


@algorithm("aro", class_name="ARO", paper="arXiv:2602.09006")
class AroSpec(Spec):
    """ARO, for the hidden matrices of a model: steps that are normalised in adaptively rotated coordinates.

    For a matrix of m rows and n columns, m <= n (a taller one is laid on its side), with t = 1, 2, ...:
        M <- M + ema1 (G - M)
        R <- QR(M f(R^T M)^T).Q                        (R starts as the identity)
        U = R f(R^T M)
        W <- W - lr(t) update_rms U / rms(U) - decay W
    f divides every element `num_rounds` times by the root of its row's rms times its column's ("sinkhorn"), or once by
    its row's rms ("row_norm"), or takes the sign ("sign"). State: exp_avg (M) shaped like the parameter, row_basis (R)
    of its shorter side squared. Takes matrices only, see `logclock.matrix_param_groups`; it is a matrix stage because
    it rotates them.

    Examples:
        >>> AroSpec().rule.state_names
        ('exp_avg', 'row_basis')

    Deviations: QR is Householder's; the paper's is a shifted Cholesky factorisation with that to fall back on.
    References: arXiv:2602.09006.
    """

    direction = (momentum, rotated)
    states = {"exp_avg": State(weight="ema1"), "row_basis": State(shape=("short", "short"), place="owner")}
    matrices_only = True

    lr: PeakLr = 1e-3

    ema1: Ema = 0.05
    """1 - beta, the weight of the new gradient in M."""

    base: Literal["sinkhorn", "row_norm", "sign"] = "sinkhorn"
    """f, what is done to a matrix in its basis."""

    num_rounds: Count = 5
    """Of "sinkhorn"."""

    update_rms: Positive = 0.2
    """Root mean square of an update at a learning rate of 1; 0.2 is about AdamW's."""

    def validate(self) -> None:
        """Raise a ValueError for an unknown base."""
        check(self.base in NORMED, "base", f"be one of {', '.join(NORMED)}", self.base)

    def derived(self, t: float) -> dict[str, Any]:
        """Return whether there is no basis yet."""
        return {"is_first": t == 1}
