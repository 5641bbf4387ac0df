"""Sophia-G: momentum over an estimate of the curvature that comes from sampled labels, clipped to one."""

from typing import Any

from logclock.rules.ops import maximum, minimum
from logclock.rules.slots import Count, Ema, NonNegativeSlot, PeakLr, Positive
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State


@elementwise
def sophia_g(grad, exp_avg, hessian, num_estimates, *, ema1, rho, eps):
    """Equation in SophiaGSpec; the curvature is only read."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    ratio = exp_avg / (rho * hessian + eps)
    return maximum(minimum(ratio, 1.0), -1.0), exp_avg, hessian, num_estimates


@elementwise
def gauss_newton_bartlett(grad, hessian, num_estimates, *, ema2, samples):
    """Equation of h in SophiaGSpec; `grad` is that of the loss on sampled labels."""
    return grad, hessian + ema2 * (samples * (grad * grad) - hessian), num_estimates + 1


@algorithm("sophia-g", class_name="SophiaG", paper="arXiv:2305.14342")
class SophiaGSpec(Spec):
    """Sophia-G: steps divided by the diagonal of the Gauss-Newton matrix, no coordinate by more than lr.

    With m and h starting at 0, all elementwise:
        m <- m + ema1 (g - m)
        theta <- theta - lr(t) min(max(m / (rho h + eps), -1), 1) - decay theta
    and, before the first update and every `estimate_interval` updates, within `optimizer.curvature(samples=B)`:
        h <- h + ema2 (B b^2 - h)
    where b is the gradient of the mean loss over B predictions whose labels are sampled from the model's own
    distribution. Without an estimate h is 0 and the step is that of the sign of m; a step raises once more than
    `estimate_interval` updates were made without any. State: exp_avg (m) and hessian (h), shaped like the parameter,
    and num_estimates, a number.

    Examples:
        >>> [t for t in range(1, 30) if SophiaGSpec().is_due("curvature", t)]
        [1, 11, 21]

    Deviations: the authors multiply by B in the step; their first estimate comes after the first interval.
    References: Liu et al. 2023, arXiv:2305.14342.
    """

    direction = (sophia_g,)
    second_gradients = {"curvature": gauss_newton_bartlett}
    states = {
        "exp_avg": State(weight="ema1"),
        "hessian": State(weight="ema2"),
        "num_estimates": State(shape="number"),
    }

    lr: PeakLr = 1e-4

    ema1: Ema = 0.035
    """1 - beta1, the weight of the new gradient in m."""

    ema2: Ema = 0.01
    """1 - beta2, the weight of the new estimate in h."""

    rho: Positive = 0.04
    """Factor on the curvature; smaller values let more coordinates take the full step of lr."""

    eps: Positive = 1e-15
    """Added to the curvature."""

    estimate_interval: Count = 10
    """Updates from one estimate of the curvature to the next."""

    weight_decay: NonNegativeSlot = 0.1

    def is_due(self, name: str, t: float) -> bool:
        """Return whether an estimate should be given before update t."""
        return (t - 1) % self.estimate_interval == 0

    def missing(self, t: float, state: Any) -> str:
        """Return what to do if update t comes without any estimate, an interval after the first."""
        if t != self.estimate_interval + 1 or state["num_estimates"].item() > 0:
            return ""
        return (
            f"SophiaG has made {self.estimate_interval} updates without an estimate of the curvature, and its step "
            "would go on being the sign of the momentum. Before every step at which optimizer.is_due('curvature'), "
            "compute the gradient of the loss on labels sampled from the model: `with "
            "optimizer.curvature(samples=NUMBER_OF_LABELS): sampled_loss.backward()`."
        )
