"""How noisy is a gradient? What the halves of a batch say of it: of one process, or of the ranks of several."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch import distributed as dist

from logclock.train.batch_plan import MeasuredBatch

__all__ = ["HalfBatches", "MeanNoise", "Noise"]


@dataclasses.dataclass(frozen=True)
class Noise:
    """What the gradients of the halves of a batch of b sequences say, as means over updates."""

    trace: float
    """Of the covariance of the gradient of one sequence: b |g1 - g2|^2 / 4."""

    along: float
    """Variance of the product of the gradient of one sequence with g: b (|g1|^2 - |g2|^2)^2 / 16."""

    square: float
    """|g|^2, which the noise makes larger than that of the true gradient."""

    product: float
    """<g1, g2>, whose mean is the square of the true gradient."""

    @classmethod
    def of(cls, first: Sequence[Tensor], second: Sequence[Tensor], *, batch_size: int) -> "Noise":
        """Return what two halves say, each the mean gradient over half of the batch, tensor by tensor."""
        one, two, product = _dot(first, first), _dot(second, second), _dot(first, second)
        return cls(
            trace=batch_size * (one + two - 2 * product) / 4,
            along=batch_size * (one - two) ** 2 / 16,
            square=(one + two + 2 * product) / 4,
            product=product,
        )

    @classmethod
    def of_ranks(
        cls, gradients: Sequence[Tensor], *, batch_size: int, group: dist.ProcessGroup | None = None
    ) -> "Noise":
        """Return the same of data-parallel ranks, on every rank; the halves are those of the ranks.

        Args:
            gradients: Of this rank's own sequences, a mean over them, before ranks are averaged: taken within
                `no_sync()` of DistributedDataParallel. They stay as they are.
            batch_size: Sequences of all ranks together, as many on each.
            group: The ranks; all if None.

        Raises:
            ValueError: The number of ranks is odd.
        """
        num_ranks = dist.get_world_size(group)
        if num_ranks % 2:
            raise ValueError(
                f"two halves need an even number of ranks, got {num_ranks}. Use the halves of accumulation."
            )
        is_first = dist.get_rank(group) < num_ranks // 2
        halves = []
        for counts in (is_first, not is_first):
            half = [grad.detach() * (2 / num_ranks if counts else 0.0) for grad in gradients]
            for grad in half:
                dist.all_reduce(grad, group=group)
            halves.append(half)
        return cls.of(*halves, batch_size=batch_size)

    @property
    def scale(self) -> float:
        """B_noise in sequences: the batch at which noise and signal are equal; inf where no signal is seen."""
        return self.trace / self.product if self.product > 0 else math.inf

    def wanted(self, plan: MeasuredBatch) -> float:
        """Return the batch in sequences that a test asks for; nan where a gradient was not finite."""
        if not math.isfinite(self.trace):
            return math.nan
        if plan.test == "noise_scale":
            return plan.noise_share * self.scale
        if not self.square > 0:
            return math.inf
        by_norm = self.trace / (plan.eta**2 * self.square)
        by_product = self.along / (plan.theta**2 * self.square**2)
        across = (self.trace - self.along / self.square) / (plan.nu**2 * self.square)
        return {"norm": by_norm, "inner_product": by_product, "augmented": max(by_product, across)}[plan.test]


class MeanNoise:
    """The mean of what several updates say. Its scale is a ratio of means: that of one update is too noisy."""

    def __init__(self) -> None:
        self._sums = [0.0] * len(dataclasses.fields(Noise))
        self.count = 0

    def add(self, noise: Noise) -> None:
        """Take in an update."""
        self._sums = [a + b for a, b in zip(self._sums, dataclasses.astuple(noise), strict=True)]
        self.count += 1

    @property
    def mean(self) -> Noise:
        """The mean of what was taken in; nan before anything was."""
        return Noise(*(total / self.count if self.count else math.nan for total in self._sums))

    def clear(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]

    def state_dict(self) -> dict[str, object]:
        """Return sums and count, for a checkpoint."""
        return {"sums": list(self._sums), "count": self.count}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on with them."""
        self._sums, self.count = list(state["sums"]), state["count"]  # type: ignore[call-overload,assignment]


class HalfBatches:
    """Looks at the gradients of a batch that is summed up part by part, and compares its halves.

    Args:
        params: Whose gradients are measured.
    """

    def __init__(self, params: Sequence[Tensor]) -> None:
        self._params = params
        self._half: list[tuple[Tensor, Tensor]] = []  # a parameter's tensor and its gradient after half of the batch

    def parts(self, parts: int) -> int:
        """Return an even number of parts."""
        return 2 * parts if parts % 2 else parts

    def after_part(self, number: int, parts: int, *, batch_size: int) -> Noise | None:
        """Look at the gradient summed up so far, after part `number` of `parts`; return the noise after the last."""
        if 2 * number == parts:
            self._half = [(param, param.grad.clone()) for param in self._params if param.grad is not None]
        if number < parts:
            return None
        # the gradient is the mean of the halves', and half of the first one's was kept
        first = [2 * half for _, half in self._half]
        second = [2 * (param.grad - half) for param, half in self._half if param.grad is not None]
        self._half = []
        return Noise.of(first, second, batch_size=batch_size)


def _dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Return the product over all tensors at once, so that covariances between tensors count."""
    return math.fsum(
        torch.stack([(a.double() * b.double()).sum() for a, b in zip(first, second, strict=True)]).tolist()
    )
