"""Dion2: a sum of gradients of which only the largest rows are orthogonalized and spent; the others wait."""

import math
from typing import Annotated, Any, ClassVar, Literal

import torch

from logclock.config.bounds import In
from logclock.rules.linalg import fastest_dtype, newton_schulz
from logclock.rules.slots import Count, NonNegativeSlot, PeakLr
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import matrix
from logclock.schedules import Schedule, check

Share = Annotated[float, In(low=0, high=1, includes_low=False)]
Kept = Annotated[float | Schedule, In(low=0, high=1)]


@matrix
def dion2(
    grad: Any,
    momentum_buffer: Any,
    *,
    error_decay: Any,
    share: Any,
    num_iterations: int,
    scale_rule: str,
    iteration_dtype: str,
) -> Any:
    """Equation in Dion2Spec, with shape legend: grad and momentum_buffer (n, rows, cols)."""
    rows, cols = grad.shape[-2:]
    total = momentum_buffer + grad
    wide = total.mT if rows > cols else total
    count = math.ceil(share * wide.shape[-2])
    chosen = (
        wide.abs().sum(-1).topk(count, dim=-1).indices.sort(dim=-1).values[..., None].expand(-1, -1, wide.shape[-1])
    )
    dtype = torch.bfloat16 if iteration_dtype == "bfloat16" else None
    if iteration_dtype == "auto" and grad.dtype == torch.float32:
        dtype = fastest_dtype(grad.device.type)
    scale = 0.2 * max(rows, cols) ** 0.5 if scale_rule == "match_rms_adamw" else (rows / cols) ** 0.5
    largest = wide.gather(-2, chosen)
    orthogonal = newton_schulz(largest, num_iterations=num_iterations, dtype=dtype)
    update = torch.zeros_like(wide).scatter(-2, chosen, scale * orthogonal)
    left = wide.scatter(-2, chosen, error_decay * largest)
    return (update.mT, left.mT) if rows > cols else (update, left)


@algorithm("dion2", class_name="Dion2", paper="arXiv:2512.16928")
class Dion2Spec(Spec):
    """Dion2, for the hidden matrices of a model: Muon on a share of the rows, with what is left fed back.

    For a gradient G whose rows are not more than its columns (otherwise everything is mirrored):
        M <- M + G
        K = the ceil(share rows) rows of M with the largest sums of absolute values
        W_K <- W_K - lr(t) scale NewtonSchulz(M_K) - decay W_K;  the other rows only decay
        M_K <- error_decay M_K
        scale = sqrt(r / c)                           (scale_rule "spectral", r rows and c columns of W)
        scale = 0.2 sqrt(max(r, c))                   (scale_rule "match_rms_adamw")
    State: momentum_buffer (M), shaped like the parameter. Takes matrices only, see `logclock.matrix_param_groups`.

    Examples:
        >>> Dion2Spec(error_decay=0.9).scalars(1)["error_decay"]
        0.9

    Deviations: the authors' code iterates with the coefficients of Polar Express, here they are Muon's; rows are chosen
        in the whole matrix, also where it is sharded.
    References: Ahn et al. 2025, arXiv:2512.16928; the released code, github.com/microsoft/dion.
    """

    direction = (dion2,)
    matrices_only: ClassVar[bool] = True

    lr: PeakLr = 1e-2

    share: Share = 0.25
    """Of the rows (or columns, if they are fewer) that are updated."""

    error_decay: Kept = 0.95
    """What is left of the chosen rows of M."""

    scale_rule: Literal["spectral", "match_rms_adamw"] = "spectral"
    """How an update grows with the shape."""

    num_iterations: Count = 5
    """Newton-Schulz steps."""

    iteration_dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of those steps, as in Muon: "auto" is the faster one of this processor for float32 parameters."""

    weight_decay: NonNegativeSlot = 0.01

    def validate(self) -> None:
        """Raise a ValueError for unknown names."""
        rules = ("spectral", "match_rms_adamw")
        check(self.scale_rule in rules, "scale_rule", f"be one of {', '.join(rules)}", self.scale_rule)
        dtypes = ("auto", "bfloat16", "float32")
        check(self.iteration_dtype in dtypes, "iteration_dtype", f"be one of {', '.join(dtypes)}", self.iteration_dtype)
