"""What do all models here have in common? A stack of attention and feed-forward layers between two vocabulary tables.

Shape suffixes: B batch, L sequence, D width, V vocabulary.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from logclock.models.layers import Attention, FeedForward, GatedAttention, SwiGLU, rotary_tables
from logclock.models.osdn import DeltaMemory

__all__ = ["Block", "Decoder", "DecoderShape", "check_decoder", "empty_decoder"]

Norm = Callable[[int], nn.Module]
"""Makes a norm over the last dimension from its width."""

Mixer = Attention | GatedAttention | DeltaMemory
"""The part of a layer in which positions read from each other."""


class DecoderShape(Protocol):
    """The numbers that every decoder has."""

    @property
    def width(self) -> int:
        """The width d."""

    @property
    def depth(self) -> int:
        """The number of layers L."""

    @property
    def head_dim(self) -> int:
        """The channels of a head."""

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding and of the head."""

    @property
    def rope_theta(self) -> float:
        """Base of the rotary wavelengths."""


class Block(nn.Module):
    """One layer: x <- x + attention(norm(x)), then x <- x + feed_forward(norm(x))."""

    def __init__(self, width: int, *, norm: Norm, attention: Mixer, feed_forward: FeedForward | SwiGLU) -> None:
        super().__init__()
        self.attention_norm = norm(width)
        self.attention = attention
        self.feed_forward_norm = norm(width)
        self.feed_forward = feed_forward

    def forward(self, x_BLD: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
        """Return the residual stream after this layer; tables as from `rotary_tables`."""
        x_BLD = x_BLD + self.attention(self.attention_norm(x_BLD), cos_LK, sin_LK)
        out_BLD: Tensor = x_BLD + self.feed_forward(self.feed_forward_norm(x_BLD))
        return out_BLD


class Decoder(nn.Module):
    """A decoder without biases or dropout. Made by `ModelConfig.build`, which also sets the weights.

    Args:
        shape: Its numbers.
        norm: Makes each norm of the residual stream.
        input_norm: Makes those before the halves of a layer, if they are others.
        attention: Makes the first half of a layer.
        feed_forward: Makes the second half of a layer.
        is_tied: Whether the embedding's matrix is the head too. It is then one parameter of one module, used twice, and
            nothing that moves, counts, shards or saves parameters has to know of it.
        logit_factor: What the logits of a tied table are multiplied by: it serves two masters, and under muP the head
            wants to be smaller than the embedding.
    """

    def __init__(
        self,
        shape: DecoderShape,
        *,
        norm: Norm,
        input_norm: Norm | None = None,
        attention: Callable[[], Mixer],
        feed_forward: Callable[[], FeedForward | SwiGLU],
        is_tied: bool = False,
        logit_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.logit_factor = logit_factor
        self.head_dim, self.rope_theta = shape.head_dim, shape.rope_theta
        self.embedding = nn.Embedding(shape.vocab_size, shape.width)
        self.blocks = nn.ModuleList(
            Block(shape.width, norm=input_norm or norm, attention=attention(), feed_forward=feed_forward())
            for _ in range(shape.depth)
        )
        self.final_norm = norm(shape.width)
        self.head = None if is_tied else nn.Linear(shape.width, shape.vocab_size, bias=False)

    @property
    def head_weight(self) -> Tensor:
        """The matrix (V, D) that maps hidden states to logits; the embedding's if it is tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def hidden(self, tokens_BL: Tensor) -> Tensor:
        """Return `hidden_BLD`, what the head maps to logits; position l sees the tokens 0 to l."""
        x_BLD = self.embedding(tokens_BL)
        cos_LK, sin_LK = rotary_tables(
            tokens_BL.shape[1], self.head_dim, theta=self.rope_theta, dtype=x_BLD.dtype, device=x_BLD.device
        )
        for block in self.blocks:
            x_BLD = block(x_BLD, cos_LK, sin_LK)
        hidden_BLD: Tensor = self.final_norm(x_BLD)
        return hidden_BLD if self.logit_factor == 1.0 else hidden_BLD * self.logit_factor

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Return `logits_BLV`, of which position l sees the tokens 0 to l."""
        return functional.linear(self.hidden(tokens_BL), self.head_weight)

    def residual_outputs(self) -> Iterator[nn.Linear]:
        """Yield the maps that write to the residual stream, two per layer."""
        for module in self.modules():
            if isinstance(module, Block):
                yield module.attention.out
                yield module.feed_forward.out


def empty_decoder(shape: DecoderShape, **parts: Any) -> Decoder:
    """Return a decoder on the current default device whose weights are not set yet; arguments as for `Decoder`.

    torch's own initialisation is skipped: it would cost time and advance the global generator.
    """
    device = torch.empty(0).device
    with torch.device("meta"):
        model = Decoder(shape, **parts)
    return model.to_empty(device=device)


def check_decoder(config: Any) -> None:
    """Raise a ValueError for a field that no decoder can be built with.

    Args:
        config: Has `heads`, `head_dim`, `vocab_size` and `rope_theta`; `num_layers`, `feed_forward_width` and
            `mup_base_width` may be None or missing.
    """
    for name in ("heads", "vocab_size", "num_layers", "feed_forward_width", "mup_base_width"):
        value = getattr(config, name, None)
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if config.head_dim < 2 or config.head_dim % 2:
        raise ValueError(
            f"head_dim must be even and at least 2, got {config.head_dim}. Rotary positions turn pairs of channels."
        )
    if not 0 < config.rope_theta < math.inf:
        raise ValueError(f"rope_theta must be positive and finite, got {config.rope_theta}. The usual base is 10000.")
    gains = getattr(config, "scale_vectors", None)
    if gains is not None and gains.decayed != "none" and getattr(config, "mup_base_width", None) is not None:
        raise ValueError(
            f"scale_vectors.decayed must be 'none' under muP, got {gains.decayed!r}: what is decayed takes the "
            "learning rate of matrices there, which falls with the width, and gains must keep theirs."
        )
