"""APOLLO-Mini: the gradient, as long as Adam would make its projection to one number a row."""

from collections.abc import Mapping
from typing import ClassVar

from logclock.algorithms.apollo import apollo
from logclock.rules.low_rank import LowRankSpec
from logclock.rules.slots import Count, PeakLr, Positive
from logclock.rules.spec import algorithm
from logclock.rules.state import State


@algorithm("apollo-mini", class_name="APOLLOMini", paper="arXiv:2412.05270")
class ApolloMiniSpec(LowRankSpec):
    """APOLLO-Mini, for the hidden matrices of a model: APOLLO with one ratio for a whole matrix and rank 1.

    As in ApolloSpec, but for
        U = s G,  s = norm(D) / (norm(R) + 1e-8)                 with Frobenius norms
    State: exp_avg and exp_avg_sq of long x rank, update_norm, one number: two numbers a row. The update is SGD's with
    another length, which is what sqrt(scale) = sqrt(128) of the paper makes up for.

    Examples:
        >>> ApolloMiniSpec().state_shape("exp_avg", (128, 1024))
        (1024, 1)

    Deviations: those of ApolloSpec.
    References: Zhu et al. 2024, arXiv:2412.05270.
    """

    direction = (apollo,)
    states: ClassVar[Mapping[str, State]] = {**LowRankSpec.states, "update_norm": State(shape="number")}
    ratio_of: ClassVar[str] = "tensor"

    lr: PeakLr = 1e-2

    rank: Count = 1
    """Numbers to which the shorter side is projected."""

    scale: Positive = 128.0
    """alpha, whose root multiplies the update."""
