"""Scion: steps to the boundary of a ball, whose norm is chosen layer by layer."""

from typing import Any, Literal

import torch

from logclock.rules.linalg import by_blocks, orthogonalized
from logclock.rules.orthogonal import OrthogonalSpec, momentum
from logclock.rules.slots import Ema, NonNegative, NonNegativeSlot, PeakLr, Positive
from logclock.rules.spec import algorithm, check_matrix
from logclock.rules.stage import matrix
from logclock.rules.state import State
from logclock.schedules import check

LMOS = ("spectral", "col_norm", "row_norm", "sign", "bias")
ANY_SHAPE = ("sign", "bias")


@matrix
def farthest(
    update: Any,
    *,
    radius: Any,
    eps: Any,
    lmo: str,
    normalized: bool,
    transposed: bool,
    triples: tuple[Any, ...],
    num_iterations: int,
    row_blocks: int | tuple[int, ...],
    iteration_dtype: str,
    iteration_form: str,
) -> Any:
    """Return radius LMO(M) of ScionSpec, with shape legend: update (n, ...), of matrices (n, [experts,] rows, cols)."""
    if lmo == "bias":
        elements = update.reshape(len(update), -1)
        rms = (elements * elements).mean(-1).sqrt().reshape(-1, *[1] * (update.dim() - 1))
        return radius * update / (rms + eps)
    if lmo == "sign" and update.dim() < 3:  # numbers and vectors, which one input reaches
        return radius * torch.sign(update)
    settings: Any = {
        "triples": triples,
        "num_iterations": num_iterations,
        "iteration_dtype": iteration_dtype,
        "iteration_form": iteration_form,
    }

    def of_blocks(blocks: Any) -> Any:
        blocks = blocks.mT if transposed else blocks
        outputs, inputs = blocks.shape[-2:]
        if lmo == "spectral":
            result = orthogonalized(blocks, **settings) * (outputs / inputs if normalized else outputs) ** 0.5
        elif lmo == "col_norm":
            rms = (blocks * blocks).mean(-2, keepdim=True).sqrt()
            result = blocks / ((rms * inputs if normalized else rms) + eps)
        elif lmo == "row_norm":
            norms = torch.linalg.vector_norm(blocks, dim=-1, keepdim=True)
            result = blocks / ((norms * inputs**0.5 if normalized else norms) + eps)
        else:
            result = torch.sign(blocks) / (inputs if normalized else 1)
        return radius * (result.mT if transposed else result)

    return by_blocks(of_blocks, row_blocks, update)


@algorithm("scion", class_name="Scion", paper="arXiv:2502.07529")
class ScionSpec(OrthogonalSpec):
    """Scion: conditional gradient steps; every layer's update lies on the boundary of a ball in a norm that fits it.

    With M starting at 0, and the farthest point LMO(M) of the unit ball, for a matrix of r rows (outputs) and c columns
    (inputs):
        M <- M + ema1 (G - M)
        W <- W - lr(t) radius LMO(M) - decay W
        "spectral":  sqrt(r / c) NewtonSchulz(M)                        hidden matrices
        "col_norm":  every column at a root mean square of 1 / c        (with normalized=False 1)
        "row_norm":  every row at a Euclidean norm of 1 / sqrt(c)       (1)
        "sign":      sign(M) / c,  (sign(M))                           the output head
        "bias":      M / rms(M)                                         vectors
    State: momentum_buffer (M), shaped like the parameter. With the default weight decay of 1, which is coupled to the
    learning rate, weights stay within `radius` (the constrained form); 0 is the unconstrained one. A matrix stage,
    because the spectral ball multiplies matrices.

    Which layer gets which ball is the method: `logclock.matrix_param_groups` has keys for hidden matrices, embeddings,
    heads and the rest.

    Examples:
        >>> ScionSpec(lr=0.25).scalars(1)["decay"]
        0.25

    Deviations: the authors' "bias" takes the mean over the first dimension only; here over all of a tensor.
    References: Pethick et al. 2025, arXiv:2502.07529.
    """

    direction = (momentum, farthest)
    states = {"momentum_buffer": State(weight="ema1")}

    lr: PeakLr = 2**-12

    ema1: Ema = 0.1
    """Weight of the new gradient in M."""

    lmo: Literal["spectral", "col_norm", "row_norm", "sign", "bias"] = "spectral"
    """The ball: in which norm an update has the size `radius`."""

    radius: Positive = 50.0
    """Of the ball; the authors' for hidden matrices. They have 3000 for the head with "sign"."""

    normalized: bool = True
    """Whether the size falls with the number of inputs, as for every layer but the first."""

    transposed: bool = False
    """Whether the inputs are the rows, as in an embedding."""

    eps: NonNegative = 1e-8
    """Added to norms that are divided by, but for "spectral"."""

    weight_decay: NonNegativeSlot = 1.0

    def validate(self) -> None:
        """Raise a ValueError for an unknown ball, and as every orthogonalizing spec does."""
        super().validate()
        check(self.lmo in LMOS, "lmo", f"be one of {', '.join(LMOS)}", self.lmo)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise a ValueError for a shape that the ball has no norm for."""
        is_matrix = len(shape) in (2, 3)
        if is_matrix or self.lmo not in ANY_SHAPE or (self.lmo == "sign" and len(shape) > 3):
            super().check_shape(shape)
        for option in self._options():
            if option.matrices_only:
                check_matrix(shape, name=option.name)

    def derived(self, t: float) -> dict[str, Any]:
        """Return the weight of a look-ahead, of which there is none."""
        return {"look_ahead": 0.0}
