"""What may stand around any direction? Masks, clips, ratios, and averages of the path that it takes."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from logclock.config import Registry
from logclock.config.bounds import In
from logclock.rules.ops import absolute, maximum, mean, minimum, norm, rms, sign, where
from logclock.rules.options import Option
from logclock.rules.rule import Output
from logclock.rules.slots import Ema, NonNegativeSlot, Positive
from logclock.rules.stage import Stage, elementwise
from logclock.rules.state import State
from logclock.schedules import value_at

__all__ = ["Cautious", "ClipRms", "EmaNesterov", "Grams", "ScheduleFree", "TrustRatio", "Wrapper"]


class Wrapper(Option):
    """A wrapper as data; see `Option`. Those that change the update act before it is applied, the others after.

    Attributes:
        evaluation: For a wrapper that trains at another point than it evaluates: a stage that returns the weights to
            evaluate, `(param, states..., *, scalars...)`.
    """

    family = Registry("wrapper", tag="name", accepts_name=True)
    evaluation: ClassVar[Stage | None] = None


@elementwise
def cautious(update, grad, *, floor):
    """Equation in Cautious."""
    agrees = update * grad > 0
    return (agrees * update) / maximum(mean(agrees), floor)


@Wrapper.family.register("cautious")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Cautious(Wrapper):
    """No step where the update and the gradient disagree in sign; the others grow, so that the mean stays.

        u <- u [u g > 0] / max(mean([u g > 0]), floor)

    Weight decay is not masked (`apply="cautious_decay"` does that). References: Liang et al. 2024, arXiv:2411.16085.
    """

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((cautious, "update"),)

    floor: Positive = 1e-3
    """Smallest share of coordinates that is divided by."""


@elementwise
def grams(update, grad):
    """Equation in Grams."""
    return sign(grad) * absolute(update)


@Wrapper.family.register("grams")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Grams(Wrapper):
    """The size of the update in the direction of the gradient: u <- abs(u) sign(g).

    References: Cao et al. 2024, arXiv:2412.17107.
    """

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((grams, "update"),)


@elementwise
def clip_rms(update, *, bound):
    """Equation in ClipRms."""
    return update / maximum(rms(update) / bound, 1.0)


@Wrapper.family.register("clip_rms")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipRms(Wrapper):
    """No update of a tensor with a root mean square above a bound: u <- u / max(1, rms(u) / bound).

    References: Shazeer and Stern 2018, arXiv:1804.04235 (Adafactor); Wortsman et al. 2023, arXiv:2304.13013.
    """

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((clip_rms, "update"),)

    bound: Positive = 1.0
    """Largest root mean square of a tensor's update, in units of lr."""


@elementwise
def trust_ratio(param, update, *, decay_per_lr, largest):
    """Equation in TrustRatio."""
    step = update + decay_per_lr * param
    size = norm(step)
    weight = norm(param)
    ratio = where(weight > 0, where(size > 0, weight / size, 1.0), 1.0)
    return minimum(ratio, largest) * step


@Wrapper.family.register("trust_ratio")
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrustRatio(Wrapper):
    """LAMB's ratio: every tensor moves by lr times its own norm.

    With w = u + (decay / lr) theta, per tensor:
        theta <- theta - lr min(norm(theta) / norm(w), largest) w
    and a ratio of 1 where a norm is 0. Weight decay is part of w, as in LAMB, and not applied a second time.

    References: You et al. 2019, arXiv:1904.00962.
    """

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((trust_ratio, "update"),)
    absorbs_decay = True

    largest: Positive | None = None
    """Bound on the ratio; None for no bound."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the bound as a number."""
        return {"largest": math.inf if self.largest is None else self.largest}


@elementwise
def schedule_free(param, moved, z, weight_sum, largest_lr, *, rate, beta):
    """Equation in ScheduleFree."""
    largest_lr = maximum(largest_lr, rate)
    weight = largest_lr * largest_lr
    weight_sum = weight_sum + weight
    share = where(weight_sum > 0, weight / weight_sum, 0.0)
    ahead = z + (moved - param)
    point = (1 - share) * (param - (1 - beta) * z) + (1 - beta + beta * share) * ahead
    return point, ahead, weight_sum, largest_lr


@elementwise
def average_of_schedule_free(param, z, *, beta):
    """Return x, the average, from the point y between x and z: y = (1 - beta) z + beta x."""
    return (param - (1 - beta) * z) / beta


_NOTHING_TO_EVALUATE = "Without the average there is nothing to evaluate."


@Wrapper.family.register("schedule_free")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleFree(Wrapper):
    """Gradients at a point between the iterates and their average, which is what is evaluated; no schedule is needed.

    With y the parameter while training, and delta the move that the rule makes from y:
        z <- z + delta
        x <- (1 - c) x + c z,  c = w / sum of w so far,  w = (largest learning rate so far)^2
        y <- (1 - beta) z + beta x
    State: z, shaped like the parameter and starting as its copy, and two numbers. Evaluate within
    `optimizer.evaluated()`, where the parameters are x. Schedule-free AdamW is `adamw` with `ema1=1` under it; other
    directions keep their own momentum beside it.

    References: Defazio et al. 2024, arXiv:2405.15682.
    """

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((schedule_free, "moved"),)
    states: ClassVar[Mapping[str, State]] = {
        "z": State(init="param", keeps="float32"),
        "weight_sum": State(shape="number"),
        "largest_lr": State(shape="number"),
    }
    evaluation: ClassVar[Stage | None] = average_of_schedule_free

    beta: Annotated[float, In(low=0, high=1, includes_low=False, advice=_NOTHING_TO_EVALUATE)] = 0.9
    """Share of the average in the point where gradients are taken."""


@elementwise
def ema_nesterov(param, moved, displacement, *, memory_weight, lookahead_before, lookahead):
    """Equation in EmaNesterov."""
    start = param - lookahead_before * displacement
    displacement = displacement + memory_weight * (moved - start - displacement)
    return moved + lookahead * displacement, displacement


@elementwise
def before_the_lookahead(param, displacement, *, lookahead):
    """Return the weights without the lookahead."""
    return param - lookahead * displacement


@Wrapper.family.register("ema_nesterov")
@dataclasses.dataclass(frozen=True, kw_only=True)
class EmaNesterov(Wrapper):
    """Gradients ahead of the weights, along an average of their own displacements.

    With theta the weights, d starting at 0, and the parameter at theta + lookahead(t) d while training:
        theta' = the rule's move from the parameter
        d <- d + memory_weight (theta' - theta - d)
        theta <- theta'
    State: displacement (d), shaped like the parameter. Evaluate within `optimizer.evaluated()`, where the parameters
    are theta.

    Deviations: the paper multiplies the lookahead by lr / peak lr and switches it off at both ends of a run; here
        `lookahead` is a slot, which takes that as a schedule.
    References: arXiv:2605.25395.
    """

    stages: ClassVar[tuple[tuple[Stage, Output], ...]] = ((ema_nesterov, "moved"),)
    states: ClassVar[Mapping[str, State]] = {"displacement": State(weight="memory_weight")}
    evaluation: ClassVar[Stage | None] = before_the_lookahead

    lookahead: NonNegativeSlot = 0.6
    """How far ahead of the weights gradients are taken after update t, in units of d."""

    memory_weight: Ema = 0.01
    """1 - gamma, the weight of the newest displacement in d."""

    def derived(self, t: float) -> dict[str, Any]:
        """Return the lookahead at which the gradient of update t was taken; the first is taken at the weights."""
        return {"lookahead_before": value_at(self.lookahead, t - 1) if t > 1 else 0.0}
