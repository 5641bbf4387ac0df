"""APOLLO: the gradient itself, every row as long as Adam would make its random projection."""

from collections.abc import Mapping
from typing import Any, ClassVar

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
from logclock.rules.random import Draws
from logclock.rules.slots import PeakLr, Positive
from logclock.rules.spec import algorithm
from logclock.rules.stage import matrix
from logclock.rules.state import State


@matrix
def apollo(
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    update_norm: Any,
    *,
    ema1: Any,
    ema2: Any,
    eps: Any,
    correction: Any,
    scale: Any,
    growth_limit: Any,
    t: Any,
    refresh_interval: int,
    ratio_of: str,
    draws: Draws,
) -> Any:
    """Equation in ApolloSpec, with shape legend: grad (n, rows, cols), averages (n, long, rank), update_norm (n,)."""
    full = tall(grad)
    short, rank = full.shape[-1], exp_avg.shape[-1]
    number = (int(t) - 1) // refresh_interval
    projection = draws.normal("projection", number, (short, rank), like=full, is_kept=True)
    low = full @ (projection / rank**0.5)
    direction, exp_avg, exp_avg_sq = projected_adam(low, exp_avg, exp_avg_sq, ema1=ema1, ema2=ema2, eps=eps)
    if ratio_of == "tensor":
        direction, low = direction.flatten(1)[:, None], low.flatten(1)[:, None]
    ratios = row_norms(direction) / (row_norms(low) + FLOOR)
    factors, update_norm = limits(norms_by_rows(ratios * row_norms(full)), update_norm, growth_limit)
    update = (correction * scale**0.5 * factors * ratios) * full
    return turned_back(update, grad), exp_avg, exp_avg_sq, update_norm


@algorithm("apollo", class_name="APOLLO", paper="arXiv:2412.05270")
class ApolloSpec(LowRankSpec):
    """APOLLO, for the hidden matrices of a model: no average of full size, yet updates of full rank.

    For a gradient G whose longer side is its rows (otherwise everything is mirrored), with P of short x rank:
        P ~ N(0, 1 / rank), drawn anew every `refresh_interval` updates;  R = G P
        m <- m + ema1 (R - m),  v <- v + ema2 (R^2 - v),  D = m / (sqrt(v) + eps)
        U = diag(s) G,  s_i = norm(D_i) / (norm(R_i) + 1e-8)     for every row i
        U <- U b / norm(U)  if norm(U) > b = growth_limit (n + 1e-8);  n <- norm(U)
        W <- W - lr(t) sqrt(1 - beta2^t) / (1 - beta1^t) sqrt(scale) U - decay W
    State: exp_avg (m) and exp_avg_sq (v) of long x rank, update_norm (n), one number. P is no state: it is a function
    of seed, parameter and number of the projection, of which a CPU keeps up to 64 MiB at hand. Takes matrices only, see
    `logclock.matrix_param_groups`.

    Examples:
        >>> ApolloSpec(rank=64).state_shape("exp_avg", (128, 1024))
        (1024, 64)

    Deviations: a gradient of zeros does not set n to 0; the authors' code keeps P between its refreshes and draws it
        with torch's generator.
    References: Zhu et al. 2024, arXiv:2412.05270.
    """

    direction = (apollo,)
    states: ClassVar[Mapping[str, State]] = {**LowRankSpec.states, "update_norm": State(shape="number")}
    ratio_of: ClassVar[str] = "rows"

    lr: PeakLr = 1e-2

    scale: Positive = 1.0
    """alpha, whose root multiplies the update."""
