"""What is Enoki, the GPT-3-like model of the log-time schedules paper?"""

from dataclasses import dataclass, field

from logclock.models.base import ModelConfig
from logclock.models.decoder import Decoder, check_decoder, empty_decoder
from logclock.models.init import mup_factor, scaled_gpt_init
from logclock.models.layers import Attention, FeedForward, bare_layer_norm, gain_only_norm
from logclock.models.osdn import DeltaMemory, Osdn
from logclock.models.scale_vectors import ScaleVectors, num_gains, scaling_of
from logclock.models.sizes import ModelSize

__all__ = ["EnokiConfig"]


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
        scale_vectors: Where the gains stand and which are decayed; None is one gain in each norm, none decayed.
        osdn: Puts Online Scaled DeltaNet in the place of attention, without positions or norms of queries and keys.
        vocab_size: Rows of the embedding and of the untied head. The default is GPT-2's 50,257, padded.
        rope_theta: Base of the rotary wavelengths.
        mup_base_width: Width of the model whose learning rate is to fit: initial weights and the learning rate of
            matrices then follow muP. None is the standard parametrization, and so is a width equal to it.

    Examples:
        >>> EnokiConfig(heads=6).size().total_params
        45711360
        >>> EnokiConfig(heads=2, head_dim=16, vocab_size=256).build(seed=0).embedding.weight.shape
        torch.Size([256, 32])

    References: Ferbach et al. 2026, arXiv:2602.05298.
    """

    heads: int
    head_dim: int = 64
    num_layers: int | None = None
    scale_vectors: ScaleVectors | None = field(default=None, metadata={"omit_default": True})
    osdn: Osdn | None = field(default=None, metadata={"omit_default": True})
    vocab_size: int = 50304
    rope_theta: float = 10000.0
    mup_base_width: int | None = field(default=None, metadata={"omit_default": True})

    def __post_init__(self) -> None:
        check_decoder(self)

    @property
    def width(self) -> int:
        """The model width d."""
        return self.heads * self.head_dim

    @property
    def depth(self) -> int:
        """The number of layers L, given or derived."""
        return self.num_layers if self.num_layers is not None else max(1, 3 * self.heads // 4)

    @property
    def matrix_lr_factor(self) -> float:
        """The factor of muP; see `ModelConfig`."""
        return mup_factor(width=self.width, base_width=self.mup_base_width)

    def size(self) -> ModelSize:
        """Return P, D and the shape, norm gains not counted."""
        rates = self.width * self.heads if self.osdn else 0
        non_embedding_params = (12 * self.width**2 + rates) * self.depth
        return ModelSize(
            non_embedding_params=non_embedding_params,
            total_params=non_embedding_params + 2 * self.width * self.vocab_size,
            num_layers=self.depth,
            width=self.width,
            vocab_size=self.vocab_size,
            memory_head_dim=self.head_dim if self.osdn else None,
        )

    def gain_params(self) -> int:
        """Return the number of gains: two of width d and two of `head_dim` per layer, and the last one, by default."""
        return num_gains(
            self.scale_vectors,
            width=self.width,
            depth=self.depth,
            readers=(self.width,) * 3 + (4 * self.width,),
            writers=(self.width, 4 * self.width),
            head_norms=() if self.osdn else (self.head_dim,) * 2,
        )

    def build(self, *, seed: int) -> Decoder:
        """Return the model with ScaledGPT weights drawn from `seed`; see `ModelConfig.build`."""
        scaling = scaling_of(self.scale_vectors, norm=gain_only_norm, bare_norm=bare_layer_norm)
        model = empty_decoder(
            self,
            norm=scaling.output_norm,
            input_norm=scaling.input_norm,
            attention=lambda: (
                DeltaMemory(heads=self.heads, head_dim=self.head_dim, options=self.osdn, linear=scaling.linear)
                if self.osdn
                else Attention(
                    heads=self.heads, head_dim=self.head_dim, norm=scaling.output_norm, linear=scaling.linear
                )
            ),
            feed_forward=lambda: FeedForward(width=self.width, linear=scaling.linear),
        )
        scaled_gpt_init(
            model,
            residual_outputs=model.residual_outputs(),
            num_layers=self.depth,
            seed=seed,
            head=model.head,
            mup_factor=self.matrix_lr_factor,
        )
        return model
