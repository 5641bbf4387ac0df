"""How may the batch grow in a run? Plans, as plain data; `train.controllers` carries them out.

A batch is a whole number of base batches of `data.batch_size` sequences, its factor, which never falls. A run with a
plan ends when it has seen total_steps base batches: its token budget is that of the run without one, its updates are
fewer. The learning-rate schedule follows the base batches seen; clocks of optimizers count updates.
"""

import dataclasses
import math
from typing import ClassVar, Literal

from logclock.config import Registry
from logclock.schedules import check

__all__ = ["BatchPlan", "LrRule", "MeasuredBatch", "StagedBatch", "Test"]

LrRule = Literal["none", "sqrt", "linear"]
"""By what the learning rate is multiplied when the batch is: nothing, the root of its factor, or the factor."""

Test = Literal["norm", "inner_product", "augmented", "noise_scale"]


class BatchPlan:
    """How the batch grows. Members are frozen keyword-only dataclasses that join `BatchPlan.family`."""

    family: ClassVar[Registry["BatchPlan"]] = Registry("batch plan", tag="kind")

    lr_rule: LrRule

    def lr_factor(self, factor: int) -> float:
        """Return the factor on the learning rate at a factor on the batch."""
        return {"none": 1.0, "sqrt": math.sqrt(factor), "linear": float(factor)}[self.lr_rule]


@BatchPlan.family.register("staged")
@dataclasses.dataclass(frozen=True, kw_only=True)
class StagedBatch(BatchPlan):
    """A batch that grows at fixed shares of the token budget: warm-up toward the critical batch without measuring it.

    The critical batch starts near 0, rises and levels off (Merrill et al. 2025, arXiv:2505.23971): early on, small
    batches lose nothing per update and save tokens. The defaults are a quarter, half and the whole of the largest
    batch, with changes at 3 % and 10 % of the tokens and the square-root rule.
    """

    factors: tuple[int, ...] = (1, 2, 4)
    """Base batches of an update, stage by stage, ascending."""

    shares: tuple[float, ...] = (0.03, 0.1)
    """Of the token budget, where the second stage and those after it begin."""

    lr_rule: LrRule = "sqrt"
    """What the learning rate does when the batch grows."""

    def __post_init__(self) -> None:
        ascend = list(self.factors) == sorted(set(self.factors)) and bool(self.factors) and self.factors[0] >= 1
        check(ascend, "factors", "be whole numbers from 1 on that ascend", self.factors)
        check(
            len(self.shares) == len(self.factors) - 1,
            "shares",
            f"be one less than the {len(self.factors)} factors",
            self.shares,
            advice="The first stage begins at 0.",
        )
        ascend = list(self.shares) == sorted(set(self.shares)) and all(0 < share < 1 for share in self.shares)
        check(ascend, "shares", "ascend between 0 and 1", self.shares)

    def factor_at(self, share: float) -> int:
        """Return the factor after a share of the tokens."""
        return self.factors[sum(share >= begin for begin in self.shares)]


@BatchPlan.family.register("measured")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuredBatch(BatchPlan):
    """A batch that grows when the noise of its gradient asks for it: the rule of AdAdaGrad, and that of a noise scale.

    The gradients g1 and g2 of the two halves of a batch of b sequences, g their mean, estimate what the tests take from
    gradients of single sequences: the trace of their covariance is about b |g1 - g2|^2 / 4, and the variance of
    <g_i, g> about b (|g1|^2 - |g2|^2)^2 / 16. Both, with |g|^2 and <g1, g2>, are averaged over `interval` updates; then
        norm           b' = trace / (eta^2 |g|^2)
        inner_product  b' = variance / (theta^2 |g|^4)
        augmented      the larger of that and (trace - variance / |g|^2) / (nu^2 |g|^2)
        noise_scale    b' = noise_share B_noise,  B_noise = trace / <g1, g2>
    and the batch becomes b' in whole base batches, rounded up, if that is more, within `growth` and `max_factor`. A
    mean <g1, g2> that is not positive asks for the most.

    References: Lau et al. 2024, arXiv:2402.11215 (the first three tests; there from gradients of single samples);
    McCandlish et al. 2018, arXiv:1812.06162 (B_noise).
    """

    test: Test = "norm"
    """Which of the four."""

    eta: float = 0.5
    """Bound of the norm test on the noise of the gradient over its length; smaller asks for larger batches."""

    theta: float = 0.5
    """The same along the gradient, for the inner-product test."""

    nu: float = 1.0
    """The same across it, for the augmented test."""

    noise_share: float = 1.0
    """Batch over B_noise, for `noise_scale`."""

    interval: int = 20
    """Updates over which means are taken, and after which the test is made."""

    max_factor: int = 16
    """Bound on the factor."""

    growth: float = 2.0
    """Bound on what one test may multiply the batch by; inf for none."""

    lr_rule: LrRule = "none"
    """What the learning rate does when the batch grows; AdAdaGrad leaves it, for its own steps shrink."""

    def __post_init__(self) -> None:
        for name in ("eta", "theta", "nu", "noise_share"):
            value = getattr(self, name)
            check(0 < value < math.inf, name, "be > 0 and finite", value)
        check(self.interval >= 1, "interval", "be >= 1 update", self.interval)
        check(self.max_factor >= 1, "max_factor", "be >= 1", self.max_factor)
        check(self.growth > 1, "growth", "be > 1", self.growth, advice="Otherwise the batch never grows.")
