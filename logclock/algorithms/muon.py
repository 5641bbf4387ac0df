"""Muon: momentum whose singular values are all brought near one before it moves a matrix."""

from typing import Any, Literal

from logclock.rules.linalg import by_blocks
from logclock.rules.linalg import orthogonalized as newton_schulz
from logclock.rules.orthogonal import MuonFamilySpec, momentum
from logclock.rules.slots import NonNegativeSlot, PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import matrix
from logclock.rules.state import State
from logclock.schedules import check


@matrix
def orthogonalized(
    update: Any,
    *,
    triples: tuple[Any, ...],
    num_iterations: int,
    row_blocks: int | tuple[int, ...],
    scale_rule: str,
    iteration_dtype: str,
    iteration_form: str,
) -> Any:
    """Return scale NewtonSchulz(M) of MuonSpec, with shape legend: update (n, [experts,] rows, cols)."""

    def of_blocks(blocks: Any) -> Any:
        result = newton_schulz(
            blocks,
            triples=triples,
            num_iterations=num_iterations,
            iteration_dtype=iteration_dtype,
            iteration_form=iteration_form,
        )
        return result * scale_of(scale_rule, *blocks.shape[-2:])

    return by_blocks(of_blocks, row_blocks, update)


def scale_of(scale_rule: str, rows: int, cols: int) -> float:
    """Return the factor on an orthogonalized matrix."""
    return float(0.2 * max(rows, cols) ** 0.5 if scale_rule == "match_rms_adamw" else max(1.0, rows / cols) ** 0.5)


@algorithm("muon", class_name="Muon", paper="Jordan 2024; arXiv:2502.16982")
class MuonSpec(MuonFamilySpec):
    """Muon, for the hidden matrices of a model.

    For a matrix of r rows and c columns, with t = 1, 2, ...:
        B <- B + ema1 (G - B)
        M <- (1 - ema1) B + ema1 G                    (nesterov; otherwise M <- B)
        W <- W - lr(t) scale NewtonSchulz(M) - decay W
        scale = sqrt(max(1, r / c))                   (scale_rule "original")
        scale = 0.2 sqrt(max(r, c))                   (scale_rule "match_rms_adamw")
    NewtonSchulz makes `num_iterations` steps of a quintic that takes every singular value near 1; it is a matrix stage
    because it multiplies matrices. State: momentum_buffer, shaped like the parameter. Takes matrices, and stacks of
    them (experts x rows x columns) of which each is updated by itself: embeddings, head and vectors go to another
    algorithm, see `logclock.matrix_param_groups`. With "match_rms_adamw" an update has the size of AdamW's, and its
    learning rate fits.

    Examples:
        >>> MuonSpec(lr=0.02).scalars(1)["look_ahead"]
        0.05

    Deviations: the first public code sums gradients, B <- mu B + G, which is the same direction up to the 1e-7 of the
        normalisation.
    References: Jordan 2024, kellerjordan.github.io/posts/muon; Liu et al. 2025, arXiv:2502.16982 (match_rms_adamw).
        The same rule as `torch.optim.Muon`.
    """

    direction = (momentum, orthogonalized)
    states = {"momentum_buffer": State(weight="ema1")}

    lr: PeakLr = 1e-3

    scale_rule: Literal["original", "match_rms_adamw"] = "original"
    """How an update grows with the shape."""

    weight_decay: NonNegativeSlot = 0.1

    def validate(self) -> None:
        """Raise a ValueError for an unknown scale rule, and as the family does."""
        super().validate()
        rules = ("original", "match_rms_adamw")
        check(self.scale_rule in rules, "scale_rule", f"be one of {', '.join(rules)}", self.scale_rule)
