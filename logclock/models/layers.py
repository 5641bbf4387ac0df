"""What are the parts of a transformer block: rotary positions, attention with normalised queries and keys, and the MLP?

Shape suffixes: B batch, L sequence, D width, H heads, K head width, P = K/2 pairs of
channels, F feed-forward width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Attention", "FeedForward", "apply_rotary", "gain_only_norm", "rotary_tables"]

NORM_EPS = 1e-5


def gain_only_norm(width: int) -> nn.LayerNorm:
    """Return a LayerNorm over the last dimension with a gain and no bias."""
    return nn.LayerNorm(width, eps=NORM_EPS, bias=False)


def rotary_tables(
    length: int, head_dim: int, *, theta: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the tables `cos_LK` and `sin_LK` of rotary position embedding, one column per channel.

    Channels 2i and 2i+1 turn together by the angle position * theta^(-2i / head_dim); the sine of the even one is
    negated, as `apply_rotary` expects. They are made anew in each forward pass: this costs a few small kernels, and
    there is no buffer to be sized, moved, cast to bfloat16 or written to a checkpoint.

    Args:
        length: Positions from 0.
        head_dim: Even.
        theta: Base of the wavelengths.
        dtype: Of what will be rotated. The tables have it only if it is wider than float32, and are float32 otherwise:
            bfloat16 cannot tell position 256 from 257.
        device: Of the result.
    """
    dtype = torch.promote_types(dtype, torch.float32)
    position_L1 = torch.arange(length, dtype=dtype, device=device)[:, None]
    frequency_P = theta ** -(torch.arange(0, head_dim, 2, dtype=dtype, device=device) / head_dim)
    angle_LP = position_L1 * frequency_P
    cos_LP, sin_LP = angle_LP.cos(), angle_LP.sin()
    return torch.stack((cos_LP, cos_LP), dim=-1).flatten(-2), torch.stack((-sin_LP, sin_LP), dim=-1).flatten(-2)


def apply_rotary(x_BLHK: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
    """Rotate each pair of adjacent channels by its angle: (a, b) becomes (a cos - b sin, b cos + a sin).

    Written as a flip within pairs and a fused multiply-add, because gathering even and odd channels and stacking them
    again takes half as long again on a CPU, and complex numbers, the quickest there, have no compiled kernels.
    """
    swapped_BLHK = x_BLHK.reshape(*x_BLHK.shape[:-1], -1, 2).flip(-1).flatten(-2)
    return torch.addcmul(x_BLHK * cos_LK[:, None], swapped_BLHK, sin_LK[:, None])


class Attention(nn.Module):
    """Causal self-attention with LayerNorm on queries and keys, then rotary positions.

    The rows of the fused projection are the queries of all heads, then the keys, then the values. The norms run over
    the channels of a head and share one gain between heads. Logits are scaled by 1/sqrt(head_dim).
    """

    def __init__(self, *, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        width = heads * head_dim
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm = gain_only_norm(head_dim)
        self.key_norm = gain_only_norm(head_dim)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BLD: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
        """Return what each position reads from itself and those before it; tables as from `rotary_tables`."""
        query_BLHK, key_BLHK, value_BLHK = self.qkv(x_BLD).unflatten(-1, (3, self.heads, -1)).unbind(2)
        # Norms under autocast and rotation return float32; attention wants one dtype, that of the projection.
        query_BLHK = apply_rotary(self.query_norm(query_BLHK), cos_LK, sin_LK).to(value_BLHK.dtype)
        key_BLHK = apply_rotary(self.key_norm(key_BLHK), cos_LK, sin_LK).to(value_BLHK.dtype)
        mixed_BHLK = functional.scaled_dot_product_attention(
            query_BLHK.transpose(1, 2), key_BLHK.transpose(1, 2), value_BLHK.transpose(1, 2), is_causal=True
        )
        out_BLD: Tensor = self.out(mixed_BHLK.transpose(1, 2).flatten(2))
        return out_BLD


class FeedForward(nn.Module):
    """Two linear maps with the exact GELU, x Phi(x), between them; the middle is four times as wide."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.into = nn.Linear(width, 4 * width, bias=False)
        self.out = nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Return the output of each position on its own."""
        hidden_BLF = functional.gelu(self.into(x_BLD), approximate="none")
        out_BLD: Tensor = self.out(hidden_BLF)
        return out_BLD
