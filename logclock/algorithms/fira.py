"""Fira: Adam within the leading singular directions of the gradient, and the rest of the gradient beside it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from logclock.rules.linalg import right_singular_vectors
from logclock.rules.low_rank import (
    FLOOR,
    LowRankSpec,
    limits,
    norms_by_rows,
    projected_adam,
    row_norms,
    tall,
    turned_back,
)
from logclock.rules.slots import Count, PeakLr, Positive
from logclock.rules.spec import algorithm
from logclock.rules.stage import matrix
from logclock.rules.state import State


@matrix
def fira(
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    basis: Any,
    residual_norm: Any,
    *,
    ema1: Any,
    ema2: Any,
    eps: Any,
    correction: Any,
    scale: Any,
    growth_limit: Any,
    t: Any,
    refresh_interval: int,
    subtracts_whole: bool,
) -> Any:
    """Equation in FiraSpec, with shapes: grad (n, rows, cols), averages (n, long, rank), basis (n, short, rank)."""
    full = tall(grad)
    if (int(t) - 1) % refresh_interval == 0:
        basis = right_singular_vectors(full, before=basis)
    low = full @ basis
    direction, exp_avg, exp_avg_sq = projected_adam(low, exp_avg, exp_avg_sq, ema1=ema1, ema2=ema2, eps=eps)
    ratios = row_norms(direction) / (row_norms(low) + FLOOR)
    residual = torch.baddbmm(full, low if subtracts_whole else scale * low, basis.mT, alpha=-1)
    factors, residual_norm = limits(norms_by_rows(ratios * row_norms(residual)), residual_norm, growth_limit)
    scaled = residual.mul_(correction * factors * ratios)
    update = torch.baddbmm(scaled, correction * scale * direction, basis.mT)
    return turned_back(update, grad), exp_avg, exp_avg_sq, basis, residual_norm


@algorithm("fira", class_name="Fira", paper="arXiv:2410.01623")
class FiraSpec(LowRankSpec):
    """Fira, for the hidden matrices of a model: GaLore's projection, with what it throws away rescaled and added.

    For a gradient G whose longer side is its rows (otherwise everything is mirrored):
        P = the `rank` leading right singular vectors of G, taken at t = 1 and every `refresh_interval` updates
        R = G P,  m <- m + ema1 (R - m),  v <- v + ema2 (R^2 - v),  D = m / (sqrt(v) + eps)
        S = diag(s) (G - scale R P^T),  s_i = norm(D_i) / (norm(R_i) + 1e-8)     for every row i
        S <- S b / norm(S)  if norm(S) > b = growth_limit (n + 1e-8);  n <- norm(S)
        W <- W - lr(t) sqrt(1 - beta2^t) / (1 - beta1^t) (scale D P^T + S) - decay W
    State: exp_avg (m) and exp_avg_sq (v) of long x rank, basis (P) of short x rank, residual_norm (n), one number.
    Takes matrices only, see `logclock.matrix_param_groups`.

    Examples:
        >>> FiraSpec(rank=64).state_shape("basis", (128, 1024))
        (128, 64)

    Deviations: a residual of zeros does not set n to 0; singular vectors get the sign nearer to the vectors before.
    References: Chen et al. 2024, arXiv:2410.01623; Zhao et al. 2024, arXiv:2403.03507 (GaLore).
    """

    direction = (fira,)
    states: ClassVar[Mapping[str, State]] = {
        **LowRankSpec.states,
        "basis": State(shape=("short", "rank"), place="owner"),
        "residual_norm": State(shape="number"),
    }

    lr: PeakLr = 1e-2

    rank: Count = 128
    """Singular vectors that span the projection; all of them where the shorter side is not longer."""

    scale: Positive = 0.25
    """alpha, the weight of the projected part."""

    subtracts_whole: bool = False
    """Whether S is the paper's residual G - R P^T; the authors' code subtracts scale R P^T."""
