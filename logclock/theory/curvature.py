"""How fast does a model's curvature spectrum fall, and which kappa does that call for? An estimate without matrices.

If the eigenvalues fall as j^(-2 alpha), momentum over a time t gathers the noise of N ~ t^(1 / (2 alpha)) directions,
and the gain stays stable if kappa >= 1 / (2 alpha) (see `stability.resolved_modes`). N can be had from a few dozen
products of the curvature with vectors, for a model of any size.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from logclock.schedules import check

__all__ = ["SpectralDimension", "gauss_newton_product", "gradient_covariance_product", "spectral_dimension"]

Array = np.ndarray[Any, Any]
Product = Callable[[torch.Tensor], torch.Tensor]
"""Maps a flat vector to its product with a symmetric positive semidefinite matrix."""

# two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom; 1.96 beyond
_STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)

SMALLEST_COUNT = 3.0
"""Counts below this say more about the largest few eigenvalues than about a power law."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SpectralDimension:
    """A power law lambda_j ~ j^(-2 alpha), fitted to counts of eigenvalues.

    Args:
        alpha: The exponent.
        alpha_interval: 95 % interval from the spread over the probes. It does not say whether the spectrum is a power
            law; `drift` does.
        kappa: 1 / (2 alpha), the smallest stable damping exponent; not above 1, which needs no spectrum at all.
        kappa_interval: The same for the ends of `alpha_interval`; a cautious choice is the upper one.
        drift: alpha fitted to the larger half of the eigenvalues minus that of the smaller half; 0 for a power law.
        scales: D, descending, shape (n,).
        counts: N(D) = sum_j lambda_j^2 / (lambda_j^2 + D^2), how many eigenvalues exceed D.
    """

    alpha: float
    alpha_interval: tuple[float, float]
    kappa: float
    kappa_interval: tuple[float, float]
    drift: float
    scales: Array
    counts: Array


def spectral_dimension(
    product: Product,
    num_params: int,
    *,
    num_probes: int = 8,
    num_lanczos: int = 64,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> SpectralDimension:
    """Estimate alpha from products of a curvature matrix with vectors, by stochastic Lanczos quadrature.

    Each random probe costs `num_lanczos` products and as many vectors of memory. The counts N(D) of all probes are
    averaged, and ln(N + 1/2) fitted against ln D where 3 <= N <= num_lanczos / 3, which the quadrature resolves and
    the end of the spectrum does not touch; -1 / slope is 2 alpha. The interval comes from leaving out one probe at a
    time.

    Args:
        product: The matrix, such as `gauss_newton_product(closure, params)`.
        num_params: Length of the vectors.
        num_probes: Random vectors, >= 2; the interval narrows as their root.
        num_lanczos: Products for each.
        seed: Seed of the probes.
        dtype: Of the vectors, that of the parameters.
        device: Of the vectors.

    Raises:
        ValueError: Too few probes or products, or a spectrum that leaves nothing to fit.
    """
    check(num_probes >= 2, "num_probes", "be >= 2", num_probes, advice="One has no spread.")
    check(num_lanczos >= 32, "num_lanczos", "be >= 32", num_lanczos, advice="The fit needs counts up to a third of it.")
    check(num_params > num_lanczos, "num_params", f"exceed num_lanczos = {num_lanczos}", num_params)
    generator = torch.Generator().manual_seed(seed)
    rules = []
    for _ in range(num_probes):
        signs = torch.randint(2, (num_params,), generator=generator).to(device=device, dtype=dtype) * 2 - 1
        rules.append(_quadrature(product, signs, num_lanczos))
    largest = max(float(nodes.max()) for nodes, _ in rules)
    check(largest > 0, "the curvature", "have a positive eigenvalue", largest)
    scales = largest * np.geomspace(1, 1e-12, 481)
    counts = np.stack([_counts(nodes, weights, scales) for nodes, weights in rules])
    highest = min(num_lanczos, num_params / 2) / 3
    mean = counts.mean(axis=0)
    window = (mean >= SMALLEST_COUNT) & (mean <= highest)
    span = float(mean[window].max() / mean[window].min()) if window.any() else 1.0
    advice = "A spectrum with a gap or of few dimensions has no alpha; more products see more of it."
    check(span >= 2, "the counts of eigenvalues in the fit", "span a factor >= 2", round(span, 2), advice=advice)
    x, chosen = np.log(scales[window]), counts[:, window]
    inverse = _dimension(x, chosen.mean(axis=0))
    left_out = [_dimension(x, np.delete(chosen, i, axis=0).mean(axis=0)) for i in range(num_probes)]
    spread = math.sqrt((num_probes - 1) / num_probes * sum((value - np.mean(left_out)) ** 2 for value in left_out))
    margin = spread * (_STUDENT[num_probes - 2] if num_probes - 2 < len(_STUDENT) else 1.96)
    bounds = (max(inverse - margin, 1e-6), inverse + margin)
    middle = len(x) // 2
    halves = [_dimension(x[part], chosen[:, part].mean(axis=0)) for part in (slice(middle), slice(middle, None))]
    return SpectralDimension(
        alpha=1 / (2 * inverse),
        alpha_interval=(1 / (2 * bounds[1]), 1 / (2 * bounds[0])),
        kappa=min(inverse, 1.0),
        kappa_interval=(min(bounds[0], 1.0), min(bounds[1], 1.0)),
        drift=1 / (2 * halves[0]) - 1 / (2 * halves[1]),
        scales=scales[window],
        counts=mean[window],
    )


def gauss_newton_product(
    closure: Callable[[], tuple[torch.Tensor, torch.Tensor]], params: Sequence[torch.Tensor]
) -> Product:
    """Return v -> J^T H J v with J the Jacobian of the outputs and H the Hessian of the loss in the outputs.

    Args:
        closure: Returns the model's outputs on a batch, and the loss computed from that very tensor. Called once.
        params: The parameters that the matrix is about; vectors are theirs, flattened and joined.
    """
    outputs, loss = closure()
    (slope,) = torch.autograd.grad(loss, outputs, create_graph=True)

    def curved(tangent: torch.Tensor) -> torch.Tensor:
        if not slope.requires_grad:  # a loss that is linear in the outputs
            return torch.zeros_like(tangent)
        (result,) = torch.autograd.grad(slope, outputs, tangent, retain_graph=True, materialize_grads=True)
        return result

    return _through_jacobian(outputs, list(params), curved)


def gradient_covariance_product(closure: Callable[[], torch.Tensor], params: Sequence[torch.Tensor]) -> Product:
    """Return v -> (1 / n) sum_i g_i (g_i . v), the uncentred covariance of the gradients of n examples.

    Args:
        closure: Returns the losses of the examples, shape (n,). Called once.
        params: As in `gauss_newton_product`.
    """
    losses = closure()
    advice = "Return one loss for each example, with reduction='none'."
    check(losses.ndim == 1, "the closure's losses", "have shape (n,)", tuple(losses.shape), advice=advice)
    return _through_jacobian(losses, list(params), lambda tangent: tangent / len(losses))


def _through_jacobian(outputs: torch.Tensor, params: list[torch.Tensor], middle: Product) -> Product:
    """Return v -> J^T middle(J v). J v is the derivative of J^T u in u, which needs reverse mode alone."""
    dual = torch.zeros_like(outputs, requires_grad=True)
    pulled = torch.autograd.grad(outputs, params, dual, create_graph=True, materialize_grads=True)

    def product(vector: torch.Tensor) -> torch.Tensor:
        ends = np.cumsum([param.numel() for param in params]).tolist()
        parts = [vector[end - param.numel() : end].view_as(param) for end, param in zip(ends, params, strict=True)]
        (tangent,) = torch.autograd.grad(pulled, dual, parts, retain_graph=True)
        grads = torch.autograd.grad(outputs, params, middle(tangent), retain_graph=True, materialize_grads=True)
        return torch.cat([grad.reshape(-1) for grad in grads])

    return product


def _quadrature(product: Product, start: torch.Tensor, num_steps: int) -> tuple[Array, Array]:
    """Return nodes and weights with sum w f(node) = start^T f(A) start for polynomials up to degree 2 num_steps - 1."""
    squared_norm = float(start @ start)
    basis = [start / math.sqrt(squared_norm)]
    diagonal, beside = [], []
    for _ in range(num_steps):
        image = product(basis[-1])
        diagonal.append(float(image @ basis[-1]))
        done = torch.stack(basis)
        for _ in range(2):  # rounding lets the vectors fall together otherwise
            image = image - done.T @ (done @ image)
        norm = float(torch.linalg.vector_norm(image))
        if norm <= 1e-10 * max(abs(value) for value in diagonal):
            break  # the vectors span all that the matrix can reach from here
        beside.append(norm)
        basis.append(image / norm)
    size = len(diagonal)
    tridiagonal = np.diag(diagonal) + np.diag(beside[: size - 1], 1) + np.diag(beside[: size - 1], -1)
    nodes, vectors = np.linalg.eigh(tridiagonal)
    return np.maximum(nodes, 0.0), squared_norm * vectors[0] ** 2


def _counts(nodes: Array, weights: Array, scales: Array) -> Array:
    """Return sum_k w_k node_k^2 / (node_k^2 + D^2) for every D."""
    squared = nodes[None, :] ** 2
    counts: Array = (squared / (squared + scales[:, None] ** 2)) @ weights
    return counts


def _dimension(x: Array, counts: Array) -> float:
    """Return minus the slope of ln(N + 1/2) in ln D; a sum over j = 1, 2, ... is an integral from 1/2."""
    slope, _ = np.polyfit(x, np.log(counts + 0.5), 1)
    return -float(slope)
