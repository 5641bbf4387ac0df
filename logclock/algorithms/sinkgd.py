"""SinkGD: a gradient whose rows, and whose columns, all have the same norm; no state at all."""

from typing import Any

import torch

from logclock.rules.slots import Count, PeakLr, Positive
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import matrix


@matrix
def balanced(grad: Any, *, update_rms: Any, floor: Any, num_rounds: int) -> Any:
    """Equation in SinkgdSpec, with shape legend: grad (n, [experts,] rows, cols)."""
    rows, cols = grad.shape[-2:]
    update = grad
    for _ in range(num_rounds):
        for dim, size in ((-1, cols), (-2, rows)):
            norms = torch.linalg.vector_norm(update, dim=dim, keepdim=True).clamp_min(floor)
            update = update * (size**0.5 / norms)
    return update_rms * update


@algorithm("sinkgd", class_name="SinkGD", paper="arXiv:2502.06742")
class SinkgdSpec(Spec):
    """SinkGD, for the hidden matrices of a model: plain gradients, balanced by Sinkhorn's rounds.

    For a matrix of r rows and c columns, with U = G and `num_rounds` times:
        every row of U <- sqrt(c) row / norm(row);  then every column of U <- sqrt(r) column / norm(column)
        W <- W - lr(t) update_rms U - decay W
    Columns have a root mean square of 1 afterwards, rows nearly. There is no state. Takes matrices and stacks of them,
    see `logclock.matrix_param_groups`; it is a matrix stage because the vocabulary has no sums over rows.

    Examples:
        >>> SinkgdSpec().rule.state_names
        ()

    Deviations: another paper (ARO) normalizes rows and columns at once instead of in turns, which is another fixed
        point after few rounds.
    References: Scetbon et al. 2025, arXiv:2502.06742.
    """

    direction = (balanced,)
    matrices_only = True
    takes_stacks = True

    lr: PeakLr = 0.02

    num_rounds: Count = 5
    """Rounds of rows and columns."""

    update_rms: Positive = 0.05
    """Root mean square of an update at lr = 1; the other parameters' AdamW has the same lr without it."""

    floor: Positive = 1e-30
    """Smallest norm that is divided by."""
