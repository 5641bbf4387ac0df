"""What do optimizers share that keep Adam's averages of a projected gradient? On stacks `(n, long, short)`."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch

from logclock.config.bounds import In
from logclock.rules.families import BiasCorrectedSpec
from logclock.rules.slots import Count, NonNegative
from logclock.rules.spec import DecayOrder
from logclock.rules.state import State

__all__ = [
    "FLOOR",
    "GrowthLimit",
    "LowRankSpec",
    "limits",
    "norms_by_rows",
    "projected_adam",
    "row_norms",
    "tall",
    "turned_back",
]

GrowthLimit = Annotated[float, In(low=1, advice="A large number takes the limit away.")]
"""By which factor a norm may grow from one update to the next."""

FLOOR = 1e-8
"""Added to norms that are divided by, as in the authors' codes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRankSpec(BiasCorrectedSpec):
    """Abstract: Adam's averages of a matrix of gradients whose shorter side is projected to `rank` numbers.

    Its stages may read `correction` = sqrt(1 - beta2^t) / (1 - beta1^t): eps stands beside sqrt(v) as it is.
    """

    states: ClassVar[Mapping[str, State]] = {
        "exp_avg": State(shape=("long", "rank"), weight="ema1", place="owner"),
        "exp_avg_sq": State(shape=("long", "rank"), weight="ema2", place="owner"),
    }
    matrices_only: ClassVar[bool] = True

    rank: Count = 256
    """Numbers to which the shorter side is projected; the side's length where that is less."""

    refresh_interval: Count = 200
    """Updates from one projection to the next."""

    growth_limit: GrowthLimit = 1.01
    """Largest factor by which the norm of the rescaled gradient may grow."""

    eps: NonNegative = 1e-6
    """Added to the root."""

    decay_order: DecayOrder = "after"

    def derived(self, t: float) -> dict[str, Any]:
        """Return the correction of the step size."""
        found = super().derived(t)
        return {"correction": found["correction1"] / found["correction2"]}


def tall(matrices: torch.Tensor) -> torch.Tensor:
    """Return matrices with the longer side first; those of a square stay."""
    return matrices.mT if matrices.shape[-2] < matrices.shape[-1] else matrices


def turned_back(matrices: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return what was made of `tall(like)` with the sides as they were."""
    return matrices if matrices.shape == like.shape else matrices.mT


def projected_adam(
    low: torch.Tensor, exp_avg: torch.Tensor, exp_avg_sq: torch.Tensor, *, ema1: Any, ema2: Any, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return m / (sqrt(v) + eps), m and v after a projected gradient."""
    exp_avg = exp_avg + ema1 * (low - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (low * low - exp_avg_sq)
    return exp_avg / (exp_avg_sq.sqrt() + eps), exp_avg, exp_avg_sq


def row_norms(matrices: torch.Tensor) -> torch.Tensor:
    """Return the norm of every row, `(n, long, 1)`."""
    norms: torch.Tensor = torch.linalg.vector_norm(matrices, dim=-1, keepdim=True)
    return norms


def limits(norms: torch.Tensor, previous_norms: torch.Tensor, growth_limit: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return factors, `(n, 1, 1)`, that keep norms below `growth_limit` times those before, and the norms after them.

    A norm of 0 is not remembered: after gradients of zero, of an expert without tokens say, a matrix would have to
    grow by one percent an update from 1e-8 on.

    Args:
        norms: Of every matrix, `(n,)`.
        previous_norms: `(n,)`, 0 where there was none.
        growth_limit: A factor.
    """
    bounds = growth_limit * (previous_norms + FLOOR)
    factors = torch.where((previous_norms > 0) & (norms > bounds), bounds / norms, 1.0)
    return factors[:, None, None], torch.where(norms == 0, previous_norms, norms * factors)


def norms_by_rows(row_norms: torch.Tensor) -> torch.Tensor:
    """Return the norm of every matrix, `(n,)`, from those of its rows, `(n, long, 1)`."""
    norms: torch.Tensor = torch.linalg.vector_norm(row_norms, dim=(-2, -1))
    return norms
