"""What are the parts of a transformer block: norms, rotary positions, attention and the MLP?

Shape suffixes: B batch, L sequence, D width, H heads, K head width, P = K/2 pairs of
channels, F feed-forward width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from logclock.models.scale_vectors import MapMaker, plain_map

__all__ = [
    "Attention",
    "FeedForward",
    "GatedAttention",
    "SwiGLU",
    "apply_rotary",
    "bare_layer_norm",
    "bare_rms_norm",
    "gain_only_norm",
    "rms_norm",
    "rotary_tables",
]

NORM_EPS = 1e-5


def gain_only_norm(width: int) -> nn.LayerNorm:
    """Return a LayerNorm over the last dimension with a gain and no bias."""
    return nn.LayerNorm(width, eps=NORM_EPS, bias=False)


def bare_layer_norm(width: int) -> nn.LayerNorm:
    """Return the same norm without a gain."""
    return nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)


def rms_norm(width: int) -> nn.RMSNorm:
    """Return a norm over the last dimension that divides by the root of the mean square, with a gain."""
    return nn.RMSNorm(width, eps=NORM_EPS)


def bare_rms_norm(width: int) -> nn.RMSNorm:
    """Return the same norm without a gain."""
    return nn.RMSNorm(width, eps=NORM_EPS, elementwise_affine=False)


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


def causal_attention(
    query_BLHK: Tensor, key_BLHK: Tensor, value_BLHK: Tensor, cos_LK: Tensor, sin_LK: Tensor
) -> Tensor:
    """Return `mixed_BLD`: values weighted by the softmax of rotated queries times keys / sqrt(head_dim), heads joined.

    Norms under autocast and rotation return float32; attention wants one dtype, that of the values.
    """
    query_BLHK = apply_rotary(query_BLHK, cos_LK, sin_LK).to(value_BLHK.dtype)
    key_BLHK = apply_rotary(key_BLHK, cos_LK, sin_LK).to(value_BLHK.dtype)
    mixed_BHLK = functional.scaled_dot_product_attention(
        query_BLHK.transpose(1, 2), key_BLHK.transpose(1, 2), value_BLHK.transpose(1, 2), is_causal=True
    )
    return mixed_BHLK.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Causal self-attention with rotary positions, and norms on queries and keys before them if the model has some.

    The rows of the fused projection are the queries of all heads, then the keys, then the values. The norms run over
    the channels of a head and share one gain between heads.

    Args:
        heads: H.
        head_dim: K.
        norm: Makes the norms of queries and keys from a width; None for no norms.
        linear: Makes the maps.
    """

    def __init__(
        self, *, heads: int, head_dim: int, norm: Callable[[int], nn.Module] | None, linear: MapMaker = plain_map
    ) -> None:
        super().__init__()
        self.heads = heads
        width = heads * head_dim
        self.qkv = linear(width, 3 * width, parts=("query", "key", "value"))
        self.query_norm = norm(head_dim) if norm else nn.Identity()
        self.key_norm = norm(head_dim) if norm else nn.Identity()
        self.out = linear(width, width, parts=("out",), is_writer=True)

    def forward(self, x_BLD: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
        """Return what each position reads from itself and those before it; tables as from `rotary_tables`."""
        query_BLHK, key_BLHK, value_BLHK = self.qkv(x_BLD).unflatten(-1, (3, self.heads, -1)).unbind(2)
        query_BLHK, key_BLHK = self.query_norm(query_BLHK), self.key_norm(key_BLHK)
        out_BLD: Tensor = self.out(causal_attention(query_BLHK, key_BLHK, value_BLHK, cos_LK, sin_LK))
        return out_BLD


class GatedAttention(nn.Module):
    """Causal self-attention whose output is multiplied, channel by channel, by a sigmoid of the input.

    The query projection is twice as wide as the others: of each head's rows the first half are the queries, the second
    the gates. Queries and keys are normalised per head, then rotated.

    Args:
        heads: H.
        head_dim: K.
        norm: Makes the norms of queries and keys from a width.
        linear: Makes the maps.
    """

    def __init__(
        self, *, heads: int, head_dim: int, norm: Callable[[int], nn.Module], linear: MapMaker = plain_map
    ) -> None:
        super().__init__()
        self.heads = heads
        width = heads * head_dim
        self.query_gate = linear(width, 2 * width, parts=("query", "gate"), groups=heads)
        self.key = linear(width, width, parts=("key",))
        self.value = linear(width, width, parts=("value",))
        self.query_norm = norm(head_dim)
        self.key_norm = norm(head_dim)
        self.out = linear(width, width, parts=("out",), is_writer=True)

    def forward(self, x_BLD: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
        """Return what each position reads from itself and those before it; tables as from `rotary_tables`."""
        query_BLHK, gate_BLHK = self.query_gate(x_BLD).unflatten(-1, (self.heads, -1)).chunk(2, dim=-1)
        key_BLHK = self.key(x_BLD).unflatten(-1, (self.heads, -1))
        value_BLHK = self.value(x_BLD).unflatten(-1, (self.heads, -1))
        query_BLHK, key_BLHK = self.query_norm(query_BLHK), self.key_norm(key_BLHK)
        mixed_BLD = causal_attention(query_BLHK, key_BLHK, value_BLHK, cos_LK, sin_LK)
        out_BLD: Tensor = self.out(mixed_BLD * gate_BLHK.flatten(2).sigmoid())
        return out_BLD


class FeedForward(nn.Module):
    """Two linear maps with the exact GELU, x Phi(x), between them; the middle is four times as wide."""

    def __init__(self, *, width: int, linear: MapMaker = plain_map) -> None:
        super().__init__()
        self.into = linear(width, 4 * width, parts=("into",))
        self.out = linear(4 * width, width, parts=("out",), is_writer=True)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Return the output of each position on its own."""
        hidden_BLF = functional.gelu(self.into(x_BLD), approximate="none")
        out_BLD: Tensor = self.out(hidden_BLF)
        return out_BLD


class SwiGLU(nn.Module):
    """Two linear maps into the middle, one through x sigmoid(x) as a gate on the other, and one out of it.

    Args:
        width: d.
        hidden: F, the width of the middle.
        linear: Makes the maps.
    """

    def __init__(self, *, width: int, hidden: int, linear: MapMaker = plain_map) -> None:
        super().__init__()
        self.gate = linear(width, hidden, parts=("gate",))
        self.into = linear(width, hidden, parts=("into",))
        self.out = linear(hidden, width, parts=("out",), is_writer=True)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Return the output of each position on its own."""
        hidden_BLF = functional.silu(self.gate(x_BLD)) * self.into(x_BLD)
        out_BLD: Tensor = self.out(hidden_BLF)
        return out_BLD
