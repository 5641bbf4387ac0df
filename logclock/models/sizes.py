"""How large is a model, how long should it train, and how much compute does that cost?"""

import math
from dataclasses import dataclass

__all__ = ["ModelSize"]


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Counts of one model, and what follows from them.

    Compute is in FLOP of one forward and backward pass, 2 per multiply-add forward and 4 backward, by four conventions
    that differ in what they count. Curves are only comparable under one of them, so each method carries its name:

        compute_6p        6 P                   every weight but the vocabulary tables
        compute_kaplan    72 L d^2              the same from the shape; equal to 6 P where P = 12 L d^2
        compute_6d        6 P + 6 V d           adds the head, a matrix product; the embedding is a lookup and free
        compute_deepseek  72 L d^2 + 12 L d S   no head, but the S^2 part of attention, without the causal saving;
                                                18 L d K in its place for a memory of K x K numbers per head

    The head costs the same whether it has a table of its own or is tied to the embedding. A layer that is not of 12 d^2
    parameters shows in 6 P and 6 P + 6 V d; the forms in 72 L d^2 take it for one, as the studies' figures do.

    Args:
        non_embedding_params: P, by the convention of the model family; it need not include norm gains.
        total_params: D, which is P plus the vocabulary tables: two, or one that is tied.
        num_layers: L.
        width: d.
        vocab_size: V, with padding.
        memory_head_dim: K, if the layers read from memories that are written by the delta rule, and not by attention.
            Residual, write and read are K^2 multiply-adds each, for each head and token.

    Examples:
        >>> size = ModelSize(
        ...     non_embedding_params=7_077_888, total_params=45_711_360, num_layers=4, width=384, vocab_size=50304
        ... )
        >>> size.steps_for(tokens_per_step=32 * 2048)
        13950
        >>> round(size.compute_6p(tokens=size.tokens_for()) / 3.6e18, 5)
        0.01078

    References: Ferbach et al. 2026, arXiv:2602.05298; Kaplan et al. 2020, arXiv:2001.08361; DeepSeek-AI 2024,
    arXiv:2401.02954.
    """

    non_embedding_params: int
    total_params: int
    num_layers: int
    width: int
    vocab_size: int
    memory_head_dim: int | None = None

    def tokens_for(self, *, ratio: float = 20.0) -> int:
        """Return the token budget, `ratio` tokens for each of the D parameters, vocabulary tables included."""
        if not 0 < ratio < math.inf:
            raise ValueError(
                f"ratio must be positive and finite, got {ratio}. It is in tokens per parameter; 20 is usual."
            )
        return math.floor(ratio * self.total_params)

    def steps_for(self, *, tokens_per_step: int, ratio: float = 20.0) -> int:
        """Return T, the whole updates that fit into the token budget.

        Raises:
            ValueError: The budget is less than one step.
        """
        if tokens_per_step < 1:
            raise ValueError(f"tokens_per_step must be at least 1, got {tokens_per_step}.")
        tokens = self.tokens_for(ratio=ratio)
        if tokens < tokens_per_step:
            raise ValueError(
                f"{ratio} tokens per parameter are {tokens:,} tokens, less than one step of {tokens_per_step:,}. "
                "Use a smaller batch, a larger model or a larger ratio."
            )
        return tokens // tokens_per_step

    def compute_6p(self, *, tokens: int = 1) -> int:
        """Return 6 P per token."""
        return 6 * self.non_embedding_params * tokens

    def compute_kaplan(self, *, tokens: int = 1) -> int:
        """Return 72 L d^2 per token."""
        return 72 * self.num_layers * self.width**2 * tokens

    def compute_6d(self, *, tokens: int = 1) -> int:
        """Return 6 P + 6 V d per token."""
        return 6 * (self.non_embedding_params + self.vocab_size * self.width) * tokens

    def compute_deepseek(self, *, sequence_length: int, tokens: int = 1) -> int:
        """Return 72 L d^2 + 12 L d S per token, or 72 L d^2 + 18 L d K with memories in the place of attention."""
        reach = 12 * sequence_length if self.memory_head_dim is None else 18 * self.memory_head_dim
        return (72 * self.num_layers * self.width**2 + self.num_layers * self.width * reach) * tokens
