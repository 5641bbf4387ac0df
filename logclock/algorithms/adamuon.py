"""AdaMuon: Muon of the signs of its momentum, with a second moment for every element of its update."""

from typing import Any

import torch

from logclock.rules.linalg import by_blocks, frobenius, orthogonalized
from logclock.rules.orthogonal import MuonFamilySpec, momentum
from logclock.rules.slots import Ema, NonNegative, NonNegativeSlot, PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import matrix
from logclock.rules.state import State


@matrix
def adapted(
    update: Any,
    exp_avg_sq: Any,
    *,
    ema2: Any,
    eps: Any,
    triples: tuple[Any, ...],
    num_iterations: int,
    row_blocks: int | tuple[int, ...],
    iteration_dtype: str,
    iteration_form: str,
    takes_sign: bool,
) -> Any:
    """Equation in AdamuonSpec, with shape legend: update and exp_avg_sq (n, [experts,] rows, cols)."""
    settings: Any = {
        "triples": triples,
        "num_iterations": num_iterations,
        "iteration_dtype": iteration_dtype,
        "iteration_form": iteration_form,
    }
    source = torch.sign(update) if takes_sign else update
    whole = by_blocks(lambda blocks: orthogonalized(blocks, **settings), row_blocks, source)
    exp_avg_sq = exp_avg_sq + ema2 * (whole * whole - exp_avg_sq)

    def rescaled(blocks: Any) -> Any:
        rows, cols = blocks.shape[-2:]
        return blocks * (0.2 * (rows * cols) ** 0.5 / frobenius(blocks))

    return by_blocks(rescaled, row_blocks, whole / (exp_avg_sq.sqrt() + eps)), exp_avg_sq


@algorithm("adamuon", class_name="AdaMuon", paper="arXiv:2507.11005")
class AdamuonSpec(MuonFamilySpec):
    """AdaMuon, for the hidden matrices of a model: an orthogonalized sign, scaled element by element.

    For a matrix of r rows and c columns, with M as in MuonSpec and V starting at 0:
        O = NewtonSchulz(sign(M))
        V <- V + ema2 (O^2 - V)
        P = O / (sqrt(V) + eps)
        W <- W - lr(t) 0.2 sqrt(r c) P / norm(P) - decay W
    V needs no bias correction, because the norm takes out what all elements have in common. An update has a root mean
    square of 0.2 lr, AdamW's. State: momentum_buffer and exp_avg_sq (V), shaped like the parameter. Takes matrices and
    stacks of them, see `logclock.matrix_param_groups`; it is a matrix stage because it multiplies matrices.

    Examples:
        >>> AdamuonSpec(lr=1e-3).scalars(1)["look_ahead"]
        0.0

    Deviations: this is the paper's rule. Two packages leave the sign out (`takes_sign=False`), of which one corrects
        the bias of V and scales to another norm; they are other optimizers under this name.
    References: Si et al. 2025, arXiv:2507.11005.
    """

    direction = (momentum, adapted)
    states = {"momentum_buffer": State(weight="ema1"), "exp_avg_sq": State(weight="ema2")}

    lr: PeakLr = 1e-3

    nesterov: bool = False

    ema2: Ema = 0.05
    """1 - beta2, the weight of the new squares in V."""

    eps: NonNegative = 1e-8
    """Added to the root."""

    takes_sign: bool = True
    """Whether the signs of M are orthogonalized, or M itself."""

    weight_decay: NonNegativeSlot = 0.1
