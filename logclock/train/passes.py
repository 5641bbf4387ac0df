"""How do training and evaluation run the model forward: which head, in which precision, eager or compiled?"""

import contextlib
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from logclock.models import Decoder, Objective, head_loss, language_model_loss
from logclock.train.config import RunConfig
from logclock.train.device import autocast, choose_precision
from logclock.train.quantization import quantized_forward

__all__ = ["Passes"]


class Passes:
    """The forward passes of one model.

    A decoder's loss takes the head chunk by chunk where all logits of a batch would be many (`head_loss`). Any other
    model, and one whose matrices are rounded in every pass, gives logits.

    Args:
        model: Maps token ids to logits.
        bits: To which hidden matrices are rounded in every pass; None leaves them as they are.
        in_precision: Context of a pass.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        bits: int | None = None,
        in_precision: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self._in_precision = in_precision
        self._decoder = model if isinstance(model, Decoder) and bits is None else None
        self._logits: Callable[[Tensor], Tensor] = model if bits is None else quantized_forward(model, bits)
        self._hidden: Callable[[Tensor], Tensor] | None = None if self._decoder is None else self._decoder.hidden
        self.run_eagerly()

    @classmethod
    def of(cls, config: RunConfig, model: nn.Module, device: torch.device) -> "Passes":
        """Return the passes of a run."""
        in_precision = functools.partial(autocast, device, choose_precision(config.precision, device))
        return cls(model, bits=config.quantization, in_precision=in_precision)

    def compile(self) -> None:
        """Let torch.compile make the passes of `objective`.

        Evaluations stay as they are, because they have other shapes; so do the `logits` of a decoder, of which only a
        sampled curvature makes use, once in many updates.
        """
        make: Any = torch.compile
        if self._hidden is None:
            self._trained_logits = make(self._logits)
        else:
            self._trained_hidden = make(self._hidden)

    def run_eagerly(self) -> None:
        """Undo `compile`."""
        self._trained_logits, self._trained_hidden = self._logits, self._hidden

    def logits(self, inputs_BL: Tensor) -> Tensor:
        """Return `logits_BLV` of a training batch."""
        with self._in_precision():
            logits_BLV: Tensor = self._trained_logits(inputs_BL)
        return logits_BLV

    def objective(self, inputs_BL: Tensor, targets_BL: Tensor, *, z_loss: float) -> Objective:
        """Return what to minimize on a training batch, and the loss to report."""
        return self._objective(self._trained_logits, self._trained_hidden, inputs_BL, targets_BL, z_loss)

    def cross_entropy(self, inputs_BL: Tensor, targets_BL: Tensor) -> Tensor:
        """Return the mean loss of an evaluation batch, in nats."""
        return self._objective(self._logits, self._hidden, inputs_BL, targets_BL, 0.0).cross_entropy

    def _objective(
        self,
        logits: Callable[[Tensor], Tensor],
        hidden: Callable[[Tensor], Tensor] | None,
        inputs_BL: Tensor,
        targets_BL: Tensor,
        z_loss: float,
    ) -> Objective:
        if self._decoder is not None and hidden is not None:
            with self._in_precision():
                return head_loss(hidden(inputs_BL), self._decoder.head_weight, targets_BL, z_loss=z_loss)
        with self._in_precision():
            logits_BLV = logits(inputs_BL)
        parts = language_model_loss(logits_BLV, targets_BL)
        return Objective(value=parts.total(z_loss), cross_entropy=parts.cross_entropy.detach())
