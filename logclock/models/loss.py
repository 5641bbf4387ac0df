"""What does a language model minimise, and which part of it is the number to report?

Shape suffixes: B batch, L sequence, V vocabulary, N = B L tokens.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LossParts", "language_model_loss"]


@dataclass(frozen=True)
class LossParts:
    """The two parts of the loss, apart, so that a validation loss cannot contain the regulariser by accident.

    Args:
        cross_entropy: Mean over tokens, in nats. The number to report.
        z_loss: Mean over tokens of the squared logarithm of the softmax denominator, without a coefficient. It keeps
            the logits from drifting.
    """

    cross_entropy: Tensor
    z_loss: Tensor

    def total(self, z_loss_coefficient: float) -> Tensor:
        """Return what to minimise: cross_entropy + z_loss_coefficient * z_loss.

        Args:
            z_loss_coefficient: The paper's runs use 0, the released launcher 1e-4.
        """
        if z_loss_coefficient == 0:  # not 0 * z_loss, which is NaN when z_loss overflows
            return self.cross_entropy
        return self.cross_entropy + z_loss_coefficient * self.z_loss


def language_model_loss(logits_BLV: Tensor, targets_BL: Tensor) -> LossParts:
    """Return cross-entropy and z-loss of next-token prediction.

    With x the logits of a token, y its target and logz = log(sum(exp(x))), averaged over all tokens:
        cross_entropy = mean(logz - x_y),   z_loss = mean(logz^2)
    Both are float32 whatever the dtype of the logits, or float64 if that is what they are.

    Args:
        logits_BLV: Scores before the softmax.
        targets_BL: Token ids in [0, V). Each one counts.

    Raises:
        ValueError: The shapes do not belong together, or there is no token to average over.
    """
    if logits_BLV.shape[:-1] != targets_BL.shape or targets_BL.numel() == 0:
        raise ValueError(
            f"logits must have the shape of the targets, of which there is at least one, and then the vocabulary; got "
            f"logits {tuple(logits_BLV.shape)} and targets {tuple(targets_BL.shape)}. Pass logits_BLV and targets_BL."
        )
    logits_NV = logits_BLV.flatten(0, -2)
    logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    cross_entropy, z_loss = LossFunction.apply(logits_NV, targets_BL.flatten())  # type: ignore[no-untyped-call]
    return LossParts(cross_entropy=cross_entropy, z_loss=z_loss)


class LossFunction(torch.autograd.Function):
    """Both parts from one log-softmax, with a backward pass that works in the memory of the forward pass.

    The logits are the largest tensor of a small model, and each further pass over them costs as much as a layer: the
    composition of torch's functions takes about twice as long. Written out, with p the softmax:
        d cross_entropy / dx = (p - onehot(y)) / N,   d z_loss / dx = 2 logz p / N
    The backward pass consumes the saved log-probabilities, so a second one through the same graph raises torch's error
    about an in-place operation.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        log_probs_NV = functional.log_softmax(logits_NV, dim=-1)
        target_log_prob_N = log_probs_NV.gather(1, targets_N[:, None]).squeeze(1)
        logz_N = logits_NV.gather(1, targets_N[:, None]).squeeze(1) - target_log_prob_N
        ctx.save_for_backward(log_probs_NV, targets_N, logz_N)
        return -target_log_prob_N.mean(), logz_N.square().mean()

    @staticmethod
    def backward(ctx: Any, grad_cross_entropy: Tensor, grad_z_loss: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():  # otherwise torch would drop the curvature of the loss without a word
            raise RuntimeError(
                "language_model_loss has first derivatives only, got backward with create_graph=True. "
                "For second derivatives use torch.nn.functional.cross_entropy(logits, targets)."
            )
        log_probs_NV, targets_N, logz_N = ctx.saved_tensors
        per_token = grad_cross_entropy / targets_N.numel()
        scale_N = per_token + 2 * logz_N * (grad_z_loss / targets_N.numel())
        grad_NV = log_probs_NV.exp_().mul_(scale_N[:, None])
        grad_NV.scatter_add_(1, targets_N[:, None], -per_token.expand(targets_N.shape)[:, None])
        return grad_NV, None
