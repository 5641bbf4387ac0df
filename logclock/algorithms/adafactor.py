"""Adafactor: a second moment of rows and columns in place of one for each weight, and steps relative to the weights."""

import math
from typing import Any

import torch

from logclock.rules.ops import maximum, minimum, rms
from logclock.rules.slots import Ema, Fraction, NonNegative, PeakLr, Positive
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise, matrix
from logclock.rules.state import State
from logclock.schedules import value_at


@matrix
def factored(grad, row_avg_sq, col_avg_sq, exp_avg_sq, *, ema2, eps):
    """Return G / sqrt(V) of AdafactorSpec, with shape legend: grad (n, rows, cols) or (n, *shape), sides (n, side)."""
    squares = (grad * grad).contiguous()  # sums must not depend on the strides of the parameter
    if row_avg_sq.numel():
        row_avg_sq = row_avg_sq + ema2 * (squares.mean(-1) - row_avg_sq)
        col_avg_sq = col_avg_sq + ema2 * (squares.mean(-2) - col_avg_sq)
        shares = row_avg_sq / row_avg_sq.mean(-1, keepdim=True).clamp_min(eps)
        root = torch.mul(shares.sqrt()[:, :, None], col_avg_sq.sqrt()[:, None, :], out=squares)
    else:
        exp_avg_sq = exp_avg_sq + ema2 * (squares - exp_avg_sq)
        root = exp_avg_sq.sqrt()
    return torch.div(grad, root.clamp_min_(eps), out=root), row_avg_sq, col_avg_sq, exp_avg_sq


@elementwise
def sized(param, update, *, rate, rate_bound, rms_bound, smallest_scale, scale_weight):
    """Return U of AdafactorSpec."""
    clipped = update / maximum(rms(update) / rms_bound, 1.0)
    scale = maximum(scale_weight * rms(param), smallest_scale)
    return scale * minimum(rate_bound / maximum(rate, 1e-30), 1.0) * clipped


@algorithm("adafactor", class_name="Adafactor", paper="arXiv:1804.04235")
class AdafactorSpec(Spec):
    """Adafactor without momentum, as torch has it.

    For a matrix G of gradients, with t = 1, 2, ..., row and column means, and the weight ema2(t) = t^-memory_exponent:
        r <- r + ema2(t) (rowmean(G^2) - r),  c <- c + ema2(t) (colmean(G^2) - c)
        V = r c^T / max(mean(r), eps)
    and for every other parameter V <- V + ema2(t) (G^2 - V). Then
        U = G / max(sqrt(V), eps)
        U <- U / max(1, rms(U) / clip)
        theta <- theta - max(smallest_scale, rms(theta)) min(lr(t), 1 / sqrt(t)) U - decay theta
    State: row_avg_sq (r) and col_avg_sq (c), of one side each, for a matrix; exp_avg_sq (V), shaped like the parameter,
    for any other. It has a matrix stage because it sums over rows and columns.

    Examples:
        >>> AdafactorSpec().scalars(4)["rate_bound"]
        0.5

    Deviations: see the page; the paper adds eps to G^2, and its momentum is not here.
    References: Shazeer and Stern 2018, arXiv:1804.04235. Equal to `torch.optim.Adafactor` with the same eps.
    """

    direction = (factored, sized)
    states = {
        "row_avg_sq": State(shape=("rows",), weight="ema2", place="owner", only="matrices"),
        "col_avg_sq": State(shape=("cols",), weight="ema2", place="owner", only="matrices"),
        "exp_avg_sq": State(weight="ema2", only="others"),
    }

    lr: PeakLr = 1e-2

    ema2: Ema | None = None
    """Weight of the new squares in the averages; t^-memory_exponent if None."""

    memory_exponent: Fraction = 0.8
    """How fast that weight falls; averages remember t^memory_exponent updates."""

    eps: Positive = 2.0**-23
    """Smallest root and smallest mean of r that are divided by; the default is float32's machine epsilon."""

    clip: Positive | None = 1.0
    """Largest root mean square of U; None for no bound."""

    relative_step: bool = True
    """Whether the learning rate is bounded by 1 / sqrt(t)."""

    scale_parameter: bool = True
    """Whether a step is relative to the root mean square of the weights; otherwise lr is the step itself."""

    smallest_scale: NonNegative = 1e-3
    """Root mean square that the weights are taken to have at least."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weight of new squares, and bounds and scales as numbers that change nothing if switched off."""
        return {
            "ema2": t**-self.memory_exponent if self.ema2 is None else value_at(self.ema2, t),
            "rate_bound": t**-0.5 if self.relative_step else math.inf,
            "rms_bound": math.inf if self.clip is None else self.clip,
            "scale_weight": 1.0 if self.scale_parameter else 0.0,
            "smallest_scale": self.smallest_scale if self.scale_parameter else 1.0,
        }
