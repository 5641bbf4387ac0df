"""What is the gradient on labels that the model draws itself? The curvature that Sophia-G wants, made repeatable.

Shape suffixes: B batch, L sequence, V vocabulary, N = B L tokens.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from logclock.models import language_model_loss

__all__ = ["sampled_backward"]


def sampled_backward(
    seed: int,
    logits: Callable[[Tensor], Tensor],
    inputs_BL: Tensor,
    *,
    parts: int,
    step: int,
) -> None:
    """Add the gradient of the mean cross-entropy of a batch whose every label is drawn from the model's distribution.

    The draws depend on the run's seed and the step alone, so that a resumed run repeats them; torch's global random
    state is neither read nor changed. The estimate of Gauss-Newton and Bartlett takes no z-loss and no clipping.
    """
    generator = torch.Generator(device=inputs_BL.device).manual_seed((seed * 2**24 + step) % 2**63)
    for inputs in inputs_BL.chunk(parts):
        logits_BLV = logits(inputs)
        probs_NV = logits_BLV.detach().float().flatten(0, -2).softmax(dim=-1)
        labels_N = torch.multinomial(probs_NV, 1, generator=generator).squeeze(1)
        loss = language_model_loss(logits_BLV, labels_N.view(inputs.shape)).cross_entropy
        torch.autograd.backward(loss / parts)
