"""COSMOS: SOAP in the few directions in which gradients are largest, Muon in the others."""

from typing import Any

import torch

from logclock.rules.averages import check_look_ahead, total_weight
from logclock.rules.linalg import newton_schulz
from logclock.rules.slots import Count, Fraction, NonNegative, PeakLr, Positive
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise, matrix
from logclock.rules.state import State


@elementwise
def momentum(grad, exp_avg, *, ema1, grad_weight, momentum_weight):
    """Equation of M and H in CosmosSpec."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    return grad_weight * grad + momentum_weight * exp_avg, exp_avg


@matrix
def split(
    grad: Any,
    update: Any,
    exp_avg_sq: Any,
    gram: Any,
    basis: Any,
    *,
    ema2: Any,
    correction2: Any,
    is_first: Any,
    eps: Any,
    share: Any,
    update_rms: Any,
    num_iterations: int,
) -> tuple[Any, Any, Any, Any]:
    """Return D and V, S, U of CosmosSpec; legend: grad (n, rows, cols), V (n, rows, r), S (n, r, r), U (n, cols, r)."""
    if is_first:
        basis = _right_vectors(grad, basis.shape[-1])
    else:
        new = torch.linalg.qr((1 - ema2) * basis @ gram + ema2 * grad.mT @ (grad @ basis)).Q
        turn = basis.mT @ new
        gram, basis = turn.mT @ gram @ turn, new
    seen = grad @ basis
    gram = gram + ema2 * (seen.mT @ seen - gram)
    exp_avg_sq = exp_avg_sq + ema2 * (seen * seen - exp_avg_sq)
    inside = update @ basis
    direction = inside / (correction2 * exp_avg_sq.sqrt() + eps) @ basis.mT
    rest = _unless_rounding(update - inside @ basis.mT, of=update)
    direction = direction + share * _sized(newton_schulz(rest, num_iterations=num_iterations))
    return update_rms * _sized(direction), exp_avg_sq, gram, basis


def _right_vectors(matrices: torch.Tensor, rank: int) -> torch.Tensor:
    """Return the right singular vectors of the largest singular values in columns; NaN if a matrix is not finite."""
    finite = matrices.isfinite().flatten(1).all(dim=1)[:, None, None]
    vectors = torch.linalg.svd(torch.where(finite, matrices, 0.0), full_matrices=False).Vh.mT[..., :rank]
    return torch.where(finite, vectors, torch.nan)


def _unless_rounding(rest: torch.Tensor, *, of: torch.Tensor) -> torch.Tensor:
    """Return what is left of matrices, 0 where it is but the rounding of them, which Newton-Schulz would blow up."""
    left, whole = (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) for x in (rest, of))
    return torch.where(left > 16 * torch.finfo(of.dtype).eps * whole, rest, 0.0)


def _sized(matrices: torch.Tensor) -> torch.Tensor:
    """Return matrices with a root mean square of 1; zeros stay zeros."""
    matrices = matrices.contiguous()  # sums run in the order of the memory
    rms = matrices.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    return matrices / torch.where(rms == 0, 1.0, rms)


@algorithm("cosmos", class_name="COSMOS", paper="arXiv:2502.17410")
class CosmosSpec(Spec):
    """COSMOS, for the hidden matrices of a model, in the form of the authors' code, which is not that of their paper.

    For an m x n matrix of gradients G, with t = 1, 2, ... and the r = `rank` columns of U:
        M <- M + ema1 (G - M),  H = (ema1 G + beta1 M) / (ema1 + beta1 (1 - beta1^t))   (else M / (1 - beta1^t))
        U' = QR(beta2 U S + ema2 G^T G U).Q,  T = U^T U'  (first: U' from the SVD of G, without T and S)
        S <- beta2 T^T S T + ema2 (G U')^T (G U'),  V <- beta2 V + ema2 (G U')^2,  U <- U'
        A = [H U / (sqrt(V / (1 - beta2^t)) + eps)] U^T
        B = NewtonSchulz(H - H U U^T)
        D = A + share B / rms(B)
        W <- W - lr(t) update_rms D / rms(D) - decay W
    State: exp_avg (M) shaped like the parameter, exp_avg_sq (V) of rows x r, gram (S) of r x r, basis (U) of cols x r,
    with r at most the shorter side. Takes matrices only, see `logclock.matrix_param_groups`; it is a matrix stage
    because it rotates them.

    Examples:
        >>> CosmosSpec(rank=16).state_shape("exp_avg_sq", (512, 128))
        (512, 16)

    Deviations: M is an average, where the code sums; without `nesterov` H is the average, where the code divides the
        gradient; Newton-Schulz runs in the precision of the arithmetic, where the code takes bfloat16. In the paper A
        is made of M / (1 - beta1^t), eps stands within the root, and B has the root mean square sqrt(m).
    References: Liu et al. 2025, arXiv:2502.17410.
    """

    direction = (momentum, split)
    states = {
        "exp_avg": State(weight="ema1"),
        "exp_avg_sq": State(shape=("rows", "rank"), weight="ema2", place="owner"),
        "gram": State(shape=("rank", "rank"), weight="ema2", place="owner"),
        "basis": State(shape=("cols", "rank"), place="owner"),
    }
    matrices_only = True

    lr: PeakLr = 1e-3

    ema1: Fraction = 0.1
    """1 - beta1, the weight of the new gradient in M."""

    ema2: Fraction = 0.001
    """1 - beta2, of V and S."""

    nesterov: bool = True
    """Whether the gradient looks ahead."""

    rank: Count = 64
    """Directions in which it is SOAP."""

    share: NonNegative = 0.2
    """Of Muon's part beside SOAP's; gamma in the paper."""

    update_rms: Positive = 0.1
    """Root mean square of an update at a learning rate of 1; `lr_ratio` in the code."""

    num_iterations: Count = 5
    """Newton-Schulz steps."""

    eps: NonNegative = 1e-8
    """Added to the root."""

    def validate(self) -> None:
        """Raise a ValueError for a look-ahead without momentum."""
        check_look_ahead(self)

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weights of gradient and average in H, whose sum counts every gradient once, and corrections."""
        weight = total_weight(self.ema1, t)
        whole = self.ema1 + (1 - self.ema1) * weight
        return {
            "grad_weight": self.ema1 / whole if self.nesterov else 0.0,
            "momentum_weight": (1 - self.ema1) / whole if self.nesterov else 1 / weight,
            "correction2": total_weight(self.ema2, t) ** -0.5,
            "is_first": t == 1,
        }
