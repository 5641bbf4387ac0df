"""PSGD-Kron: momentum whitened from both sides by triangular factors, which are fitted step by step."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch

from logclock.config.bounds import In
from logclock.rules.averages import total_weight
from logclock.rules.linalg import (
    spectral_norm_estimate,
    symmetric_product,
    transposed_upper_times,
    upper_product,
    upper_times,
)
from logclock.rules.random import Draws
from logclock.rules.slots import Count, Fraction, NonNegative, PeakLr, Positive
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import matrix
from logclock.rules.state import State
from logclock.schedules import check

Probability = Annotated[float, In(low=0, high=1, includes_low=False)]

DAMPING = torch.finfo(torch.float32).eps ** 0.5
"""Of the momentum's mean absolute value: noise beside it in the fit, so that no direction is without a gradient."""


@matrix
def psgd_kron(
    grad: Any,
    exp_avg: Any,
    row_factor: Any,
    col_factor: Any,
    *,
    ema1: Any,
    correction: Any,
    fit_rate: Any,
    fits: Any,
    clip_rms: Any,
    t: Any,
    draws: Draws,
) -> Any:
    """Equation in PsgdKronSpec, with shape legend: grad (n, rows, cols), factors (n, side, side) or (n, 0, 0)."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    momentum = correction * exp_avg
    if fits:
        noise = draws.normal("probe", int(t), grad.shape[-2:], like=grad)
        row_factor, col_factor = _fitted(momentum, noise, row_factor, col_factor, fit_rate)
    update = _twice(row_factor, momentum)
    update = _twice(col_factor, update.mT).mT
    rms = (update * update).mean((-2, -1), keepdim=True).sqrt()
    return update * torch.where(rms > clip_rms, clip_rms / rms, 1.0), exp_avg, row_factor, col_factor


def _times(factor, matrices):
    """Return Q M; an empty Q stands for the identity."""
    return upper_times(factor, matrices) if factor.numel() else matrices


def _twice(factor, matrices):
    """Return Q^T Q M."""
    return transposed_upper_times(factor, upper_times(factor, matrices)) if factor.numel() else matrices


def _solved(factor, matrices):
    """Return Q^-T M."""
    return torch.linalg.solve_triangular(factor.mT, matrices, upper=False) if factor.numel() else matrices


def _fitted(momentum, noise, row_factor, col_factor, fit_rate):
    """Return the factors after a step, balanced; those of a matrix without momentum stay, as nothing whitens zeros."""
    sizes = momentum.abs().mean((-2, -1), keepdim=True)
    seen = momentum + DAMPING * sizes * noise
    whitened = _times(col_factor, _times(row_factor, seen).mT).mT
    inverse = _solved(col_factor, _solved(row_factor, noise).mT).mT
    row = _stepped(row_factor, whitened, inverse, fit_rate)
    col = _stepped(col_factor, whitened.mT, inverse.mT, fit_rate)
    if row.numel() and col.numel():
        ratio = (col.abs().amax((-2, -1), keepdim=True) / row.abs().amax((-2, -1), keepdim=True)).sqrt()
        row, col = row * ratio, col / ratio
    return torch.where(sizes == 0, row_factor, row), torch.where(sizes == 0, col_factor, col)


def _stepped(factor, whitened, inverse, fit_rate):
    """Return Q - rate / norm(A A^T + B B^T) triu(A A^T - B B^T) Q."""
    if not factor.numel():
        return factor
    ours, wanted = symmetric_product(whitened, whitened.mT), symmetric_product(inverse, inverse.mT)
    rate = fit_rate / spectral_norm_estimate(ours + wanted)
    return factor - rate * upper_product(torch.triu(ours - wanted), factor)


@algorithm("psgd-kron", class_name="PSGDKron", paper="arXiv:1512.04202")
class PsgdKronSpec(Spec):
    """PSGD-Kron, for the hidden matrices of a model: a preconditioner Q^T Q for each side, fitted to whiten momentum.

    For a matrix G of gradients, with Q_L and Q_R upper triangular, starting at the identity:
        M <- M + ema1 (G - M),  H = M / (1 - beta1^t)
        at a fit, with Z ~ N(0, 1) and H' = H + 3.5e-4 mean(abs(H)) Z:
            A = Q_L H' Q_R^T,  B = Q_L^-T Z Q_R^-1
            Q_L <- Q_L - fit_rate / norm(A A^T + B B^T) triu(A A^T - B B^T) Q_L
            Q_R <- Q_R - fit_rate / norm(A^T A + B^T B) triu(A^T A - B^T B) Q_R
            Q_L and Q_R are multiplied by r and 1 / r, after which their largest elements are equal
        U = Q_L^T Q_L H Q_R^T Q_R
        W <- W - lr(t) U min(1, clip_rms / rms(U)) - decay W
    norm is a lower bound of the spectral norm. Fits are made as often as a probability asks for, at the updates where
    its integral passes a whole number: it is fit_probability up to `flat_start`, then falls by exp(-probability_decay)
    an update until it is fit_probability_end. State: exp_avg (M), shaped like the parameter; row_factor (Q_L) of
    rows x rows, col_factor (Q_R) of cols x cols, 0 x 0 for a side that is longer than `max_factor_size`.
    Takes matrices only, see `logclock.matrix_param_groups`.

    Examples:
        >>> sum(PsgdKronSpec().scalars(t)["fits"] for t in range(10_001, 20_001))
        300

    Deviations: fits come at even distances, not by lot; a side beyond `max_factor_size` is left alone instead of having
        a diagonal; factors are balanced at every fit.
    References: Li 2015, arXiv:1512.04202; kron-torch 0.3.3; Wen et al. 2025, arXiv:2509.02046.
    """

    direction = (psgd_kron,)
    states: ClassVar[Mapping[str, State]] = {
        "exp_avg": State(weight="ema1"),
        "row_factor": State(shape=("rows", "rows"), init="identity", place="owner", empty_above="max_factor_size"),
        "col_factor": State(shape=("cols", "cols"), init="identity", place="owner", empty_above="max_factor_size"),
    }
    matrices_only: ClassVar[bool] = True

    lr: PeakLr = 5e-4

    ema1: Fraction = 0.1
    """1 - beta1, the weight of the new gradient in M."""

    fit_rate: Positive = 0.1
    """Relative size of a step of the factors."""

    fit_probability: Probability = 1.0
    """Share of the updates that fit the factors, at first."""

    fit_probability_end: Probability = 0.03
    """The same at the end."""

    flat_start: NonNegative = 500.0
    """Updates before the probability falls."""

    probability_decay: Positive = 0.001
    """How fast it falls, per update."""

    clip_rms: Positive = 1.1
    """Largest root mean square of an update, before lr."""

    max_factor_size: Count = 8192
    """Longest side that is whitened."""

    def validate(self) -> None:
        """Raise a ValueError for a probability that grows."""
        check(
            self.fit_probability_end <= self.fit_probability,
            "fit_probability_end",
            f"be at most fit_probability = {self.fit_probability:g}",
            self.fit_probability_end,
        )

    def num_fits(self, t: float) -> int:
        """Return how many fits have been made after update t: the whole part of the sum of the probability."""
        first, last = self.fit_probability, self.fit_probability_end
        fall = max(t - self.flat_start, 0.0)
        reached = math.log(first / last) / self.probability_decay
        decayed = -first * math.expm1(-self.probability_decay * min(fall, reached)) / self.probability_decay
        # of a sum of exactly whole numbers nothing must be lost to rounding
        return math.floor(first * min(t, self.flat_start) + decayed + last * max(fall - reached, 0.0) + 1e-9)

    def derived(self, t: float) -> dict[str, Any]:
        """Return the correction of the average and whether this update fits the factors."""
        fits = self.num_fits(t) > self.num_fits(t - 1) or t == 1
        return {"correction": 1 / total_weight(self.ema1, t), "fits": fits}
