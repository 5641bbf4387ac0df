"""What is the validation loss?"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from logclock.data import Dataset, validation_batches
from logclock.models import language_model_loss
from logclock.train.config import RunConfig

__all__ = ["Evaluation", "ValidationSet"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The validation loss in two units.

    Args:
        loss: Cross-entropy in nats per token, without any regulariser.
        bits_per_byte: The same per byte of text, comparable between tokenizers; None if the text is not known.
    """

    loss: float
    bits_per_byte: float | None


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
        forward: Callable[[Tensor], Tensor],
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> Evaluation:
        """Measure the loss, leaving the model in training mode.

        Args:
            model: The model, for its mode.
            forward: What maps tokens to logits; the model or its compiled form.
            device: Where the model lies.
            autocast: Context of the forward pass, as in training.
        """
        model.eval()
        losses, counts = [], []
        with torch.no_grad():
            for inputs_BL, targets_BL in self.batches():
                with autocast():
                    logits_BLV = forward(inputs_BL.to(device, non_blocking=True))
                parts = language_model_loss(logits_BLV, targets_BL.to(device, non_blocking=True))
                losses.append(parts.cross_entropy)
                counts.append(targets_BL.numel())
        model.train()
        means = torch.stack(losses).tolist()  # the one place where the host waits
        nats = math.fsum(mean * count for mean, count in zip(means, counts, strict=True))
        bits_per_byte = nats / self.num_bytes / math.log(2) if self.num_bytes else None
        return Evaluation(loss=nats / sum(counts), bits_per_byte=bits_per_byte)

    @functools.cached_property
    def num_bytes(self) -> int | None:
        """The bytes of text that the targets stand for; None for ids whose text is not known."""
        if self._dataset.token_bytes is None:
            return None
        bytes_of_token = torch.from_numpy(self._dataset.token_bytes).long()
        return sum(int(bytes_of_token[targets_BL].sum()) for _, targets_BL in self.batches())

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the pairs of inputs and targets, the same ones at every call."""
        return validation_batches(
            self._dataset.validation,
            batch_size=self._config.evaluation.batch_size,
            sequence_length=self._config.data.sequence_length,
            num_batches=self._config.evaluation.batches,
        )
