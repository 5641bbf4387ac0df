"""SWAN: a gradient with standardized rows, whitened; no state at all."""

from typing import Any

from logclock.rules.linalg import by_blocks, frobenius, orthogonalized
from logclock.rules.orthogonal import CoefficientSet, OrthogonalSpec
from logclock.rules.slots import Count, PeakLr, Positive
from logclock.rules.spec import algorithm
from logclock.rules.stage import matrix


@matrix
def whitened(
    grad: Any,
    *,
    update_rms: Any,
    floor: Any,
    triples: tuple[Any, ...],
    num_iterations: int,
    row_blocks: int | tuple[int, ...],
    iteration_dtype: str,
    iteration_form: str,
    centers: bool,
) -> Any:
    """Equation in SwanSpec, with shape legend: grad (n, [experts,] rows, cols)."""
    settings: Any = {
        "triples": triples,
        "num_iterations": num_iterations,
        "iteration_dtype": iteration_dtype,
        "iteration_form": iteration_form,
    }

    def of_blocks(blocks: Any) -> Any:
        rows, cols = blocks.shape[-2:]
        blocks = blocks - blocks.mean(-1, keepdim=True) if centers else blocks
        standardized = blocks / (blocks * blocks).mean(-1, keepdim=True).sqrt().clamp_min(floor)
        white = orthogonalized(standardized, **settings)
        return white * (update_rms * (rows * cols) ** 0.5 / frobenius(white))

    return by_blocks(of_blocks, row_blocks, grad)


@algorithm("swan", class_name="SWAN", paper="arXiv:2412.13148")
class SwanSpec(OrthogonalSpec):
    """SWAN, for the hidden matrices of a model: plain gradients, normalized and whitened.

    For a matrix of r rows and c columns:
        S = (G - rowmean(G)) / rowstd(G)                       (centers; otherwise G / rowrms(G))
        U = (S S^T)^(-1/2) S                                   (NewtonSchulz, as in MuonSpec)
        W <- W - lr(t) update_rms sqrt(r c) U / norm(U) - decay W
    U is the polar factor of S: this is Muon without momentum, after the rows have been standardized. There is no state.
    Takes matrices and stacks of them, see `logclock.matrix_param_groups`; it is a matrix stage because it multiplies
    matrices.

    Examples:
        >>> SwanSpec().rule.state_names
        ()

    Deviations: the paper's coupled iteration for the inverse root is Newton-Schulz on S with (1.5, -0.5, 0); the number
        of its steps and its damping were not found. The default here is the set that reaches the polar factor.
    References: Ma et al. 2024, arXiv:2412.13148.
    """

    direction = (whitened,)

    lr: PeakLr = 1e-3

    coefficients: CoefficientSet = "polar-express-8"

    num_iterations: Count = 8

    centers: bool = True
    """Whether rows lose their mean, and are divided by their standard deviation instead of their root mean square."""

    update_rms: Positive = 0.05
    """Root mean square of an update at lr = 1, so that AdamW's learning rate fits."""

    floor: Positive = 1e-30
    """Smallest standard deviation that is divided by."""
