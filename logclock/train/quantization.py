"""How does a model train on weights of few bits, and which numbers can such weights take?"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from logclock.optim import assign_matrices

__all__ = ["hidden_matrices", "quantized_forward", "rounded_rows"]


def rounded_rows(weight: Tensor, bits: int) -> Tensor:
    """Return a matrix whose rows hold at most 2^bits - 1 values each: symmetric round-to-nearest.

    Row i has the step s_i = max(abs(w_i)) / (2^(bits - 1) - 1), and w becomes s_i round(w / s_i), halves to even. The
    largest weight of a row stays, so nothing is clipped; a row of zeros stays one.

    Args:
        weight: Its last dimension runs along a row.
        bits: At least 2.
    """
    largest = weight.abs().amax(dim=-1, keepdim=True)
    step = torch.where(largest > 0, largest / (2 ** (bits - 1) - 1), torch.ones_like(largest))
    return (weight / step).round() * step


def hidden_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what is quantized: the matrices between embedding and head, by name.

    Raises:
        ValueError: The model has none.
    """
    assignment = assign_matrices(model)
    found = dict(assignment.members("matrix"))
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no hidden matrix to quantize: its parameters are "
            f"{', '.join(assignment.groups)}. Leave quantization at None (null)."
        )
    return found


def quantized_forward(model: nn.Module, bits: int) -> Callable[[Tensor], Tensor]:
    """Return the model's forward pass with rounded hidden matrices, through which gradients pass as if unrounded.

    The parameters stay what they are, in full precision and under their names: what is updated, saved and exported. The
    gradient with respect to a rounded weight counts as that of the weight (straight-through estimator).
    """
    names = tuple(hidden_matrices(model))

    def forward(tokens_BL: Tensor) -> Tensor:
        params = dict(model.named_parameters())
        rounded = {name: _straight_through(params[name], bits) for name in names}
        logits_BLV: Tensor = functional_call(model, rounded, (tokens_BL,))
        return logits_BLV

    return forward


def _straight_through(weight: Tensor, bits: int) -> Tensor:
    """Return the rounded weight plus exactly zero, which has the gradient."""
    rounded = rounded_rows(weight.detach(), bits)
    return rounded + (weight - weight.detach())
