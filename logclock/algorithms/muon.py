"""Muon: momentum whose singular values are all brought near one before it moves a matrix."""

from typing import Any, Literal

import torch

from logclock.rules.averages import check_look_ahead
from logclock.rules.linalg import fastest_dtype, newton_schulz
from logclock.rules.slots import Count, Ema, NonNegativeSlot, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise, matrix
from logclock.rules.state import State
from logclock.schedules import check, value_at


@elementwise
def momentum(grad, momentum_buffer, *, ema1, look_ahead):
    """Equation of B and M in MuonSpec."""
    momentum_buffer = momentum_buffer + ema1 * (grad - momentum_buffer)
    return momentum_buffer + look_ahead * (grad - momentum_buffer), momentum_buffer


@matrix
def orthogonalized(update: Any, *, num_iterations: int, row_blocks: int, scale_rule: str, iteration_dtype: str) -> Any:
    """Return scale NewtonSchulz(M) of MuonSpec, with shape legend: update (n, rows, cols)."""
    blocks = update.reshape(-1, update.shape[-2] // row_blocks, update.shape[-1])
    rows, cols = blocks.shape[-2:]
    scale = 0.2 * max(rows, cols) ** 0.5 if scale_rule == "match_rms_adamw" else max(1.0, rows / cols) ** 0.5
    dtype = torch.bfloat16 if iteration_dtype == "bfloat16" else None
    if iteration_dtype == "auto" and update.dtype == torch.float32:
        dtype = fastest_dtype(update.device.type)
    return newton_schulz(blocks, num_iterations=num_iterations, dtype=dtype).reshape(update.shape) * scale


@algorithm("muon", class_name="Muon", paper="Jordan 2024; arXiv:2502.16982")
class MuonSpec(Spec):
    """Muon, for the hidden matrices of a model.

    For a matrix of r rows and c columns, with t = 1, 2, ...:
        B <- B + ema1 (G - B)
        M <- (1 - ema1) B + ema1 G                    (nesterov; otherwise M <- B)
        W <- W - lr(t) scale NewtonSchulz(M) - decay W
        scale = sqrt(max(1, r / c))                   (scale_rule "original")
        scale = 0.2 sqrt(max(r, c))                   (scale_rule "match_rms_adamw")
    NewtonSchulz makes `num_iterations` steps of a quintic that takes every singular value near 1; it is a matrix stage
    because it multiplies matrices. State: momentum_buffer, shaped like the parameter. Takes matrices only: embeddings,
    head and vectors go to another algorithm, see `logclock.matrix_param_groups`. With "match_rms_adamw" an update has
    the size of AdamW's, and its learning rate fits.

    Examples:
        >>> MuonSpec(lr=0.02).scalars(1)["look_ahead"]
        0.05

    Deviations: the first public code sums gradients, B <- mu B + G, which is the same direction up to the 1e-7 of the
        normalisation.
    References: Jordan 2024, kellerjordan.github.io/posts/muon; Liu et al. 2025, arXiv:2502.16982 (match_rms_adamw).
        The same rule as `torch.optim.Muon`.
    """

    direction = (momentum, orthogonalized)
    states = {"momentum_buffer": State(weight="ema1")}
    matrices_only = True

    lr: PeakLr = 1e-3

    ema1: Ema = 0.05
    """1 - mu, the weight of the new gradient in B; B starts at zero."""

    nesterov: bool = True
    """Whether the gradient looks ahead."""

    scale_rule: Literal["original", "match_rms_adamw"] = "original"
    """How an update grows with the shape."""

    num_iterations: Count = 5
    """Newton-Schulz steps."""

    iteration_dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of those steps. "auto" is bfloat16 where the processor has units for it, by a timing once in a process, else
    float32. "auto" and "float32" stay in float64 for float64 parameters. Name the dtype for a run that must not depend
    on the machine, as the recipes do."""

    row_blocks: Count = 1
    """Equal parts of the rows that are matrices of their own, 3 for a fused QKV projection."""

    weight_decay: NonNegativeSlot = 0.1

    def validate(self) -> None:
        """Raise a ValueError for unknown names and a look-ahead without momentum."""
        check_look_ahead(self)
        rules = ("original", "match_rms_adamw")
        check(self.scale_rule in rules, "scale_rule", f"be one of {', '.join(rules)}", self.scale_rule)
        dtypes = ("auto", "bfloat16", "float32")
        check(self.iteration_dtype in dtypes, "iteration_dtype", f"be one of {', '.join(dtypes)}", self.iteration_dtype)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise a ValueError unless the parameter is a matrix whose rows can be cut into `row_blocks`."""
        super().check_shape(shape)
        check(shape[0] % self.row_blocks == 0, "row_blocks", f"divide the {shape[0]} rows", self.row_blocks)

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weight with which the gradient looks ahead."""
        return {"look_ahead": value_at(self.ema1, t) if self.nesterov else 0.0}
