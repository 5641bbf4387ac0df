"""What is the LLaMA-like model of the adaptive warm-up paper?"""

from dataclasses import dataclass, field

from logclock.models.base import ModelConfig
from logclock.models.decoder import Decoder, check_decoder, empty_decoder
from logclock.models.init import constant_std_init, mup_factor
from logclock.models.layers import Attention, SwiGLU, bare_rms_norm, rms_norm
from logclock.models.osdn import DeltaMemory, Osdn
from logclock.models.scale_vectors import ScaleVectors, num_gains, scaling_of
from logclock.models.sizes import ModelSize

__all__ = ["LlamaConfig"]


@ModelConfig.family.register("llama")
@dataclass(frozen=True, kw_only=True)
class LlamaConfig(ModelConfig):
    """LLaMA-like: RMSNorm, SwiGLU, and an output head that is the embedding's matrix.

    Width is d = heads * head_dim, the feed-forward width F near 8 d / 3, which gives the MLP as many parameters as two
    matrices of 4 d. With V words, counting the norm gains and the tied table once,
        P = L (4 d^2 + 3 d F + 2 d) + d,   D = P + d V

    Args:
        heads: Attention heads per layer: 12 in the paper, at both of its sizes.
        head_dim: Even. 64 in the paper; 16 gives micro sizes that run on a CPU.
        num_layers: L; as many as heads if None, which is the paper's smaller model at 12 heads. Its larger one has 24.
        feed_forward_width: F; 8 d / 3 rounded down if None, which is 2048 at 12 heads.
        scale_vectors: Where the gains stand and which are decayed; None is one gain in each norm, none decayed.
        osdn: Puts Online Scaled DeltaNet in the place of attention, without positions or norms of queries and keys.
        vocab_size: Rows of the one table. The default is GPT-2's 50,257, padded.
        rope_theta: Base of the rotary wavelengths.
        mup_base_width: Width of the model whose learning rate is to fit: initial weights and the learning rate of
            matrices then follow muP. None is the standard parametrization, and so is a width equal to it.

    Examples:
        >>> LlamaConfig(heads=12).size().total_params
        123587328
        >>> LlamaConfig(heads=2, head_dim=16, vocab_size=256).build(seed=0).head is None
        True

    References: Riabinin et al. 2026, arXiv:2602.05813, released training code.
    """

    heads: int
    head_dim: int = 64
    num_layers: int | None = None
    feed_forward_width: int | None = None
    scale_vectors: ScaleVectors | None = field(default=None, metadata={"omit_default": True})
    osdn: Osdn | None = field(default=None, metadata={"omit_default": True})
    vocab_size: int = 50304
    rope_theta: float = 10000.0
    mup_base_width: int | None = field(default=None, metadata={"omit_default": True})

    def __post_init__(self) -> None:
        check_decoder(self)
        if self.mup_base_width is not None and self.feed_forward_width is not None:
            raise ValueError(
                f"mup_base_width = {self.mup_base_width} needs a feed-forward width that follows from the width, got "
                f"feed_forward_width = {self.feed_forward_width}. Leave one of them out."
            )

    @property
    def width(self) -> int:
        """The model width d."""
        return self.heads * self.head_dim

    @property
    def depth(self) -> int:
        """The number of layers L, given or derived."""
        return self.num_layers if self.num_layers is not None else self.heads

    @property
    def hidden(self) -> int:
        """The feed-forward width F, given or derived."""
        return self.feed_forward_width if self.feed_forward_width is not None else 8 * self.width // 3

    @property
    def matrix_lr_factor(self) -> float:
        """The factor of muP; see `ModelConfig`."""
        return mup_factor(width=self.width, base_width=self.mup_base_width)

    def size(self) -> ModelSize:
        """Return P, D and the shape, gains counted."""
        gains = num_gains(
            self.scale_vectors,
            width=self.width,
            depth=self.depth,
            readers=(self.width,) * 3 + (self.hidden,) * 2,
            writers=(self.width, self.hidden),
        )
        rates = self.width * self.heads if self.osdn else 0
        non_embedding_params = self.depth * (4 * self.width**2 + 3 * self.width * self.hidden + rates) + gains
        return ModelSize(
            non_embedding_params=non_embedding_params,
            total_params=non_embedding_params + self.width * self.vocab_size,
            num_layers=self.depth,
            width=self.width,
            vocab_size=self.vocab_size,
            memory_head_dim=self.head_dim if self.osdn else None,
        )

    def build(self, *, seed: int) -> Decoder:
        """Return the model with weights of standard deviation 0.02 drawn from `seed`; see `ModelConfig.build`."""
        scaling = scaling_of(self.scale_vectors, norm=rms_norm, bare_norm=bare_rms_norm)
        model = empty_decoder(
            self,
            norm=scaling.output_norm,
            input_norm=scaling.input_norm,
            attention=lambda: (
                DeltaMemory(heads=self.heads, head_dim=self.head_dim, options=self.osdn, linear=scaling.linear)
                if self.osdn
                else Attention(heads=self.heads, head_dim=self.head_dim, norm=None, linear=scaling.linear)
            ),
            feed_forward=lambda: SwiGLU(width=self.width, hidden=self.hidden, linear=scaling.linear),
            is_tied=True,
            logit_factor=self.matrix_lr_factor,
        )
        constant_std_init(
            model,
            std=0.02,
            residual_outputs=model.residual_outputs(),
            num_layers=self.depth,
            seed=seed,
            mup_factor=self.matrix_lr_factor,
        )
        return model
