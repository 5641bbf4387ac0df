"""Which learning rate does a fit give a model of a given size?"""

import dataclasses

__all__ = ["LrRule"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LrRule:
    """gamma*(P) = a (b + P)^d, the peak learning rate for P non-embedding parameters.

    Args:
        a: Factor, > 0.
        b: Offset in parameters, >= 0.
        d: Exponent; negative where larger models want smaller learning rates.

    Examples:
        >>> round(LrRule(a=22.5, b=1.22e5, d=-0.618)(7_077_888), 5)
        0.0013

    References: Ferbach et al. 2026, arXiv:2602.05298.
    """

    a: float
    b: float
    d: float

    def __post_init__(self) -> None:
        if not (self.a > 0 and self.b >= 0):
            raise ValueError(f"a must be positive and b at least 0, got a={self.a!r}, b={self.b!r}.")

    def __call__(self, non_embedding_params: float) -> float:
        """Return the peak learning rate."""
        lr: float = self.a * (self.b + non_embedding_params) ** self.d
        return lr
