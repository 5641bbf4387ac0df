"""How does an update meet the weights? The apply stages, of which every rule has one."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from logclock.config import Registry
from logclock.rules.averages import bias_corrections
from logclock.rules.ops import maximum, minimum, norm
from logclock.rules.options import Option
from logclock.rules.rule import Output
from logclock.rules.slots import Fraction, NonNegative, NonNegativeSlot, Positive
from logclock.rules.stage import Stage, elementwise, matrix
from logclock.rules.state import State
from logclock.schedules import InverseTime

__all__ = ["Apply", "CautiousDecay", "Decay", "HuberDecay", "Hyperball", "InitialDecay", "MagnitudeDirection"]


class Apply(Option):
    """An apply stage as data; see `Option`.

    Its stages read `lr` and `decay`, for which decay after the update is one expression with decay before it, or, where
    the decay depends on the weight or on the update, `rate` (the learning rate itself) and `rate_before_decay`: the
    part of the step that has been made where the decay acts, all of it or nothing.
    """

    family = Registry("apply stage", tag="name", accepts_name=True)


@elementwise
def decay(param, update, *, lr, decay):
    """Equation in Decay."""
    return param - lr * update - decay * param


@Apply.family.register("decay")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Decay(Apply):
    """A step against the update, and the same fraction off every weight: theta <- theta - lr u - decay theta."""

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((decay, "moved"),)


@elementwise
def cautious_decay(param, update, *, rate, rate_before_decay, decay):
    """Equation in CautiousDecay."""
    shrinks = update * param >= 0
    return param - rate * update - decay * (shrinks * (param - rate_before_decay * update))


@Apply.family.register("cautious_decay", "cautious")
@dataclasses.dataclass(frozen=True, kw_only=True)
class CautiousDecay(Apply):
    """Cautious weight decay: only where the step shrinks the weight already.

        theta <- theta - lr u - decay [u theta >= 0] theta

    The mask looks at the direction of the step, so it decays nothing that the loss wants larger. It is another option
    than the wrapper `cautious`, which masks the update.

    References: Chen et al. 2025, arXiv:2510.12402.
    """

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((cautious_decay, "moved"),)


@elementwise
def huber_decay(param, update, *, rate, rate_before_decay, decay, bound):
    """Equation in HuberDecay."""
    decayed = param - rate_before_decay * update
    return param - rate * update - decay * maximum(minimum(decayed, bound), -bound)


@Apply.family.register("huber_decay", "huber")
@dataclasses.dataclass(frozen=True, kw_only=True)
class HuberDecay(Apply):
    """Weight decay whose pull stops growing at a bound, as the gradient of a Huber penalty does.

        theta <- theta - lr u - decay min(max(theta, -bound), bound)

    Deviations: the paper's bound follows a running mean of abs(theta) by a rule that it does not state; here it is a
        number. Its proximal form divides by 1 + decay, the same to first order.
    References: Guo and Fan 2025, arXiv:2511.14721.
    """

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((huber_decay, "moved"),)

    bound: Positive = 0.1
    """Size of a weight from which on the pull is constant; infinity is `decay`."""


@elementwise
def initial_decay(param, update, initial, *, rate, pull):
    """Equation in InitialDecay."""
    return param - rate * update - pull * (param - initial), initial


_FADING = InverseTime(scale=1.0, offset=1.0)


@Apply.family.register("initial_decay", "soda")
@dataclasses.dataclass(frozen=True, kw_only=True)
class InitialDecay(Apply):
    """Decay toward the initial weights, by a share that falls as 1 / t (SODA).

    With theta_0 the weights at which the state began:
        theta <- theta - lr u - pull(t) (theta - theta_0)
    State: initial (theta_0), shaped like the parameter. `pull` does not follow the learning rate; weight decay toward
    zero has no effect and must be 0. A log-time decay with another center.

    References: arXiv:2605.11172, whose k counts from 0: 1 / (k + 2) is 1 / (1 + t).
    """

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((initial_decay, "moved"),)
    states: ClassVar[Mapping[str, State]] = {"initial": State(init="param")}
    decays = False

    pull: NonNegativeSlot = _FADING
    """Fraction of the distance from the initial weights that update t takes away."""


@elementwise
def hyperball(param, update, *, rate, floor):
    """Equation in Hyperball."""
    radius = norm(param)
    moved = param - (rate * radius / maximum(norm(update), floor)) * update
    return (radius / maximum(norm(moved), floor)) * moved


@Apply.family.register("hyperball")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyperball(Apply):
    """Steps on a sphere: every tensor keeps its norm, and the learning rate is the angle of a step in radians.

    With R = norm(theta), per tensor:
        theta' = theta - lr R u / norm(u)
        theta <- theta' R / norm(theta')
    Weight decay has no effect and must be 0. A tensor that starts at 0 could never leave it and is refused: give such
    weights a small random start. R is taken anew at every step, which differs from the first one's by rounding.

    References: Wen et al. 2026, arXiv:2606.16899; MuonH in Ren et al. 2026, arXiv:2603.28743.
    """

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((hyperball, "moved"),)
    decays = False
    needs_norm = True

    floor: NonNegative = 1e-10
    """Smallest norm that is divided by."""


@matrix
def seen_through_gains(grad, row_gain, col_gain):
    """Return the gradient of the direction, with shape legend: grad (n, rows, cols), gains (n, side)."""
    rows, cols = _softplus(row_gain)[..., :, None], _softplus(col_gain)[..., None, :]
    return rows * grad * cols, row_gain, col_gain


@matrix
def magnitude_direction(
    param,
    grad,
    update,
    row_gain,
    col_gain,
    row_avg,
    row_avg_sq,
    col_avg,
    col_avg_sq,
    *,
    rate,
    lr_multiplier,
    gain_lr,
    ema1,
    ema2,
    correction1,
    correction2,
    eps,
):
    """Equation in MagnitudeDirection; `grad` is the one that `seen_through_gains` returned, a G b."""
    rows, cols = _softplus(row_gain)[..., :, None], _softplus(col_gain)[..., None, :]
    direction = param / (rows * cols)
    radius = torch.linalg.vector_norm(direction, dim=(-2, -1), keepdim=True)
    slopes = direction * grad  # (D a G b): its sums over a side are the gains' gradients times the gains
    row_grad = slopes.sum(-1) / rows.squeeze(-1) * torch.sigmoid(row_gain)
    col_grad = slopes.sum(-2) / cols.squeeze(-2) * torch.sigmoid(col_gain)
    moved = direction - rate * update
    moved = moved * (radius / torch.linalg.vector_norm(moved, dim=(-2, -1), keepdim=True).clamp_min(1e-30))
    step = gain_lr * lr_multiplier * correction1
    gains = []
    for gain, slope, avg, avg_sq in (
        (row_gain, row_grad, row_avg, row_avg_sq),
        (col_gain, col_grad, col_avg, col_avg_sq),
    ):
        avg = avg + ema1 * (slope - avg)
        avg_sq = avg_sq + ema2 * (slope * slope - avg_sq)
        gains.append((gain - step * avg / (avg_sq.sqrt() * correction2 + eps), avg, avg_sq))
    (row_gain, row_avg, row_avg_sq), (col_gain, col_avg, col_avg_sq) = gains
    moved = _softplus(row_gain)[..., :, None] * moved * _softplus(col_gain)[..., None, :]
    return moved, row_gain, col_gain, row_avg, row_avg_sq, col_avg, col_avg_sq


def _softplus(raw: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.softplus(raw, threshold=1e30)  # torch's shortcut above 20 has another derivative


_UNIT_GAIN = math.log(math.e - 1)  # softplus of it is 1


@Apply.family.register("magnitude_direction")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MagnitudeDirection(Apply):
    """A matrix as gains times a direction of fixed norm, each with steps of its own; the model sees their product.

    With W = diag(a) D diag(b), a = softplus(p), b = softplus(q), G the gradient of W, and u the direction's answer to
    the gradient a G b of D:
        D <- (D - lr u), scaled back to the norm that D had
        p, q <- Adam of their gradients rowsum(D G b) sigmoid(p), colsum(a D G) sigmoid(q), at gain_lr s(t)
        W <- diag(a) D diag(b)
    p and q start at ln(e - 1), where a = b = 1. State beside the direction's: six numbers for each row and column
    together. Weight decay has no effect and must be 0; a matrix that starts at 0 is refused.

    It is a matrix stage because it sums over rows and columns, which the vocabulary's reductions do not.

    Deviations: the paper fixes the norm of D by the width; here it stays what the initial weights made it.
    References: arXiv:2606.25971.
    """

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((seen_through_gains, "grad"), (magnitude_direction, "moved"))
    states: ClassVar[Mapping[str, State]] = {
        "row_gain": State(shape=("rows",), init=_UNIT_GAIN, keeps="float32", place="owner"),
        "col_gain": State(shape=("cols",), init=_UNIT_GAIN, keeps="float32", place="owner"),
        "row_avg": State(shape=("rows",), place="owner"),
        "row_avg_sq": State(shape=("rows",), place="owner"),
        "col_avg": State(shape=("cols",), place="owner"),
        "col_avg_sq": State(shape=("cols",), place="owner"),
    }
    matrices_only = True
    decays = False
    needs_norm = True

    gain_lr: Positive = 1e-3
    """Peak learning rate of the raw gains p and q."""

    ema1: Fraction = 0.1
    """Weight of the new gradient in the gains' first moment."""

    ema2: Fraction = 0.001
    """Weight of the new squared gradient in the gains' second moment."""

    eps: NonNegative = 1e-8
    """Added to the root of the gains' second moment."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return Adam's corrections of the bias of both moments."""
        corrections = bias_corrections(self.ema1, self.ema2, t)
        return {"correction1": corrections[0], "correction2": corrections[1]}
