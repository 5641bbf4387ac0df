"""ScaledAdam: steps relative to the size of every tensor, whose size itself is learned beside them."""

from typing import Any

from logclock.rules.averages import total_weight
from logclock.rules.ops import maximum, minimum, rms, size, sqrt, total, where
from logclock.rules.slots import Count, Fraction, NonNegative, PeakLr, Positive
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State


@elementwise
def scaled_adam(
    param,
    grad,
    exp_avg_sq,
    exp_avg_move,
    param_rms,
    slope_sum,
    slope_sq_sum,
    slope_avg_sq,
    *,
    rate,
    ema1,
    ema2,
    correction,
    number_correction,
    begins_period,
    ends_period,
    measures_size,
    period,
    size_ema,
    size_correction,
    size_lr,
    number_lr,
    smallest_rms,
    largest_rms,
    largest_growth,
    largest_number,
    eps,
):
    """Equation in ScaledAdamSpec."""
    is_number = size(param) <= 1
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    root = sqrt(exp_avg_sq) * where(is_number, number_correction, correction) + eps
    param_rms = where(measures_size > 0, rms(param), param_rms)
    slope = total(param * grad)
    slope_sum = where(begins_period > 0, slope, slope_sum + slope)
    slope_sq_sum = where(begins_period > 0, slope * slope, slope_sq_sum + slope * slope)
    mean_sq = slope_sq_sum / period
    slope_avg_sq = where(ends_period > 0, slope_avg_sq + size_ema * (mean_sq - slope_avg_sq), slope_avg_sq)
    growth = -rate * size_lr * size_correction * slope_sum / (sqrt(slope_avg_sq) + eps)
    growth = maximum(minimum(growth, largest_growth), -largest_growth)
    growth = where(param_rms < smallest_rms, 0.0, minimum(growth, (largest_rms - param_rms) / param_rms))
    growth = where(is_number, 0.0, where(ends_period > 0, growth, 0.0))
    scale = where(is_number, number_lr, maximum(param_rms, smallest_rms))
    move = growth * param - (rate * scale) * (grad / root)
    exp_avg_move = exp_avg_move + ema1 * (move - exp_avg_move)
    excess = where(is_number, 1.0, 0.0) * (param - maximum(minimum(param, largest_number), -largest_number))
    update = (excess - exp_avg_move) / maximum(rate, 1e-30)  # where the rate is 0, what comes next multiplies by it
    return update, exp_avg_sq, exp_avg_move, param_rms, slope_sum, slope_sq_sum, slope_avg_sq


NUMBER = State(shape="number")


@algorithm("scaled-adam", class_name="ScaledAdam", paper="arXiv:2310.11230")
class ScaledAdamSpec(Spec):
    """ScaledAdam: Adam with steps in units of each tensor's root mean square, and a learned growth of that.

    With t = 1, 2, ..., for every tensor of more than one element, N = `size_interval`, R = rms(theta) as it was at the
    last update that N divides (at the first, before that), and D starting at 0:
        v <- v + ema2 (g^2 - v)
        move = -lr(t) max(R, smallest_rms) g / (sqrt(v) c2 + eps)
        if N divides t, with q the products sum(theta g) of the last N updates, all before theta moved:
            s <- s + (1 - beta2^N) (mean(q^2) - s)
            h = -lr(t) size_lr sqrt(1 - beta2^t) sum(q) / (sqrt(s) + eps), between -largest_growth and +largest_growth
            move <- move + min(h, largest_rms / R - 1) theta                  (nothing if R < smallest_rms)
        D <- D + ema1 (move - D)
        theta <- theta + D - decay theta
    where c2 = 1 / sqrt(1 - beta2^t) as long as 1 - beta2^t < 0.99, and 1 from then on. A parameter of one element moves
    by number_lr in place of R, always with the correction, from where it is within +-largest_number. State: exp_avg_sq
    and exp_avg_move (D, a momentum of moves), shaped like the parameter, and four numbers. No weight decay is usual.

    Examples:
        >>> spec = ScaledAdamSpec()
        >>> [t for t in range(1, 10) if spec.scalars(t)["ends_period"]]
        [4, 8]

    Deviations: the authors' recipe clips gradients at twice the median of their norms in units of R; clipping is the
        host's business here. Their learning-rate schedule is `Eden`.
    References: Yao et al. 2023, arXiv:2310.11230 (Zipformer).
    """

    direction = (scaled_adam,)
    states = {
        "exp_avg_sq": State(weight="ema2"),
        "exp_avg_move": State(weight="ema1"),
        "param_rms": NUMBER,
        "slope_sum": NUMBER,
        "slope_sq_sum": NUMBER,
        "slope_avg_sq": NUMBER,
    }

    lr: PeakLr = 3e-2

    ema1: Fraction = 0.1
    """1 - beta1, the weight of the new move in D."""

    ema2: Fraction = 0.02
    """1 - beta2, the weight of the new squared gradient in v."""

    eps: NonNegative = 1e-8
    """Added to the roots."""

    size_interval: Count = 4
    """Updates from one change of a tensor's size to the next."""

    size_lr: NonNegative = 0.1
    """Learning rate of the size, in units of lr."""

    number_lr: NonNegative = 0.1
    """Learning rate of parameters of one element, in units of lr."""

    smallest_rms: Positive = 1e-5
    """Root mean square that a smaller tensor is given in its steps; such a tensor's size is not learned."""

    largest_rms: Positive = 3.0
    """Root mean square that the growth does not pass."""

    largest_growth: Positive = 0.1
    """Bound on the relative change of a size."""

    largest_number: Positive = 10.0
    """Bound on parameters of one element, before they move."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the corrections, where the update stands in its period, and the weight of a period's slopes."""
        weight = total_weight(self.ema2, t)
        phase = (t - 1) % self.size_interval
        return {
            "correction": weight**-0.5 if weight < 0.99 else 1.0,
            "number_correction": weight**-0.5,
            "begins_period": float(phase == 0),
            "ends_period": float(phase == self.size_interval - 1),
            "measures_size": float(t <= 1 or phase == self.size_interval - 1),
            "period": float(self.size_interval),
            "size_ema": total_weight(self.ema2, self.size_interval),
            "size_correction": total_weight(self.ema2, t) ** 0.5,
        }
