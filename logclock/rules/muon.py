"""Muon: momentum whose singular values are all brought near one before it moves a matrix."""

import dataclasses
from typing import Any, Literal

import torch

from logclock.rules.rule import whole_tensor
from logclock.rules.spec import (
    Coupling,
    DecayOrder,
    Spec,
    check_look_ahead,
    check_matrix,
    check_slots,
    lr_and_decay,
    register,
)
from logclock.schedules import Slot, check, value_at

__all__ = ["MuonSpec", "newton_schulz"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic x -> a x + b x^3 + c x^5: steep at 0, so that five steps lift 0.01 to 0.7, at the price of never
settling: it maps [0.01, 1] into [0.68, 1.13]."""


@whole_tensor
def muon(
    param,
    grad,
    momentum_buffer,
    *,
    lr,
    ema1,
    look_ahead,
    num_iterations,
    row_blocks,
    matches_rms,
    in_bfloat16,
    decay,
):
    """One update; equation in MuonSpec."""
    momentum_buffer = torch.lerp(momentum_buffer, grad, ema1)
    direction = torch.lerp(momentum_buffer, grad, look_ahead) if look_ahead else momentum_buffer
    blocks = direction.reshape(-1, direction.shape[-2] // row_blocks, direction.shape[-1])
    rows, cols = blocks.shape[-2:]
    scale = 0.2 * max(rows, cols) ** 0.5 if matches_rms else max(1.0, rows / cols) ** 0.5
    update = newton_schulz(blocks, num_iterations=num_iterations, dtype=torch.bfloat16 if in_bfloat16 else None)
    return (param * (1 - decay)).sub_(update.reshape(param.shape).mul_(lr), alpha=scale), momentum_buffer


def newton_schulz(matrices: torch.Tensor, *, num_iterations: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return matrices with the same singular vectors and all singular values between about 0.7 and 1.1.

    With X = M / (norm(M) + 1e-7) and `num_iterations` times A = X X^T, X <- a X + (b A + c A A) X.

    Args:
        matrices: `(n, rows, cols)`.
        num_iterations: 5 is usual.
        dtype: Of the iteration; None keeps that of the matrices.

    References: Jordan 2024, kellerjordan.github.io/posts/muon.
    """
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if is_tall else matrices  # the Gram matrix of the shorter side is the smaller one
    norms = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)
    dtype = matrices.dtype if dtype is None else dtype
    x = x.to(dtype) / (norms + 1e-7).to(dtype)
    for _ in range(num_iterations):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)


@register("muon")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MuonSpec(Spec):
    """Muon, for the hidden matrices of a model.

    For a matrix of r rows and c columns, with t = 1, 2, ...:
        B <- B + ema1 (G - B)
        M <- (1 - ema1) B + ema1 G                    (nesterov; otherwise M <- B)
        W <- W - lr(t) scale NewtonSchulz(M) - decay W
        scale = sqrt(max(1, r / c))                   (scale_rule "original")
        scale = 0.2 sqrt(max(r, c))                   (scale_rule "match_rms_adamw")
    NewtonSchulz makes `num_iterations` steps of a quintic that takes every singular value near 1. State:
    momentum_buffer, shaped like the parameter. Takes matrices only: embeddings, head and vectors go to another
    algorithm, see `logclock.matrix_param_groups`.

    Args:
        lr: Peak learning rate, per update. With "match_rms_adamw" an update has the size of AdamW's, and its lr fits.
        ema1: 1 - mu, the weight of the new gradient in B; B starts at zero.
        nesterov: Whether the gradient looks ahead.
        scale_rule: How an update grows with the shape.
        num_iterations: Newton-Schulz steps.
        iteration_dtype: Of those steps; "float32" is float64 for float64 parameters.
        row_blocks: Equal parts of the rows that are matrices of their own, 3 for a fused QKV projection.
        weight_decay: lambda(t).
        decay_coupling: Whether lambda is multiplied by s(t) or by lr(t).
        decay_order: Whether decay comes before or after the update.
        lr_schedule: Multiplier s(t) on the parameter's own clock.

    Examples:
        >>> MuonSpec(lr=0.02).scalars(1)["look_ahead"]
        0.05

    Deviations: the first public code sums gradients, B <- mu B + G, which is the same direction up to the 1e-7 of the
        normalisation.
    References: Jordan 2024, kellerjordan.github.io/posts/muon; Liu et al. 2025, arXiv:2502.16982 (match_rms_adamw).
        The same rule as `torch.optim.Muon`.
    """

    rule = muon
    matrices_only = True

    lr: float = 1e-3
    ema1: Slot = 0.05
    nesterov: bool = True
    scale_rule: Literal["original", "match_rms_adamw"] = "original"
    num_iterations: int = 5
    iteration_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    row_blocks: int = 1
    weight_decay: Slot = 0.1
    decay_coupling: Coupling = "coupled"
    decay_order: DecayOrder = "before"
    lr_schedule: Slot = 1.0

    def __post_init__(self) -> None:
        check_slots(self)
        check_look_ahead(self)
        rules = ("original", "match_rms_adamw")
        check(self.scale_rule in rules, "scale_rule", f"be one of {', '.join(rules)}", self.scale_rule)
        dtypes = ("bfloat16", "float32")
        check(self.iteration_dtype in dtypes, "iteration_dtype", f"be one of {', '.join(dtypes)}", self.iteration_dtype)
        check(self.num_iterations >= 1, "num_iterations", "be >= 1", self.num_iterations)
        check(self.row_blocks >= 1, "row_blocks", "be >= 1", self.row_blocks)

    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the parameter's shape, which must be a matrix's whose rows can be cut into `row_blocks`."""
        check_matrix(shape, name="muon")
        check(shape[0] % self.row_blocks == 0, "row_blocks", f"divide the {shape[0]} rows", self.row_blocks)
        return shape

    def scalars(self, t: float, lr: Any = None) -> dict[str, Any]:
        """Return the scalars of update t."""
        lr, decay = lr_and_decay(self, t, lr)
        ema1 = value_at(self.ema1, t)
        return {
            "lr": lr,
            "ema1": ema1,
            "look_ahead": ema1 if self.nesterov else 0.0,
            "num_iterations": self.num_iterations,
            "row_blocks": self.row_blocks,
            "matches_rms": self.scale_rule == "match_rms_adamw",
            "in_bfloat16": self.iteration_dtype == "bfloat16",
            "decay": decay,
        }
