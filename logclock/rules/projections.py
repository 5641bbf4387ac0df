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
    if param.dim() < 3 or not param.numel():  # a stack: its first side counts tensors
        return update + absorbed_decay * (param - rate_before_decay * update)
    rows, slopes, steps = (x.flatten(2) for x in (param, grad, update))
    row_lengths = torch.linalg.vector_norm(rows, dim=2, keepdim=True)
    slope_lengths = torch.linalg.vector_norm(slopes, dim=2, keepdim=True)
    products = slopes * rows
    slope_dots = products.sum(2, keepdim=True)
    step_dots = torch.mul(steps, rows, out=products).sum(2, keepdim=True)
    share = torch.zeros_like(row_lengths)  # of the weights, what is taken from the update
    is_invariant = torch.zeros_like(row_lengths[:, :1], dtype=torch.bool)
    for sides in ((1, 2), (2,)):  # where both hold, the rows have the last word
        length, slope = (
            torch.linalg.vector_norm(x, dim=sides, keepdim=True) + eps for x in (row_lengths, slope_lengths)
        )
        dots, along = (x.sum(sides, keepdim=True) for x in (slope_dots, step_dots))
        cosine = dots.abs() / length / slope  # one after the other: a product of small lengths would vanish
        num_elements = math.prod(rows.shape[side] for side in sides)
        is_orthogonal = cosine.amax(1, keepdim=True) < cosine_bound / math.sqrt(num_elements)
        share = torch.where(is_orthogonal, along / length / length, share)
        is_invariant = is_invariant | is_orthogonal
    decay = absorbed_decay * (1 + (decay_ratio - 1) * is_invariant.to(param.dtype))
    kept = 1 - decay * rate_before_decay
    return torch.addcmul(kept * steps, decay - kept * share, rows).reshape(update.shape)
