"""What is the validation loss?"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from logclock.data import Dataset, validation_batches
from logclock.train.config import RunConfig

__all__ = ["Evaluation", "Halves", "ValidationSet"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The validation loss in two units.

    Args:
        loss: Cross-entropy in nats per token, without any regulariser.
        bits_per_byte: The same per byte of text, comparable between tokenizers; None if the text is not known.
    """

    loss: float
    bits_per_byte: float | None


@dataclasses.dataclass(frozen=True)
class Halves:
    """The loss on two halves of all validation tokens: one to choose settings by, one to report them on.

    Args:
        selection: On the first half.
        held_out: On the second.
        held_out_tokens: How many targets the second has.
    """

    selection: Evaluation
    held_out: Evaluation
    held_out_tokens: int


class ValidationSet:
    """The fixed tokens on which one run is evaluated.

    Args:
        dataset: Its validation stream is used from the start.
        config: How much of it, in which batches.
    """

    def __init__(self, dataset: Dataset, config: RunConfig) -> None:
        self._dataset = dataset
        self._config = config

    def evaluate(
        self,
        model: nn.Module,
        *,
        cross_entropy: Callable[[Tensor, Tensor], Tensor],
        device: torch.device,
    ) -> Evaluation:
        """Measure the loss, leaving the model in training mode.

        Args:
            model: The model, for its mode.
            cross_entropy: Its mean loss on inputs and targets, in nats; see `Passes`.
            device: Where the model lies.
        """
        means, counts = _losses(self.batches(), model, cross_entropy, device)
        return _evaluation(means, counts, self.num_bytes)

    def evaluate_halves(
        self,
        model: nn.Module,
        *,
        cross_entropy: Callable[[Tensor, Tensor], Tensor],
        device: torch.device,
    ) -> Halves | None:
        """Measure the loss on each half of the whole validation set, whatever part of it the evaluations use.

        Arguments as in `evaluate`.

        Returns:
            None if the set is a single batch.
        """
        means, counts = _losses(self._all_batches(), model, cross_entropy, device)
        middle = len(means) // 2
        if not middle:
            return None
        targets = [targets_BL for _, targets_BL in self._all_batches()]
        return Halves(
            selection=_evaluation(means[:middle], counts[:middle], self._bytes_of(targets[:middle])),
            held_out=_evaluation(means[middle:], counts[middle:], self._bytes_of(targets[middle:])),
            held_out_tokens=sum(counts[middle:]),
        )

    @functools.cached_property
    def num_bytes(self) -> int | None:
        """The bytes of text that the targets stand for; None for ids whose text is not known."""
        return self._bytes_of(targets_BL for _, targets_BL in self.batches())

    def _bytes_of(self, targets: Iterable[Tensor]) -> int | None:
        if self._dataset.token_bytes is None:
            return None
        bytes_of_token = torch.from_numpy(self._dataset.token_bytes).long()
        return sum(int(bytes_of_token[targets_BL].sum()) for targets_BL in targets)

    def _all_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        return validation_batches(
            self._dataset.validation,
            batch_size=self._config.evaluation.batch_size,
            sequence_length=self._config.data.sequence_length,
        )

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the pairs of inputs and targets, the same ones at every call."""
        return validation_batches(
            self._dataset.validation,
            batch_size=self._config.evaluation.batch_size,
            sequence_length=self._config.data.sequence_length,
            num_batches=self._config.evaluation.batches,
        )


def _losses(
    batches: Iterator[tuple[Tensor, Tensor]],
    model: nn.Module,
    cross_entropy: Callable[[Tensor, Tensor], Tensor],
    device: torch.device,
) -> tuple[list[float], list[int]]:
    """Return the mean loss and the number of targets of every batch, leaving the model in training mode."""
    model.eval()
    losses, counts = [], []
    with torch.no_grad():
        for inputs_BL, targets_BL in batches:
            on_device = (tokens_BL.to(device, non_blocking=True) for tokens_BL in (inputs_BL, targets_BL))
            losses.append(cross_entropy(*on_device))
            counts.append(targets_BL.numel())
    model.train()
    return torch.stack(losses).tolist(), counts  # the one place where the host waits


def _evaluation(means: list[float], counts: list[int], num_bytes: int | None) -> Evaluation:
    nats = math.fsum(mean * count for mean, count in zip(means, counts, strict=True))
    bits_per_byte = nats / num_bytes / math.log(2) if num_bytes else None
    return Evaluation(loss=nats / sum(counts), bits_per_byte=bits_per_byte)
