"""What is Enoki, the GPT-3-like model of the log-time schedules paper?

Shape suffixes: B batch, L sequence, D width, V vocabulary.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from logclock.models.base import ModelConfig
from logclock.models.init import scaled_gpt_init
from logclock.models.layers import Attention, FeedForward, gain_only_norm, rotary_tables
from logclock.models.sizes import ModelSize

__all__ = ["Enoki", "EnokiConfig"]


@ModelConfig.family.register("enoki")
@dataclass(frozen=True, kw_only=True)
class EnokiConfig(ModelConfig):
    """Enoki: one dial, the number of heads, sets width and depth.

    Width is d = heads * head_dim, depth L = floor(3 heads / 4), at least 1. The papers count P = 12 d^2 L and
    D = P + 2 d V. The built model has `gain_params()` parameters more, the norm gains, which no formula counts.

    Args:
        heads: Attention heads per layer. The published ladder is 6 to 24 in steps of 2 and, sparser, up to 44.
        head_dim: Even. 64 in the paper; 16 gives micro sizes that run on a CPU.
        num_layers: L, if it is not to follow from `heads`.
        vocab_size: Rows of the embedding and of the untied head. The default is GPT-2's 50,257, padded.
        rope_theta: Base of the rotary wavelengths.

    Examples:
        >>> EnokiConfig(heads=6).size().total_params
        45711360
        >>> model = EnokiConfig(heads=2, head_dim=16, vocab_size=256).build(seed=0)
        >>> model(torch.zeros(1, 5, dtype=torch.long)).shape
        torch.Size([1, 5, 256])

    References: Ferbach et al. 2026, arXiv:2602.05298.
    """

    heads: int
    head_dim: int = 64
    num_layers: int | None = None
    vocab_size: int = 50304
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        for name in ("heads", "vocab_size", "num_layers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if self.head_dim < 2 or self.head_dim % 2:
            raise ValueError(
                f"head_dim must be even and at least 2, got {self.head_dim}. Rotary positions turn pairs of channels."
            )
        if not 0 < self.rope_theta < math.inf:
            raise ValueError(f"rope_theta must be positive and finite, got {self.rope_theta}. The usual base is 10000.")

    @property
    def width(self) -> int:
        """The model width d."""
        return self.heads * self.head_dim

    @property
    def depth(self) -> int:
        """The number of layers L, given or derived."""
        return self.num_layers if self.num_layers is not None else max(1, 3 * self.heads // 4)

    def size(self) -> ModelSize:
        """Return P, D and the shape, norm gains not counted."""
        non_embedding_params = 12 * self.width**2 * self.depth
        return ModelSize(
            non_embedding_params=non_embedding_params,
            total_params=non_embedding_params + 2 * self.width * self.vocab_size,
            num_layers=self.depth,
            width=self.width,
            vocab_size=self.vocab_size,
        )

    def gain_params(self) -> int:
        """Return the number of norm gains: two of width d and two of `head_dim` per layer, and the last one."""
        return self.depth * (2 * self.width + 2 * self.head_dim) + self.width

    def build(self, *, seed: int) -> "Enoki":
        """Return the model with ScaledGPT weights drawn from `seed`; see `ModelConfig.build`."""
        device = torch.empty(0).device
        with torch.device("meta"):  # torch's own initialisation would cost time and advance the global generator
            model = Enoki(self)
        model = model.to_empty(device=device)
        scaled_gpt_init(model, residual_outputs=model.residual_outputs(), num_layers=self.depth, seed=seed)
        return model


class Block(nn.Module):
    """One layer: x <- x + attention(norm(x)), then x <- x + feed_forward(norm(x))."""

    def __init__(self, config: EnokiConfig) -> None:
        super().__init__()
        self.attention_norm = gain_only_norm(config.width)
        self.attention = Attention(heads=config.heads, head_dim=config.head_dim)
        self.feed_forward_norm = gain_only_norm(config.width)
        self.feed_forward = FeedForward(width=config.width)

    def forward(self, x_BLD: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
        x_BLD = x_BLD + self.attention(self.attention_norm(x_BLD), cos_LK, sin_LK)
        out_BLD: Tensor = x_BLD + self.feed_forward(self.feed_forward_norm(x_BLD))
        return out_BLD


class Enoki(nn.Module):
    """A decoder without biases, dropout or tied weights. Made by `EnokiConfig.build`, which also sets the weights."""

    def __init__(self, config: EnokiConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_norm = gain_only_norm(config.width)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Return `logits_BLV`, of which position l sees the tokens 0 to l."""
        x_BLD = self.embedding(tokens_BL)
        cos_LK, sin_LK = rotary_tables(
            tokens_BL.shape[1],
            self.config.head_dim,
            theta=self.config.rope_theta,
            dtype=x_BLD.dtype,
            device=x_BLD.device,
        )
        for block in self.blocks:
            x_BLD = block(x_BLD, cos_LK, sin_LK)
        logits_BLV: Tensor = self.head(self.final_norm(x_BLD))
        return logits_BLV

    def residual_outputs(self) -> Iterator[nn.Linear]:
        """Yield the maps that write to the residual stream, two per layer."""
        for module in self.modules():
            if isinstance(module, Block):
                yield module.attention.out
                yield module.feed_forward.out
