"""Shampoo: momentum between inverse roots of a matrix gradient's two Gram matrices."""

from typing import Annotated, Any, Literal

import torch

from logclock.config.bounds import In
from logclock.rules.averages import total_weight
from logclock.rules.families import GramSpec, gram_states
from logclock.rules.linalg import averaged_gram, inverse_power, rotate
from logclock.rules.slots import Count, Fraction, NonNegative, PeakLr, Positive
from logclock.rules.spec import algorithm
from logclock.rules.stage import Stage, matrix
from logclock.rules.state import State
from logclock.schedules import check

Share = Annotated[float, In(low=0, high=1, advice="0 is a sum; else it is 1 - beta, the weight of the new sample.")]
"""Weight of the newest sample in an average, or 0 for a sum."""


@matrix
def shampoo(
    grad,
    exp_avg,
    row_gram,
    col_gram,
    row_root,
    col_root,
    *,
    ema1,
    gram_ema,
    correction1,
    gram_correction,
    root_power,
    has_roots,
    refreshes_basis,
    eps,
    is_sum,
):
    """Equation in ShampooSpec; legend: grad (n, rows, cols), grams and roots (n, side, side) or (n, 0, 0)."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    if is_sum:
        row_gram, col_gram = _summed(row_gram, grad), _summed(col_gram, grad.mT)
    else:
        row_gram, col_gram = averaged_gram(row_gram, grad, gram_ema), averaged_gram(col_gram, grad.mT, gram_ema)
    if refreshes_basis:
        num_sides = (row_gram.numel() > 0) + (col_gram.numel() > 0)
        power = root_power or 1 / (2 * max(num_sides, 1))
        row_root = inverse_power(row_gram * gram_correction, power, eps)
        col_root = inverse_power(col_gram * gram_correction, power, eps)
    update = correction1 * exp_avg
    update = rotate(update, row_root, col_root) if has_roots else update
    return update, exp_avg, row_gram, col_gram, row_root, col_root


def _summed(gram: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    return gram + matrices @ matrices.mT if gram.numel() else gram


@matrix
def grafted_shampoo(
    grad,
    exp_avg,
    exp_avg_sq,
    row_gram,
    col_gram,
    row_root,
    col_root,
    *,
    ema1,
    ema2,
    gram_ema,
    correction1,
    correction2,
    gram_correction,
    root_power,
    has_roots,
    refreshes_basis,
    eps,
    graft_eps,
    is_sum,
):
    """Shampoo with the norm of the update that Adam or RMSProp would make, and until there are roots that update."""
    update, exp_avg, *factors = shampoo(
        grad,
        exp_avg,
        row_gram,
        col_gram,
        row_root,
        col_root,
        ema1=ema1,
        gram_ema=gram_ema,
        correction1=correction1,
        gram_correction=gram_correction,
        root_power=root_power,
        has_roots=has_roots,
        refreshes_basis=refreshes_basis,
        eps=eps,
        is_sum=is_sum,
    )
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    graft = correction1 * exp_avg / (correction2 * exp_avg_sq.sqrt() + graft_eps)
    if has_roots:
        size, wanted = (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) for x in (update, graft))
        update = update * (wanted / torch.where(size == 0, 1.0, size))
    else:
        update = graft
    return update, exp_avg, exp_avg_sq, *factors


@algorithm("shampoo", class_name="Shampoo", paper="arXiv:1802.09568; arXiv:2309.06497")
class ShampooSpec(GramSpec):
    """Shampoo, for the hidden matrices of a model, in the form of its present use: averages, and the norm of Adam.

    For a matrix G of gradients, with t = 1, 2, ...:
        M <- M + ema1 (G - M)
        L <- L + gram_ema (G G^T - L),  R <- R + gram_ema (G^T G - R)      (gram_ema > 0)
        L <- L + G G^T,  R <- R + G^T G                                    (gram_ema = 0)
        U = P_L M^ P_R,  P_L = (L^ + eps)^-p,  P_R = (R^ + eps)^-p
        A = M^ / (sqrt(V^) + graft_eps),  V <- V + ema2 (G^2 - V)          (grafting "adam"; "rmsprop": V for V^)
        W <- W - lr(t) U norm(A) / norm(U) - decay W                       (grafting "none": U alone)
    where ^ divides an average by 1 - beta^t. P_L and P_R are made at every `refresh_interval`-th update, with its own
    G; before the first of them U is M^, and the grafted update is A. The power p is 1/4, or 1/2 if only one side has a
    Gram matrix. State: exp_avg (M) shaped like the parameter, with grafting exp_avg_sq (V) too; row_gram (L) and
    row_root (P_L) of rows x rows, col_gram and col_root of cols x cols; 0 x 0 for a side without. Takes matrices only,
    see `logclock.matrix_param_groups`; it is a matrix stage because it multiplies them.

    Examples:
        >>> [t for t in range(1, 301) if ShampooSpec().scalars(t)["refreshes_basis"]]
        [100, 200, 300]
        >>> ShampooSpec(grafting="none").rule.state_names
        ('exp_avg', 'row_gram', 'col_gram', 'row_root', 'col_root')

    Deviations: long sides are not cut into blocks.
    References: Gupta et al. 2018, arXiv:1802.09568; Anil et al. 2020, arXiv:2002.09018 (grafting); Shi et al. 2023,
        arXiv:2309.06497.
    """

    states = {"exp_avg": State(weight="ema1"), "exp_avg_sq": State(weight="ema2"), **gram_states("root")}

    lr: PeakLr = 1e-3

    ema1: Fraction = 0.1
    """1 - beta1."""

    ema2: Fraction = 0.001
    """1 - beta2, of the squares whose update is grafted on."""

    gram_ema: Share | None = None
    """Weight of the new Gram matrices; ema2 if None. 0 stands for sums, with AdaGrad's falling steps if nothing is
    grafted on."""

    grafting: Literal["adam", "rmsprop", "none"] = "adam"
    """Whose update an update has the norm of. "none" is Shampoo alone, with AdaGrad's sizes."""

    power: Positive | None = None
    """p; 1 / (2 times the number of sides with a Gram matrix) if None."""

    sides: Literal["both", "short"] = "both"
    """Which sides have a Gram matrix; "short" is one-sided Shampoo, on the rows of a square matrix."""

    eps: NonNegative = 1e-12
    """Added to eigenvalues; with 0 the roots are those of the pseudo-inverse."""

    graft_eps: NonNegative = 1e-8
    """Added to the root in the update that is grafted on."""

    refresh_interval: Count = 100
    """Updates from one decomposition to the next."""

    max_basis_size: Count = 8192
    """Longest side that has a Gram matrix."""

    @property
    def direction(self) -> tuple[Stage, ...]:  # type: ignore[override]
        """The stage: without grafting there is one state fewer."""
        return (shampoo,) if self.grafting == "none" else (grafted_shampoo,)

    def validate(self) -> None:
        """Raise a ValueError for unknown names."""
        choices = {
            "grafting": ("adam", "rmsprop", "none"),
            "sides": ("both", "short"),
        }
        for name, allowed in choices.items():
            check(getattr(self, name) in allowed, name, f"be one of {', '.join(allowed)}", getattr(self, name))

    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a state; that of the longer side is empty in the one-sided form."""
        longer = "row" if shape[0] > shape[-1] else "col"
        is_left_out = self.sides == "short" and name in (f"{longer}_gram", f"{longer}_root")
        return (0, 0) if is_left_out else super().state_shape(name, shape)

    def due(self, t: float, turn: int) -> dict[str, Any]:
        """Return whether roots are made at update t, and whether there are some; nobody's turn comes before t = k."""
        k = self.refresh_interval
        return {"refreshes_basis": t >= k and (t + turn) % k == 0, "has_roots": t >= k + (k - turn) % k}

    def derived(self, t: float) -> dict[str, Any]:
        """Return the corrections of the averages. In a sum the newest of t gradients weighs 1 / t."""
        gram_ema = self.ema2 if self.gram_ema is None else self.gram_ema
        is_sum = gram_ema == 0
        return {
            "gram_ema": 1 / t if is_sum else gram_ema,
            "correction1": 1 / total_weight(self.ema1, t),
            "correction2": total_weight(self.ema2, t) ** -0.5 if self.grafting == "adam" else 1.0,
            "gram_correction": 1.0 if is_sum else 1 / total_weight(gram_ema, t),
            "root_power": self.power or 0.0,
            "is_sum": is_sum,
        }
