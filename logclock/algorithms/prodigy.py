"""Prodigy: Adam whose step grows with an estimate of how far the solution is from where the run began."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from logclock.rules.averages import total_weight
from logclock.rules.families import MOMENTS, BiasCorrectedSpec
from logclock.rules.ops import absolute, maximum, minimum, sqrt, total, where
from logclock.rules.slots import Ema, PeakLr, Positive
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State
from logclock.schedules import value_at


@elementwise
def measured(
    param,
    grad,
    start,
    slope_sum,
    overlap,
    slope_size,
    growth,
    *,
    ema3,
    initial_distance,
    rate,
    step_correction,
    leaves_out,
):
    """Equation of r, S and the norm of S in ProdigySpec, for one tensor."""
    weight = growth * growth * initial_distance
    overlap = (1 - ema3) * overlap + weight * rate * step_correction * total(grad * (start - param))
    slope_sum = (1 - ema3) * slope_sum + weight * where(leaves_out > 0, 1.0, rate * step_correction) * grad
    return grad, start, slope_sum, overlap, total(absolute(slope_sum)), growth


@elementwise
def prodigy(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    growth,
    largest_growth,
    *,
    overlap_total,
    slope_total,
    ema1,
    ema2,
    eps,
    initial_distance,
    coefficient,
    growth_bound,
    step_correction,
    absorbed_decay,
    rate_before_decay,
):
    """Equation of d and of the step in ProdigySpec, with growth = d / d0."""
    distance = initial_distance * growth
    exp_avg = exp_avg + ema1 * (distance * grad - exp_avg)
    exp_avg_sq = exp_avg_sq + ema2 * (distance * distance * grad * grad - exp_avg_sq)
    estimate = where(slope_total > 0, coefficient * overlap_total / slope_total, 0.0) / initial_distance
    largest_growth = maximum(largest_growth, estimate)
    growth = minimum(largest_growth, growth_bound * where(growth > 1, growth, maximum(growth, estimate)))
    step = exp_avg / (sqrt(exp_avg_sq) + eps * initial_distance * growth)
    size = distance * step_correction
    update = size * (1 - rate_before_decay * absorbed_decay * size) * step + size * absorbed_decay * param
    return update, exp_avg, exp_avg_sq, growth, largest_growth


@algorithm("prodigy", class_name="Prodigy", paper="arXiv:2306.06101")
class ProdigySpec(BiasCorrectedSpec):
    """Prodigy: D-adaptation around Adam. The learning rate is a multiplier, 1 unless a schedule says otherwise.

    With d starting at d0 (`initial_distance`), theta0 the weights at the first update, sums over all tensors that the
    optimizer updates with it, and w = (d / d0) d c lr(t):
        r <- (1 - ema3) r + w sum(g (theta0 - theta))
        S <- (1 - ema3) S + w g                          (w without lr and c with safeguard_warmup)
        m <- m + ema1 (d g - m)
        v <- v + ema2 (d^2 g^2 - v)
        d' = coefficient r / sum(abs(S))
        d_max <- max(d_max, d'),  d+ = min(d_max, growth_rate d), or, while d = d0, with max(d, d') in place of d
        theta <- theta - lr(t) c d (m / (sqrt(v) + d+ eps) + lambda theta)
        d <- d+
    where c is 1, or sqrt(1 - beta2^t) / (1 - beta1^t) with bias_correction. Weight decay is a part of the step and
    grows with d; independent decay is s(t) c d lambda. State: start (theta0), slope_sum (S), exp_avg and exp_avg_sq,
    shaped like the parameter; overlap (its part of r), slope_size (of sum(abs(S))), growth (d / d0) and largest_growth
    (d_max / d0), numbers, of which the last two are the same for all tensors.

    Examples:
        >>> round(ProdigySpec(bias_correction=True).scalars(1)["step_correction"], 4)
        0.3162

    Deviations: see the page; r holds the tensors that have a gradient, and decay goes on without gradients.
    References: Mishchenko and Defazio 2023, arXiv:2306.06101.
    """

    direction = (measured, prodigy)
    states: ClassVar[Mapping[str, State]] = {
        **MOMENTS,
        "start": State(init="param", keeps="float32"),
        "slope_sum": State(weight="ema3"),
        "overlap": State(shape="number", total="overlap_total"),
        "slope_size": State(shape="number", total="slope_total"),
        "growth": State(shape="number", init=1.0, is_shared=True),
        "largest_growth": State(shape="number", init=1.0, is_shared=True),
    }
    absorbs_decay = True

    lr: PeakLr = 1.0

    ema3: Ema | None = None
    """Weight of the new gradient in r and S; 1 - sqrt(1 - ema2) if None."""

    bias_correction: bool = False
    """Whether a step is corrected for the bias of m and v; needs constant ema1 and ema2."""

    initial_distance: Positive = 1e-6
    """d0, a lower bound on the distance; the run needs about log(d / d0) updates more to find d."""

    coefficient: Positive = 1.0
    """Factor on the estimate of the distance, the knob to turn where 1 is too fast or too slow."""

    growth_rate: Positive | None = None
    """Largest factor by which d grows in an update; None for no bound."""

    safeguard_warmup: bool = False
    """Whether S leaves out the learning rate, so that a warm-up does not make d overshoot."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weight of r and S, the factor c, whether S leaves out the rate, and the bound on growth."""
        ema2 = value_at(self.ema2, t)
        ema3 = -math.expm1(0.5 * math.log1p(-ema2)) if ema2 < 1 else 1.0
        correction = 1.0
        if self.bias_correction:
            correction = total_weight(ema2, t) ** 0.5 / total_weight(value_at(self.ema1, t), t)
        return {
            "ema3": ema3 if self.ema3 is None else value_at(self.ema3, t),
            "step_correction": correction,
            "leaves_out": float(self.safeguard_warmup),
            "growth_bound": math.inf if self.growth_rate is None else self.growth_rate,
        }
