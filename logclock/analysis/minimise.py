"""How are many small robust least-squares problems solved at once?

Every start of a fit and every bootstrap sample is one row of a batch, so a thousand fits cost one of the interpreter's
loops, not a thousand.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Solution", "huber", "minimise"]

Array = NDArray[np.float64]

Model = Callable[[Array], tuple[Array, Array]]
"""From parameters (rows, p) to predictions (rows, n) and their derivatives (rows, n, p)."""

FIRST_DAMPING, LARGEST_DAMPING = 1e-3, 1e12
# The objective is a sum of squares near 1e-6 n; relative steps below this change no digit that is reported.
TOLERANCE = 1e-10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Solution:
    """Where each row of a batch ended.

    Args:
        parameters: (rows, p).
        objective: Weighted sum of Huber losses, (rows,).
    """

    parameters: Array
    objective: Array

    @property
    def best(self) -> Array:
        """The parameters of the row with the smallest objective: the answer when the rows are starts of one fit."""
        best: Array = self.parameters[int(np.argmin(self.objective))]
        return best


def huber(residual: Array, delta: float) -> Array:
    """Return r^2 / 2 up to |r| = delta and delta (|r| - delta / 2) beyond; delta = inf is plain least squares.

    Examples:
        >>> huber(np.array([0.5, 3.0]), 1.0).tolist()
        [0.125, 2.5]
    """
    size = np.abs(residual)
    near = np.minimum(size, delta)
    loss: Array = near * (size - near / 2)
    return loss


def minimise(
    model: Model,
    starts: Array,
    target: Array,
    *,
    bounds: tuple[Array, Array],
    weight: Array | float = 1.0,
    delta: float = np.inf,
    max_iterations: int = 400,
) -> Solution:
    """Minimise sum_n weight_n huber(model_n - target_n) from every start by Levenberg-Marquardt steps.

    A step solves (J^T W J + damping diag) step = -J^T W r, where W holds the weights times min(1, delta / |r|), which
    makes the gradient that of the Huber sum. It is taken where it lowers the objective; otherwise the damping grows.
    Parameters on a bound stay there as long as the gradient points outwards.

    Args:
        model: Predictions and their derivatives.
        starts: (rows, p).
        target: (n,), or (rows, n) if the rows differ in their data.
        bounds: Smallest and largest parameters, (p,) each.
        weight: (n,) or (rows, n).
        delta: Where the Huber loss turns linear, in the unit of the target.
        max_iterations: When to stop at the latest.
    """
    low, high = bounds
    parameters = np.clip(starts, low, high)
    targets = np.broadcast_to(target, (len(starts), target.shape[-1]))
    weights = np.broadcast_to(np.asarray(weight, float), targets.shape)
    damping = np.full(len(starts), FIRST_DAMPING)
    predicted, slopes = model(parameters)
    residual = predicted - targets
    objective = (weights * huber(residual, delta)).sum(axis=-1)
    running = np.arange(len(starts))
    for _ in range(max_iterations):
        theta, r, jacobian = parameters[running], residual[running], slopes[running]
        w = weights[running] * np.minimum(1.0, delta / np.maximum(np.abs(r), 1e-300))
        step = _step(theta, r, jacobian, w, damping[running], low, high)
        trial = np.clip(theta + step, low, high)
        predicted, slopes_there = model(trial)
        r_there = predicted - targets[running]
        value = (weights[running] * huber(r_there, delta)).sum(axis=-1)
        better = value < objective[running]  # a value that is not finite is no better
        gained = running[better]
        small = objective[gained] - value[better] <= TOLERANCE * objective[gained]
        parameters[gained], objective[gained] = trial[better], value[better]
        residual[gained], slopes[gained] = r_there[better], slopes_there[better]
        damping[running] *= np.where(better, 0.2, 4.0)
        stopped = set(gained[small]) | set(running[damping[running] > LARGEST_DAMPING])
        running = np.array([row for row in running if row not in stopped], dtype=int)
        if not len(running):
            break
    return Solution(parameters=parameters, objective=objective)


def _step(
    theta: Array, residual: Array, jacobian: Array, weight: Array, damping: Array, low: Array, high: Array
) -> Array:
    """Return the damped Gauss-Newton step of each row, zero for parameters that a bound holds."""
    weighted = jacobian * weight[..., None]
    gradient = np.einsum("rnp,rn->rp", weighted, residual)
    held = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
    free = (~held).astype(float)
    matrix = np.matmul(weighted.transpose(0, 2, 1), jacobian) * free[:, :, None] * free[:, None, :]
    diagonal = np.einsum("rpp->rp", matrix)
    # A parameter that no prediction depends on has a zero diagonal; the floor keeps the system solvable.
    scale = np.maximum(diagonal, 1e-12 * diagonal.max(axis=-1, keepdims=True) + 1e-300) * damping[:, None] + held
    diagonal_index = np.arange(theta.shape[-1])
    matrix[:, diagonal_index, diagonal_index] += scale
    step: Array = -np.linalg.solve(matrix, (gradient * free)[..., None])[..., 0]
    return step
