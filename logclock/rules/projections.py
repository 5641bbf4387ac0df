"""What keeps momentum from lengthening a weight whose length does not matter? The projection of AdamP and SGDP."""

import math

import torch

from logclock.rules.stage import matrix

__all__ = ["project"]


@matrix
def project(param, grad, update, *, cosine_bound, decay_ratio, eps, absorbed_decay, rate_before_decay):
    """Return the update without its part along scale-invariant weights, which decay less, and with the decay.

    Weights are taken for scale-invariant if the gradient is nearly orthogonal to them: row by row (output channels,
    whatever their shape) if every row is, else as a whole. Vectors and numbers stay as they are.

    It is a matrix stage because it needs a number for each row, which the vocabulary's reductions do not give.
    """
    share: torch.Tensor | float = 1.0
    if param.dim() > 2 and param.numel():  # a stack: its first side counts tensors
        rows, slopes, steps = (x.flatten(2) for x in (param, grad, update))
        found, is_invariant = steps, torch.zeros_like(rows[:, :1, :1], dtype=torch.bool)
        for sides in ((1, 2), (2,)):  # where both hold, the rows have the last word
            length = torch.linalg.vector_norm(rows, dim=sides, keepdim=True) + eps
            along = (slopes * rows).sum(sides, keepdim=True).abs() / length
            cosine = along / (torch.linalg.vector_norm(slopes, dim=sides, keepdim=True) + eps)
            num_elements = math.prod(rows.shape[side] for side in sides)
            is_orthogonal = cosine.amax(1, keepdim=True) < cosine_bound / math.sqrt(num_elements)
            unit = rows / length
            found = torch.where(is_orthogonal, steps - unit * (unit * steps).sum(sides, keepdim=True), found)
            is_invariant = is_invariant | is_orthogonal
        update = found.reshape(update.shape)
        share = 1 + (decay_ratio - 1) * is_invariant.to(param.dtype).reshape(-1, *(1,) * (param.dim() - 1))
    return update + share * absorbed_decay * (param - rate_before_decay * update)
