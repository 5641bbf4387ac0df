"""What does a language model minimise, and which part of it is the number to report?

Shape suffixes: B batch, L sequence, D width, V vocabulary, N = B L tokens, C tokens of a chunk.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["MAX_LOGITS", "LossParts", "Objective", "head_loss", "language_model_loss"]

MAX_LOGITS = 2**23
"""Largest number of logits that `head_loss` holds at a time: 32 MiB in float32, which stays in the cache of a server.
The micro models of this package have fewer in a whole batch."""


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


@dataclass(frozen=True)
class Objective:
    """What one part of a batch contributes to training.

    Args:
        value: What to minimize, cross-entropy and z-loss with its coefficient; has a gradient.
        cross_entropy: Mean over tokens, in nats. The number to report; has no gradient.
    """

    value: Tensor
    cross_entropy: Tensor


def head_loss(
    hidden_BLD: Tensor, head_VD: Tensor, targets_BL: Tensor, *, z_loss: float = 0.0, max_logits: int = MAX_LOGITS
) -> Objective:
    """Return the loss of a linear head on hidden states, without all logits in memory at a time.

    Equals `language_model_loss(hidden_BLD @ head_VD.T, targets_BL).total(z_loss)`, bit for bit while the logits are at
    most `max_logits`. Beyond that the head runs on one chunk of tokens after another, forward and backward together:
    each chunk's logits become its part of the gradients of hidden states and head at once, which needs the memory of
    one chunk and no further product of matrices. The head's gradient is then summed in another order.

    Under autocast the products are in its dtype; the softmax is float32.

    Args:
        hidden_BLD: What the head maps to logits.
        head_VD: Its matrix, that of the embedding if it is tied.
        targets_BL: Token ids in [0, V). Each one counts.
        z_loss: Coefficient of the z-loss in the objective.
        max_logits: Logits of a chunk, at least one token's.

    Raises:
        ValueError: The shapes do not belong together, or there is no token to average over.
    """
    if targets_BL.numel() * head_VD.shape[0] <= max_logits:
        parts = language_model_loss(functional.linear(hidden_BLD, head_VD), targets_BL)
        return Objective(value=parts.total(z_loss), cross_entropy=parts.cross_entropy.detach())
    if hidden_BLD.shape[:-1] != targets_BL.shape or hidden_BLD.shape[-1] != head_VD.shape[-1]:
        raise ValueError(
            f"hidden states must have the shape of the targets and then the width of the head; got hidden states "
            f"{tuple(hidden_BLD.shape)}, head {tuple(head_VD.shape)} and targets {tuple(targets_BL.shape)}."
        )
    device = hidden_BLD.device.type
    is_mixed = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if is_mixed else torch.promote_types(hidden_BLD.dtype, head_VD.dtype)
    chunk = max(1, max_logits // head_VD.shape[0])
    with torch.autocast(device, enabled=False):
        value, cross_entropy = HeadLossFunction.apply(  # type: ignore[no-untyped-call]
            hidden_BLD.flatten(0, -2).to(dtype), head_VD.to(dtype), targets_BL.flatten(), z_loss, chunk
        )
    return Objective(value=value, cross_entropy=cross_entropy)


class HeadLossFunction(torch.autograd.Function):
    """The objective chunk by chunk, whose gradients are made while the logits of a chunk are there.

    With u the incoming gradient, a single number, the gradients of all chunks are multiplied by u at the end.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, z_loss: float, chunk: int
    ) -> tuple[Tensor, Tensor]:
        is_wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        grad_hidden_ND = torch.empty_like(hidden_ND) if is_wanted else None
        grad_head_VD = torch.zeros_like(head_VD) if is_wanted else None
        exact = torch.promote_types(hidden_ND.dtype, torch.float32)
        sums = torch.zeros(2, dtype=exact, device=hidden_ND.device)
        count = targets_N.numel()
        for start in range(0, count, chunk):
            rows = slice(start, start + chunk)
            hidden_CD, targets_C1 = hidden_ND[rows], targets_N[rows, None]
            logits_CV = (hidden_CD @ head_VD.T).to(exact)
            log_probs_CV = functional.log_softmax(logits_CV, dim=-1)
            target_log_prob_C1 = log_probs_CV.gather(1, targets_C1)
            logz_C1 = logits_CV.gather(1, targets_C1) - target_log_prob_C1
            sums += torch.stack([-target_log_prob_C1.sum(), logz_C1.square().sum()])
            if grad_hidden_ND is None or grad_head_VD is None:
                continue
            del logits_CV
            scale_C1 = (1 + 2 * z_loss * logz_C1) / count if z_loss else torch.full_like(logz_C1, 1 / count)
            grad_CV = log_probs_CV.exp_().mul_(scale_C1)
            grad_CV.scatter_add_(1, targets_C1, torch.full_like(logz_C1, -1 / count))
            grad_CV = grad_CV.to(head_VD.dtype)
            torch.mm(grad_CV, head_VD, out=grad_hidden_ND[rows])
            grad_head_VD.addmm_(grad_CV.T, hidden_CD)
        ctx.gradients = grad_hidden_ND, grad_head_VD
        cross_entropy, z_term = (sums / count).unbind()
        ctx.mark_non_differentiable(cross_entropy)
        return cross_entropy + z_loss * z_term if z_loss else cross_entropy.clone(), cross_entropy

    @staticmethod
    def backward(ctx: Any, grad_value: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "head_loss has first derivatives only, got backward with create_graph=True. For second derivatives "
                "use torch.nn.functional.cross_entropy on all logits."
            )
        if ctx.gradients is None:
            raise RuntimeError("head_loss was run backward a second time; its gradients are kept for one. Run it anew.")
        (grad_hidden_ND, grad_head_VD), ctx.gradients = ctx.gradients, None
        if grad_value.device.type != "cpu" or grad_value.item() != 1:
            grad_hidden_ND.mul_(grad_value)
            grad_head_VD.mul_(grad_value)
        return grad_hidden_ND, grad_head_VD, None, None, None


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
