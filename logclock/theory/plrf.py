"""What is the power-law random features problem, and how is it drawn, reduced to d numbers, binned and sampled?

One convention for the risk, everywhere in `logclock.theory`: P is the mean squared error E (prediction - target)^2,
without a factor 1/2. The loss whose gradients are taken is half the squared residual, averaged over the batch.
"""

import dataclasses
from typing import Any

import numpy as np

from logclock.schedules import check
from logclock.theory.power_sums import power_bins, power_sum, power_sums_over
from logclock.theory.spectrum import limit_risk

__all__ = [
    "LeastSquares",
    "RandomFeatures",
    "binned",
    "binned_surrogate",
    "check_plrf",
    "random_features",
    "random_plrf",
    "sample_gradient",
    "surrogate_plrf",
]

Array = np.ndarray
Rng = np.random.Generator


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LeastSquares:
    """Gaussian least squares in its eigenbasis: all that the optimizers see of a PLRF problem.

    With a ~ N(0, diag(lambda)) and eps ~ N(0, P_inf) independent, an example has the residual a.e - eps and the
    gradient a (a.e - eps), where e = theta - theta* is the error. The risk is the mean squared residual:
        P(e) = P_inf + sum_j n_j lambda_j e_j^2
    Conditionally on the features W this is no approximation, because the data are Gaussian.

    Args:
        eigenvalues: lambda, shape (d,), > 0.
        initial_error: e at theta = 0, shape (d,).
        irreducible_risk: P_inf, the part of the target outside the span of the features, plus the label noise.
        multiplicity: n, shape (d,): how many equal modes an entry stands for; ones if None.
    """

    eigenvalues: Array
    initial_error: Array
    irreducible_risk: float
    multiplicity: Array = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.multiplicity is None:
            object.__setattr__(self, "multiplicity", np.ones_like(self.eigenvalues))
        shapes = {self.eigenvalues.shape, self.initial_error.shape, self.multiplicity.shape}
        same = len(shapes) == 1 and self.eigenvalues.ndim == 1
        check(same, "eigenvalues, initial_error and multiplicity", "have one shape (d,)", sorted(shapes))
        check(bool((self.eigenvalues > 0).all()), "eigenvalues", "be > 0", float(self.eigenvalues.min()))
        check(self.irreducible_risk >= 0, "irreducible_risk", "be >= 0", self.irreducible_risk)

    def risk(self, error: Array) -> Any:
        """Return P for errors of shape (..., d), one number for each."""
        return self.irreducible_risk + (error * error) @ (self.multiplicity * self.eigenvalues)

    @property
    def trace(self) -> float:
        """Sum of the eigenvalues, the trace of the features' covariance."""
        return float(self.multiplicity @ self.eigenvalues)

    @property
    def num_modes(self) -> int:
        """How many modes there are, counted with multiplicity: d of the unbinned problem."""
        return round(float(self.multiplicity.sum()))

    @property
    def initial_risk(self) -> float:
        """P at theta = 0."""
        return float(self.risk(self.initial_error))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RandomFeatures:
    """The problem as it is defined, before the reduction: for checks in R^v and for models that want examples.

    x has independent coordinates x_j = j^-alpha N(0, 1), j = 1..v; the target is y = <x, b> + noise with
    b_j = j^-beta; the model is <W^T x, theta> with W fixed, of iid N(0, 1/d) entries.

    Args:
        alpha: Decay of the data, > 0.
        beta: Decay of the target, 2 (alpha + beta) > 1.
        weight: W, shape (v, d).
        label_noise: Standard deviation of Gaussian noise on y.
    """

    alpha: float
    beta: float
    weight: Array
    label_noise: float = 0.0

    @property
    def scale(self) -> Array:
        """Standard deviations j^-alpha of the coordinates of x, shape (v,)."""
        return _powers(len(self.weight), -self.alpha)

    @property
    def target(self) -> Array:
        """The coefficients b, shape (v,)."""
        return _powers(len(self.weight), -self.beta)

    @property
    def covariance(self) -> Array:
        """K = W^T D W, the covariance of the features, shape (d, d)."""
        scaled = self.scale[:, None] * self.weight
        covariance: Array = scaled.T @ scaled
        return covariance

    def sample_batch(self, batch_size: int, rng: Rng) -> tuple[Array, Array]:
        """Draw examples: features of shape (batch_size, d) and targets of shape (batch_size,)."""
        x = rng.standard_normal((batch_size, len(self.weight))) * self.scale
        noise = self.label_noise * rng.standard_normal(batch_size)
        return x @ self.weight, x @ self.target + noise

    def risk(self, theta: Array) -> float:
        """Return P(theta) = |D^(1/2) (W theta - b)|^2 + label_noise^2."""
        residual = self.scale * (self.weight @ theta - self.target)
        return float(residual @ residual) + self.label_noise**2

    def least_squares(self) -> LeastSquares:
        """Return the exact d-dimensional problem, by the singular values of D^(1/2) W, largest first."""
        problem, _ = self.eigenbasis()
        return problem

    def eigenbasis(self) -> tuple[LeastSquares, Array]:
        """Return the problem and V, shape (d, d): V^T theta plus the initial error is the error of theta."""
        left, singular, right = np.linalg.svd(self.scale[:, None] * self.weight, full_matrices=False)
        target = self.scale * self.target
        coefficients = left.T @ target
        outside = target - left @ coefficients  # |target|^2 - |coefficients|^2 would cancel
        problem = LeastSquares(
            eigenvalues=singular**2,
            initial_error=-coefficients / singular,
            irreducible_risk=float(outside @ outside) + self.label_noise**2,
        )
        return problem, right.T


def check_plrf(alpha: float, beta: float, *, num_features: int, ambient_dim: int, label_noise: float = 0.0) -> None:
    """Raise ValueError unless these numbers define a PLRF problem with a finite risk."""
    check(alpha > 0, "alpha", "be > 0", alpha)
    advice = "The risk at theta = 0 diverges with the ambient dimension otherwise."
    check(2 * (alpha + beta) > 1, "2 (alpha + beta)", "exceed 1", 2 * (alpha + beta), advice=advice)
    check(num_features >= 1, "num_features", "be >= 1", num_features)
    advice = "4 num_features is usual."
    check(
        ambient_dim > num_features, "ambient_dim", f"exceed num_features = {num_features}", ambient_dim, advice=advice
    )
    check(label_noise >= 0, "label_noise", "be >= 0", label_noise, advice="It is a standard deviation.")


def random_features(
    alpha: float, beta: float, *, num_features: int, ambient_dim: int, seed: int, label_noise: float = 0.0
) -> RandomFeatures:
    """Draw the features W of a problem.

    Args:
        alpha: Decay of the data.
        beta: Decay of the target.
        num_features: d.
        ambient_dim: v > d.
        seed: Seed of W.
        label_noise: Standard deviation of the noise on the targets.
    """
    check_plrf(alpha, beta, num_features=num_features, ambient_dim=ambient_dim, label_noise=label_noise)
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((ambient_dim, num_features)) / np.sqrt(num_features)
    return RandomFeatures(alpha=alpha, beta=beta, weight=weight, label_noise=label_noise)


def random_plrf(
    alpha: float, beta: float, *, num_features: int, ambient_dim: int, seed: int, label_noise: float = 0.0
) -> LeastSquares:
    """Draw the features of a problem and return its exact reduction to d dimensions.

    Costs one singular value decomposition of a (v, d) matrix; arguments as in `random_features`.

    Examples:
        >>> problem = random_plrf(1.0, 0.7, num_features=10, ambient_dim=40, seed=0)
        >>> round(problem.initial_risk, 6) == round(sum(j**-3.4 for j in range(1, 41)), 6)
        True
    """
    features = random_features(
        alpha, beta, num_features=num_features, ambient_dim=ambient_dim, seed=seed, label_noise=label_noise
    )
    return features.least_squares()


def surrogate_plrf(
    alpha: float, beta: float, *, num_features: int, ambient_dim: int, label_noise: float = 0.0
) -> LeastSquares:
    """Return the deterministic stand-in for a random problem: same exponents, no matrix, memory linear in d.

    With c = sum_{j <= v} j^-2beta if alpha > 1/2 and beta > 1/2, else 0:
        lambda_j = j^-2alpha,  e_j(0)^2 = j^-2beta + c / d,  j = 1..d,  P_inf = limit_risk(...)
    Its risk curves lie mostly within 25 % of those of random instances, which differ among each other as well.

    Args:
        alpha: Decay of the data.
        beta: Decay of the target.
        num_features: d.
        ambient_dim: v > d.
        label_noise: Standard deviation of the noise on the targets.
    """
    distortion, irreducible = _surrogate_constants(alpha, beta, num_features, ambient_dim, label_noise)
    return LeastSquares(
        eigenvalues=_powers(num_features, -2 * alpha),
        initial_error=-np.sqrt(_powers(num_features, -2 * beta) + distortion),
        irreducible_risk=irreducible,
    )


def binned_surrogate(
    alpha: float, beta: float, *, num_features: int, ambient_dim: int, label_noise: float = 0.0
) -> LeastSquares:
    """Return `binned(surrogate_plrf(...))` without building the d modes: about 200 bins at d = 1e8."""
    distortion, irreducible = _surrogate_constants(alpha, beta, num_features, ambient_dim, label_noise)
    first, last = power_bins(num_features)
    eigenvalue_sums = power_sums_over(first, last, 2 * alpha)
    forcing_sums = power_sums_over(first, last, 2 * alpha + 2 * beta) + distortion * eigenvalue_sums
    return _from_sums((last - first + 1).astype(float), eigenvalue_sums, forcing_sums, irreducible)


def binned(problem: LeastSquares) -> LeastSquares:
    """Return a problem of about 200 modes that stand for all: the 60 largest singly, then 30 bins per decade of rank.

    A bin has the mean eigenvalue of its modes and the error that keeps the sum of lambda_j e_j^2. Risk curves move
    by 0.1 % or less.

    Args:
        problem: A problem that is not binned yet.
    """
    _check_unbinned(problem, "binned")
    order = np.argsort(-problem.eigenvalues, kind="stable")
    eigenvalues, error = problem.eigenvalues[order], problem.initial_error[order]
    first, last = power_bins(len(eigenvalues))
    return _from_sums(
        (last - first + 1).astype(float),
        np.add.reduceat(eigenvalues, first - 1),
        np.add.reduceat(eigenvalues * error**2, first - 1),
        problem.irreducible_risk,
    )


def sample_gradient(problem: LeastSquares, error: Array, batch_size: int, rng: Rng) -> Array:
    """Draw the mean gradient of a batch of fresh examples at a cost of O(d), whatever the batch size.

    With the residual direction w = (sqrt(lambda) e, -sqrt(P_inf)) in R^(d+1), u = w / |w|, and B standard normal
    rows Z, the gradient is sqrt(lambda) times the first d coordinates of Z^T Z w / B. Along u that is a chi-square
    variable, across it a Gaussian vector:
        Z^T Z w = |w| (chi u + sqrt(chi) (xi - u (u.xi))),  chi ~ chi^2_B,  xi ~ N(0, I)

    Args:
        problem: A problem that is not binned.
        error: theta - theta*, shape (..., d); leading axes are independent runs.
        batch_size: B >= 1.
        rng: Source of the randomness.

    Returns:
        The gradient with respect to theta in the eigenbasis, shaped like `error`.
    """
    _check_unbinned(problem, "sampled")
    check(batch_size >= 1, "batch_size", "be >= 1", batch_size)
    root = np.sqrt(problem.eigenvalues)
    noise_root = np.sqrt(problem.irreducible_risk)
    w = root * error
    squared = np.einsum("...j,...j->...", w, w) + problem.irreducible_risk
    norm = np.sqrt(squared)
    chi = rng.chisquare(batch_size, size=norm.shape)
    xi = rng.standard_normal(error.shape)
    projection = np.einsum("...j,...j->...", w, xi) - noise_root * rng.standard_normal(norm.shape)  # |w| u.xi
    along = chi - np.sqrt(chi) * np.divide(projection, norm, out=np.zeros_like(norm), where=norm > 0)
    across = np.sqrt(chi) * norm
    gradient: Array = root * (along[..., None] * w + across[..., None] * xi) / batch_size
    return gradient


def _surrogate_constants(
    alpha: float, beta: float, num_features: int, ambient_dim: int, label_noise: float
) -> tuple[float, float]:
    """Return c / d and P_inf of the surrogate."""
    check_plrf(alpha, beta, num_features=num_features, ambient_dim=ambient_dim, label_noise=label_noise)
    is_distorted = alpha > 0.5 and beta > 0.5
    distortion = power_sum(ambient_dim, 2 * beta) / num_features if is_distorted else 0.0
    limit = limit_risk(alpha, beta, num_features=num_features, ambient_dim=ambient_dim)
    return distortion, limit + label_noise**2


def _from_sums(multiplicity: Array, eigenvalue_sums: Array, forcing_sums: Array, irreducible: float) -> LeastSquares:
    """Build a binned problem from the sums over its bins of lambda and of lambda e^2."""
    return LeastSquares(
        eigenvalues=eigenvalue_sums / multiplicity,
        initial_error=-np.sqrt(forcing_sums / eigenvalue_sums),
        irreducible_risk=irreducible,
        multiplicity=multiplicity,
    )


def _check_unbinned(problem: LeastSquares, what: str) -> None:
    largest = float(problem.multiplicity.max())
    advice = "Take the problem before `binned`."
    check(largest == 1, "multiplicity", f"be 1 for a problem that is {what}", largest, advice=advice)


def _powers(num_terms: int, exponent: float) -> Array:
    powers: Array = np.arange(1, num_terms + 1, dtype=float) ** exponent
    return powers
