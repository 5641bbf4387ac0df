"""What is Online Scaled DeltaNet, a memory that learns how strongly to write each feature while it reads?

Shape suffixes: B batch, L sequence, C positions of a chunk, D width, H heads, K head width.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from logclock.models.scale_vectors import MapMaker, plain_map

__all__ = ["DeltaMemory", "Osdn", "delta_memory", "online_scales"]

CHUNK = 64
"""Positions that one triangular solve takes together; which number it is changes rounding only."""

MAX_SCALE = 2.0


@dataclass(frozen=True, kw_only=True)
class Osdn:
    """How Online Scaled DeltaNet adapts its scales. In a model's configuration it takes the place of attention.

    A head keeps a matrix S (K, K) and a diagonal D; S starts at 0 and D at 1. Of each position come a query q, a key k
    and a value v, q and k of norm 1, and a rate beta in (0, 1):
        S_t = S_{t-1} + beta_t (v_t - S_{t-1} k_t) (D_t k_t)^T,   o_t = S_t q_t
        D_{t+1} = clip(D_t + f (1 - D_t) + h beta_t (1 - beta_t k_t^T D_t k_t) k_t^2, 0, 2)
    A write leaves (1 - beta k^T D k) of the residual v - S k. The step of D is the hypergradient: minus the gradient
    with respect to D of half the square of that factor. h = f = 0 is DeltaNet.

    Args:
        hyper_lr: h, the step size of D.
        forgetting: f, the part of its way back to 1 that D goes at each position.

    Examples:
        >>> Osdn(hyper_lr=0.0, forgetting=0.0)
        Osdn(hyper_lr=0.0, forgetting=0.0)

    Deviations: the published abstract gives the update of S and names the other by its principle; step size, the
        schedule of forgetting, what the gradient is divided by, and the layer around it were not to be had. Chosen
        here: the gradient of the *relative* residual, so that D depends on keys and rates alone, and the parallel form
        in S stays what it was, as the paper claims of its own; constant h and f; the clip, within which no write makes
        a residual larger; no rotary positions, short convolution, activation of queries and keys, or output norm.
    References: Zhou et al. 2026, arXiv:2605.13473 (abstract); Yang et al. 2024, arXiv:2406.06484 (the chunks).
    """

    hyper_lr: float = 1.0
    forgetting: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.hyper_lr < math.inf:
            raise ValueError(
                f"osdn.hyper_lr must be at least 0 and finite, got {self.hyper_lr}. 0 leaves all scales at 1."
            )
        if not 0 <= self.forgetting <= 1:
            raise ValueError(
                f"osdn.forgetting must lie in [0, 1], got {self.forgetting}. 0 forgets nothing, 1 leaves all scales at "
                "1 but for the last step."
            )


def online_scales(key_BHLK: Tensor, rate_BHL: Tensor, *, hyper_lr: float, forgetting: float) -> Tensor:
    """Return `scale_BHLK`, the diagonal D with which each position writes; see `Osdn`.

    Position l depends on the keys and rates before it, not on its own.
    """
    square_BHLK = key_BHLK.square()
    scale_BHK = torch.ones_like(square_BHLK[:, :, 0])
    scales = []
    for square_BHK, rate_BH1 in zip(square_BHLK.unbind(2), rate_BHL[..., None].unbind(2), strict=True):
        scales.append(scale_BHK)
        left_BH1 = 1 - rate_BH1 * (square_BHK * scale_BHK).sum(-1, keepdim=True)
        step_BHK = forgetting * (1 - scale_BHK) + hyper_lr * rate_BH1 * left_BH1 * square_BHK
        scale_BHK = (scale_BHK + step_BHK).clamp(0, MAX_SCALE)
    return torch.stack(scales, dim=2)


def delta_memory(
    query_BHLK: Tensor,
    key_BHLK: Tensor,
    write_BHLK: Tensor,
    value_BHLK: Tensor,
    rate_BHL: Tensor,
    *,
    chunk: int = CHUNK,
) -> Tensor:
    """Return `read_BHLK`, what the queries read from a memory that the delta rule writes.

    S_t = S_{t-1} + u_t w_t^T with u_t = beta_t (v_t - S_{t-1} k_t). Within a chunk that starts from S the u solve the
    triangular system u_t + beta_t sum_{s < t} (w_s . k_t) u_s = beta_t (v_t - S k_t), and S is needed once per chunk.

    Args:
        query_BHLK: What is read with.
        key_BHLK: k.
        write_BHLK: w, the key with its scales.
        value_BHLK: v.
        rate_BHL: beta.
        chunk: Positions of a chunk, at least 1; the last one may be shorter.
    """
    state_BHKK = torch.zeros_like(key_BHLK[:, :, :1].transpose(2, 3) * value_BHLK[:, :, :1])
    reads = []
    parts = (query_BHLK, key_BHLK, write_BHLK, value_BHLK, rate_BHL[..., None])
    for query, key, write, value, rate in zip(*(torch.split(part, chunk, dim=2) for part in parts), strict=True):
        system_BHCC = rate * (key @ write.mT).tril(-1)  # the diagonal of ones is implied
        target_BHCK = rate * (value - key @ state_BHKK)
        update_BHCK = torch.linalg.solve_triangular(system_BHCC, target_BHCK, upper=False, unitriangular=True)
        reads.append(query @ state_BHKK + (query @ write.mT).tril() @ update_BHCK)
        state_BHKK = state_BHKK + write.mT @ update_BHCK  # S transposed, so that rows are features of the key
    return torch.cat(reads, dim=2)


class DeltaMemory(nn.Module):
    """Online Scaled DeltaNet in the place of causal self-attention: what a position reads, it reads from a memory.

    The memory has one size however long the sequence is. It works in float32 at least, also under autocast. The scales
    are a loop over positions, in Python: at the lengths of language models it is slower than attention, and there is no
    kernel. No state is kept between calls.

    Args:
        heads: H.
        head_dim: K.
        options: How scales are adapted.
        is_gated: Whether the output is multiplied, channel by channel, by a sigmoid of the input.
        linear: Makes the maps; that of the rates is plain.
    """

    def __init__(
        self, *, heads: int, head_dim: int, options: Osdn, is_gated: bool = False, linear: MapMaker = plain_map
    ) -> None:
        super().__init__()
        self.heads, self.options = heads, options
        width = heads * head_dim
        self.qkv = linear(width, 3 * width, parts=("query", "key", "value"))
        self.rate = nn.Linear(width, heads, bias=False)
        self.gate = linear(width, width, parts=("gate",)) if is_gated else None
        self.out = linear(width, width, parts=("out",), is_writer=True)

    def forward(self, x_BLD: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
        """Return what each position reads from its memory of itself and those before it; the tables are not used."""
        qkv_B3HLK = self.qkv(x_BLD).unflatten(-1, (3, self.heads, -1)).permute(0, 2, 3, 1, 4)
        rate_BHL = self.rate(x_BLD).transpose(1, 2)
        dtype = torch.promote_types(qkv_B3HLK.dtype, torch.float32)
        with torch.autocast(x_BLD.device.type, enabled=False):
            query_BHLK, key_BHLK, value_BHLK = qkv_B3HLK.to(dtype).unbind(1)
            query_BHLK, key_BHLK = functional.normalize(query_BHLK, dim=-1), functional.normalize(key_BHLK, dim=-1)
            rate_BHL = rate_BHL.to(dtype).sigmoid()
            scale_BHLK = online_scales(
                key_BHLK, rate_BHL, hyper_lr=self.options.hyper_lr, forgetting=self.options.forgetting
            )
            read_BHLK = delta_memory(query_BHLK, key_BHLK, scale_BHLK * key_BHLK, value_BHLK, rate_BHL)
        read_BLD = read_BHLK.transpose(1, 2).flatten(2).to(qkv_B3HLK.dtype)
        if self.gate is not None:
            read_BLD = read_BLD * self.gate(x_BLD).sigmoid()
        out_BLD: Tensor = self.out(read_BLD)
        return out_BLD
